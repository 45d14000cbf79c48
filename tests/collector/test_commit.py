"""The ingest commit against a real database: who wins a key, and that no order of arrival makes a circle."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from psycopg import errors

from alerting.evaluate import HostKey, HostScope
from collector.census import Limits
from collector.commit import HostsHeld, IngestCommit, LedgerMoved, by_host, settle
from collector.layouts import LayoutStore, StoredLayout
from collector.meters import Meters
from collector.pending import BatchKey, Pending, clock_offset_ms
from tests.collector.kit import Agent, Front, event, frames, ms, tuned
from tests.collector.test_group import NOW, pending
from wire import batch as wire_batch
from wire.batch import FrameBatch
from wire.receipt import Outcome, Receipt
from wire.validate import decode_batch


async def prepared(front: Front, agent: Agent, body: bytes) -> Pending:
    """What the route would hand to the committer."""
    known = await front.process.directory.agent(f"Bearer {agent.token()}")
    batch = decode_batch(body)
    layouts: dict[bytes, StoredLayout] = {}
    if isinstance(batch, FrameBatch):
        store = LayoutStore(
            front.pool,
            most_per_tenant=100,
            most_per_host=100,
            limits=Limits(1000, 1000),
            meters=front.process.meters,
        )
        host = HostKey(known.scope.tenant_id, known.scope.host_id)
        layouts = await store.resolve(host, {frame.layout for frame in batch.frames}, front.clock())
    return Pending(
        key=BatchKey(known.scope.tenant_id, known.agent_id.bytes, batch.epoch, batch.seq),
        digest=bytes.fromhex(wire_batch.digest(body)),
        scope=known.scope,
        host=known.host,
        batch=batch,
        layouts=layouts,
        received_at=front.clock(),
        offset_ms=0,
        size=len(body),
        answer=asyncio.get_running_loop().create_future(),
    )


def commit_of(front: Front) -> IngestCommit:
    return IngestCommit(front.pool, tuned(), front.clock, Meters(CollectorRegistry()))


async def test_the_same_batches_in_opposite_orders_do_not_block_each_other(
    front: Front,
) -> None:
    """Forty groups of the same batches in random orders, through four collectors at once: no deadlock, every
    receipt says stored, every frame is there once.

    Broken twin, tried: host rows locked one by one in the group's order end this test in DeadlockDetected."""
    agents = [await front.agent(f"host-{n}") for n in range(6)]
    await agents[0].put_layout()
    bodies = [
        (agent, agent.batch(frames=frames((front.clock() + timedelta(seconds=n), [0.5, 0.5]))))
        for agent in agents
        for n in range(3)
    ]
    commits = [commit_of(front) for _ in range(4)]
    order = random.Random(7)

    async def go(number: int) -> tuple[Receipt, ...]:
        mixed = order.sample(bodies, len(bodies))
        return await commits[number % 4]([await prepared(front, *item) for item in mixed])

    groups = await asyncio.gather(*(go(n) for n in range(40)))
    assert {receipt.outcome for group in groups for receipt in group} == {Outcome.STORED}
    assert await front.count("frame") == len(bodies)
    assert await front.count("batch_ledger") == len(bodies)


async def test_a_group_that_fails_leaves_nothing(front: Front) -> None:
    """One batch of the group cannot be stored: neither ledger, frames nor state show the others."""
    agent, other = await front.agent("one"), await front.agent("two")
    await agent.put_layout()
    good = await prepared(front, agent, agent.batch(frames=frames((front.clock(), [0.5, 0.5]))))
    far = front.clock() + timedelta(days=3000)  # no partition: as if upkeep had not run
    bad = await prepared(front, other, other.batch(events=[event(far)]))
    before = await front.count("host_state")
    with pytest.raises(Exception, match="no partition"):
        await commit_of(front)([good, bad])
    assert await front.count("batch_ledger") == 0
    assert await front.count("frame") == 0
    assert await front.count("host_state") == before
    assert (await commit_of(front)([good]))[0].outcome is Outcome.STORED


async def test_a_host_that_others_hold_is_named(front: Front) -> None:
    """Another transaction stands still with one host's row: the commit says whose, and stores nothing.
    Without that host's batch it is done.

    Broken twin, tried: without asking whose row it is, the commit says what the database says."""
    held, free, new = [await front.agent(name) for name in ("held", "free", "new")]
    for agent in (held, free):
        assert (await agent.send((front.clock(), [0.5, 0.5]))).status_code == 200
    bodies = [(agent, agent.batch(frames=frames((front.clock(), [0.6, 0.6])))) for agent in (free, held, new)]
    group = [await prepared(front, *item) for item in bodies]
    commit = IngestCommit(front.pool, tuned(lock_timeout_s=0.2), front.clock, Meters(CollectorRegistry()))
    async with front.pool.connection() as other, other.transaction():
        await other.execute("SELECT FROM host_state WHERE host_id = %s FOR UPDATE", [group[1].host.host_id])
        with pytest.raises(HostsHeld) as named:
            await commit(group)
        assert named.value.hosts == {group[1].host}
        assert await front.count("batch_ledger") == 2
        receipts = await commit([group[0], group[2]])
        with pytest.raises(errors.LockNotAvailable):
            await commit(group[1:2])
    assert {receipt.outcome for receipt in receipts} == {Outcome.STORED}
    assert (await commit(group[1:2]))[0].outcome is Outcome.STORED
    assert await front.count("frame") == 5


