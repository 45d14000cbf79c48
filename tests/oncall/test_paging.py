"""What the pager does next: always something, never giving up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from oncall.page import Page, State
from oncall.paging import Advance, Ask, Move, Paging, Place, Position, Resolve, Step, Target, Wait, decide
from oncall.settings import Settings, VoiceProvider
from tests.oncall.test_page import NOW, page

PROVIDERS = tuple(
    VoiceProvider(name, "http://x", "AC" + "0" * 32, "t", "+390584000009") for name in ("p1", "p2")
)
SETTINGS = Settings(providers=PROVIDERS)
ANNA, BEN = Target(1, "Anna", "+390584000001"), Target(2, "Ben", "+390584000002")
STEP = Step((ANNA,), calls=2)


def paging(step: int = 0, attempt: int = 1, round: int = 1) -> Paging:
    """A paging at a position."""
    return Paging(1, 1, 1, "default", 1, Position(step, attempt, round), 1, NOW)


def move(
    pages: Sequence[Page], step: Step | None = STEP, now: datetime = NOW, at: tuple[int, int, int] = (0, 1, 1)
) -> Move:
    """The decision over these pages, at a position."""
    return decide(paging(*at), pages, step, SETTINGS, now)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_nobody_rung_yet_places_the_first_call() -> None:
    """The first target through the first provider."""
    assert move([]) == Place(ANNA, "p1", "step Anna")


def test_all_targets_of_a_step_are_rung_together() -> None:
    """The second target does not wait for the first."""
    found = move([page(state=State.RINGING, ringing_at=NOW)], Step((ANNA, BEN)))
    assert isinstance(found, Place)
    assert found.target == BEN


def test_a_claimed_page_of_a_dead_pager_is_looked_up() -> None:
    """Neither forgotten nor blindly rung again."""
    assert move([page()]) == Resolve(page())


def test_a_failed_call_goes_through_the_other_provider_once() -> None:
    """Then the attempt is over, and the same person is called again after a pause."""
    failed = page(state=State.FAILED)
    found = move([failed])
    assert isinstance(found, Place)
    assert found.provider == "p2"
    both = [failed, page(page_id=UUID(int=2), state=State.FAILED, provider="p2", created_at=later(1))]
    assert move(both, now=later(2)) == Advance(Position(0, 2, 1), later(7), "no call to Anna could be placed")


def test_deadlines_of_a_live_call() -> None:
    """Accepted: 20 s to ring. Ringing: its time and a grace. Listening: 90 s. Then the provider is asked."""
    cases = [
        (page(state=State.PLACED, placed_at=NOW), 20, State.FAILED),
        (page(state=State.RINGING, ringing_at=NOW), 40, State.NO_ANSWER),
        (page(state=State.ANSWERED, answered_at=NOW), 90, State.NO_ANSWER),
    ]
    for live, seconds, otherwise in cases:
        before = move([live], now=later(seconds - 1))
        assert isinstance(before, Wait)
        assert before.until == later(seconds)
        after = move([live], now=later(seconds))
        assert isinstance(after, Ask)
        assert after.otherwise is otherwise


def test_no_answer_calls_again_then_the_next_person_then_from_the_first() -> None:
    """Two calls per person, then the next step; after the last step a new round, with an alarm."""
    quiet = page(state=State.NO_ANSWER)
    assert move([quiet]) == Advance(Position(0, 2, 1), later(5), "Anna did not answer: called again")
    again = page(state=State.NO_ANSWER, attempt=2)
    found = move([quiet, again], at=(0, 2, 1))
    assert found == Advance(Position(1, 1, 1), NOW, "Anna did not answer: the next person")
    loop = move([], None, at=(3, 1, 1))
    assert isinstance(loop, Advance)
    assert (loop.position, loop.at, loop.looped) == (Position(0, 1, 2), later(20), True)


def test_key_5_skips_the_second_call() -> None:
    """The next person at once."""
    found = move([page(state=State.DECLINED)])
    assert found == Advance(Position(1, 1, 1), NOW, "Anna asked for the next person")


def test_key_5_waits_for_no_answer_in_writing() -> None:
    """Anna, who was sent a message too, asked for the next person by phone: that one is rung now, not when
    the step's time is over. Another's phone that rings at the same step is still waited for.

    Broken twin (tried): "the next person will be called", and five minutes of nothing."""
    written = Target(1, "Anna", "+390584000001", "sms")
    sent = page(page_id=UUID(int=2), transport="sms", state=State.PLACED, placed_at=NOW)
    pages = [page(state=State.DECLINED), sent]
    found = move(pages, Step((ANNA, written), wait_s=300.0), now=later(10))
    assert found == Advance(Position(1, 1, 1), later(10), "Anna asked for the next person")
    ringing = page(page_id=UUID(int=3), person_id=2, state=State.RINGING, ringing_at=NOW)
    assert isinstance(move([*pages, ringing], Step((ANNA, written, BEN), wait_s=300.0), now=later(10)), Wait)


def test_who_listens_to_the_call_that_was_in_doubt_is_waited_for() -> None:
    """The provider's answer was lost and Anna was rung again; she picked up the first call, so the second
    found her busy: nobody else is woken while she listens.

    Broken twin (tried): judged by the last call alone, the next person was rung."""
    first = page(state=State.ANSWERED, answered_at=later(3), created_at=NOW)
    second = page(page_id=UUID(int=2), state=State.NO_ANSWER, created_at=later(2))
    assert isinstance(move([first, second], now=later(5)), Wait)
    assert isinstance(move([first, second], now=later(93)), Ask)


def test_nobody_at_all_looks_again_and_alarms() -> None:
    """A hole in the rota is not silence."""
    found = move([], None)
    assert isinstance(found, Advance)
    assert found.looped
    assert found.at > NOW


def test_the_steps_time_is_kept() -> None:
    """A step of 300 s: not answered after 40 s still waits; a listener does not hold the next back."""
    step = Step((ANNA,), 1, 300.0)
    found = move([page(state=State.NO_ANSWER)], step, later(40))
    assert isinstance(found, Advance)
    assert found.at == later(300)
    listening = page(state=State.ANSWERED, answered_at=later(295))
    assert isinstance(move([listening], step, later(301)), Advance)


def test_a_message_waits_for_the_steps_time() -> None:
    """An SMS has no end of its own."""
    sent = page(state=State.PLACED, transport="sms", placed_at=NOW)
    step = Step((msgspec.structs.replace(ANNA, transport="sms"),), 1, 60.0)
    found = move([sent], step, later(30))
    assert isinstance(found, Wait)
    assert found.until == later(60)
    assert isinstance(move([sent], step, later(60)), Advance)


@st.composite
def histories(draw: st.DrawFn) -> list[Page]:
    """Any pages at all, of two persons."""
    return [
        page(
            page_id=UUID(int=n + 1),
            person_id=draw(st.integers(1, 2)),
            state=draw(st.sampled_from(State)),
            attempt=draw(st.integers(1, 2)),
            provider=draw(st.sampled_from(["p1", "p2", "gone"])),
            transport=draw(st.sampled_from(["voice", "sms"])),
            created_at=later(draw(st.integers(-600, 0))),
            ringing_at=draw(st.none() | st.just(NOW)),
        )
        for n in range(draw(st.integers(0, 6)))
    ]


@given(histories(), st.sampled_from([None, STEP, Step(()), Step((ANNA, BEN)), Step((ANNA,), 1, 60.0)]))
def test_there_is_always_a_next_move_with_a_future(pages: list[Page], step: Step | None) -> None:
    """Whatever happened: act now, or look again at a stated time that is not before now."""
    found = move(pages, step)
    assert isinstance(found, Place | Resolve | Ask | Wait | Advance)
    if isinstance(found, Wait):
        assert found.until > NOW
    if isinstance(found, Advance):
        assert found.at >= NOW
        assert found.position != Position(0, 1, 1) or found.at > NOW


@given(
    st.lists(
        st.sampled_from([State.NO_ANSWER, State.VOICEMAIL, State.FAILED, State.DECLINED, State.IN_DOUBT])
    )
)
def test_everybody_is_rung_in_every_round_whatever_becomes_of_the_calls(ends: list[State]) -> None:
    """A walk over two persons with any outcomes: time moves on, and each round reaches both."""
    steps, now, pages = [STEP, Step((BEN,), calls=2)], NOW, list[Page]()
    at, rung = Position(0, 1, 1), set[tuple[int, int]]()
    for n in range(200):
        if at.round > 3:
            break
        current = steps[at.step] if at.step < len(steps) else None
        found = decide(msgspec.structs.replace(paging(), position=at), pages, current, SETTINGS, now)
        if isinstance(found, Place):
            end = ends[n % len(ends)] if ends else State.NO_ANSWER
            rung.add((at.round, found.target.person_id))
            where = {"step": at.step, "attempt": at.attempt, "round": at.round}
            pages.append(
                page(
                    page_id=UUID(int=n + 1),
                    person_id=found.target.person_id,
                    state=end,
                    created_at=now,
                    ended_at=now,
                    **where,
                )
            )
        elif isinstance(found, Wait):
            now = found.until
        elif isinstance(found, Advance):
            at, now = found.position, max(now, found.at)
    assert {(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2)} <= rung
