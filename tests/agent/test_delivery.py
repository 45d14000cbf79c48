"""What to send next and what an answer means, as pure decisions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agent import delivery
from agent.delivery import BREATHER_S, MAX_BURST, Delivered, Order, Reply, choose, judge, slower
from agent.store import MEMORY_IDS, Stored

statuses = st.sampled_from([200, 201, 204, 301, 302, 400, 401, 403, 404, 409, 413, 422, 429, 500, 503, 511])
texts = st.text(max_size=60)
replies = st.builds(
    Reply,
    statuses,
    st.sampled_from(["application/json", "application/problem+json", "text/html", ""]) | texts,
    texts | st.sampled_from(["5", "Wed, 21 Oct 2026 07:28:00 GMT", "99999999999999999999", "-1"]),
    texts | st.just("Wed, 21 Oct 2026 07:28:00 GMT"),
    st.binary(max_size=200)
    | st.sampled_from([b"{}", b"[]", b'{"type":"x:unknown-layouts","layouts":["zz"]}']),
    st.booleans(),
)


def stored(key: int) -> Stored:
    return Stored(key, "frames", 1, key, "ab" * 32, 0, 0, 1, b"")


@given(replies)
def test_no_answer_but_a_receipt_delivers(reply: Reply) -> None:
    """Whatever comes back, judging never raises, and only the batch's own receipt lets it go."""
    verdict = judge(reply, stored(1), 1.7e9)
    assert not isinstance(verdict, Delivered)
    if isinstance(verdict, delivery.Later) and verdict.wait_s is not None:
        assert 0 <= verdict.wait_s <= delivery.LONGEST_RETRY_AFTER_S


@given(st.lists(st.booleans(), max_size=200), st.integers(0, 60))
def test_everything_is_sent_in_the_end_and_the_newest_is_never_kept_waiting(
    arrivals: list[bool], backlog: int
) -> None:
    """Batches arrive while a backlog drains: a fresh one is always the next frame batch to go."""
    waiting = [stored(key) for key in range(1, backlog + 1)]
    order, key, sent = Order(), backlog, 0
    for arrives in [*arrivals, *[False] * 400]:
        fresh = None
        if arrives:
            key += 1
            fresh = stored(key)
            waiting.append(fresh)
        choice = choose(order, None, waiting[-1] if waiting else None, waiting[0] if waiting else None)
        order = choice.order
        assert 1 <= order.burst <= MAX_BURST
        if fresh is not None:
            assert choice.batch == fresh
        if choice.batch is not None:
            waiting.remove(choice.batch)
            sent += 1
        else:
            assert choice.wait_s == (BREATHER_S if waiting else None)
    assert (waiting, sent) == ([], key)


def test_a_batch_from_memory_leaves_the_newest_first() -> None:
    """A batch kept in memory has a far higher id: fresh ones from the disk still go first after it."""
    from_memory = stored(MEMORY_IDS)
    order = choose(Order(fresh_id=9), None, from_memory, stored(1)).order
    for key in (10, 11, 12):
        choice = choose(order, None, stored(key), stored(1))
        assert choice.batch == stored(key)
        order = choice.order
    assert choose(order, None, stored(MEMORY_IDS + 1), stored(1)).batch == stored(MEMORY_IDS + 1)


def test_fresh_before_old_and_events_before_frames() -> None:
    """Events are rare, small, and what a rule may wait for; but a backlog of them must not keep today's
    readings waiting."""
    event, old_event, fresh, old = stored(9), stored(2), stored(10), stored(1)
    assert choose(Order(), event, fresh, old, old_event).batch == event
    after = choose(Order(), None, fresh, old, old_event)
    assert after.batch == fresh
    then = choose(after.order, None, fresh, old, old_event)
    assert then.batch == old_event
    assert then.order.credit == after.order.credit - 1, "old events trickle, too"
    assert choose(then.order, None, fresh, old, None).batch == old
    assert choose(Order(credit=0), None, None, None, old_event).wait_s == BREATHER_S


@given(st.integers(1, MAX_BURST), st.integers(0, MAX_BURST))
def test_a_busy_collector_gets_smaller_bursts(burst: int, credit: int) -> None:
    """Halved, never below one."""
    order = slower(Order(1, burst=burst, credit=credit))
    assert 1 <= order.burst <= max(1, burst // 2)
    assert order.credit <= order.burst


@given(st.integers(0, 1000), st.floats(1, 3600), st.floats(0, 1, exclude_max=True))
def test_pauses_stay_within_their_bounds(failures: int, longest: float, chance: float) -> None:
    """Full jitter below the cap; slow but not endless while the credential is not accepted."""
    assert 0 <= delivery.backoff_s(failures, longest, lambda: chance) <= longest
    pause = delivery.credential_pause_s(failures, lambda: chance)
    assert delivery.CREDENTIAL_RETRY_S[0] / 2 <= pause <= delivery.CREDENTIAL_RETRY_S[1]


@given(texts)
def test_any_retry_after_and_date_is_read_or_left(text: str) -> None:
    """Headers of strangers never raise."""
    wait = delivery.retry_after_s(text, 1.7e9)
    assert wait is None or 0 <= wait <= delivery.LONGEST_RETRY_AFTER_S
    delivery.date_s(text)