async def test_a_batch_sent_again_is_found_beside_new_ones(front: Front) -> None:
    """By a collector that expects none, and by one that has just met one: stored once, and the new ones too.

    Broken twin, tried: without its second try, the commit raises what the first found."""
    agent = await front.agent()
    await agent.put_layout()
    commit = commit_of(front)
    bodies = [
        agent.batch(frames=frames((front.clock() + timedelta(seconds=n), [0.5, 0.5]))) for n in range(4)
    ]
    for sent in ([0], [0, 1], [0, 1, 2], [3], [3]):
        group = [await prepared(front, agent, bodies[number]) for number in sent]
        assert [receipt.outcome for receipt in await commit(group)] == [Outcome.STORED] * len(sent)
    assert await front.count("frame") == await front.count("batch_ledger") == len(bodies)


async def test_layout_pairs_are_noted_once_and_again_after_a_rollback(front: Front) -> None:
    """Only a commit fills the cache of noted pairs: a rolled-back group's pair is noted by the next."""
    agent, other = await front.agent("one"), await front.agent("two")
    await agent.put_layout()
    commit = commit_of(front)
    good = await prepared(front, agent, agent.batch(frames=frames((front.clock(), [0.5, 0.5]))))
    bad = await prepared(front, other, other.batch(events=[event(front.clock() + timedelta(days=3000))]))
    with pytest.raises(Exception, match="no partition"):
        await commit([good, bad])
    await commit([good])
    assert await front.count("host_layout") == 1


def with_key(number: int, digest: bytes, base: Pending) -> Pending:
    key = base.key._replace(seq=number)
    return msgspec.structs.replace(base, key=key, digest=digest)


@given(st.lists(st.tuples(st.integers(1, 4), st.binary(min_size=1, max_size=1)), min_size=1), st.data())
async def test_the_ledgers_digest_decides(items: list[tuple[int, bytes]], data: st.DataObject) -> None:
    """Whoever holds the key, this group or the ledger: the same bytes are stored, others renumber."""
    base = pending(1)
    group = [with_key(number, digest, base) for number, digest in items]
    keys = {item.key for item in group}
    winners = {key for key in keys if data.draw(st.booleans())}
    held = {key: data.draw(st.binary(min_size=1, max_size=1)) for key in keys - winners}
    verdicts = settle(group, winners, held)
    assert {item.key for item in verdicts.winners} == winners
    assert len(verdicts.winners) == len(winners)
    for item, receipt in zip(group, verdicts.receipts, strict=True):
        first = next(other for other in group if other.key == item.key)
        truth = first.digest if item.key in winners else held[item.key]
        assert receipt.outcome is (Outcome.STORED if item.digest == truth else Outcome.RENUMBER)


async def test_a_key_that_expired_meanwhile_is_asked_for_again() -> None:
    """Neither inserted nor found: never guessed at."""
    with pytest.raises(LedgerMoved):
        settle([pending(1)], set(), {})


async def test_inputs_of_one_host_are_merged_and_in_time_order() -> None:
    """Two batches of one host in one group, the newer first: evaluation sees one list, oldest first."""
    scope = HostScope(1, "t", 1, "d", 5, "h")
    base = pending(1)

    def batch(number: int, seconds: int) -> Pending:
        content = wire_batch.EventBatch(
            1, "events", base.batch.agent, 1, number, [event(NOW + timedelta(seconds=seconds))]
        )
        return msgspec.structs.replace(
            base, scope=scope, batch=content, received_at=NOW + timedelta(minutes=1)
        )

    work = by_host([batch(2, 20), batch(1, 10), batch(3, 15)])
    assert [(item.at - NOW).seconds for item in next(iter(work.values())).inputs] == [10, 15, 20]


@pytest.mark.parametrize(
    ("sent_s_ago", "offset_s"), [(0, 0), (1.9, 0), (-1.9, 0), (300, 300), (-300, -300), (None, 0)]
)
def test_only_a_clock_that_is_really_off_is_corrected(sent_s_ago: float | None, offset_s: float) -> None:
    """Two seconds are the way here; more is the host's clock."""
    received = datetime(2026, 11, 23, tzinfo=UTC)
    sent = None if sent_s_ago is None else ms(received - timedelta(seconds=sent_s_ago))
    assert clock_offset_ms(received, sent) == offset_s * 1000


async def test_a_sample_ahead_of_us_counts_as_now() -> None:
    """The frontier never passes collector time, whatever a host's clock says."""
    base = pending(1)
    content = wire_batch.EventBatch(1, "events", base.batch.agent, 1, 1, [event(NOW + timedelta(seconds=90))])
    item = msgspec.structs.replace(base, batch=content)
    assert item.inputs()[0].at == NOW
