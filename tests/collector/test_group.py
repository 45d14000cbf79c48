"""Group commit: what shares a transaction, and who gets which answer when it fails."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
import pytest
from prometheus_client import CollectorRegistry
from psycopg import errors
from psycopg_pool import PoolTimeout

from alerting.evaluate import HostKey, HostScope
from collector.commit import HostsHeld, LedgerMoved
from collector.group import TRIES, Committer
from collector.meters import Meters
from collector.pending import BatchKey, Pending
from tests.collector.kit import tuned
from wire.batch import EventBatch
from wire.problem import TooBusy, Unavailable
from wire.receipt import Outcome, Receipt

NOW = datetime(2026, 11, 23, 5, tzinfo=UTC)
Commit = Callable[[Sequence[Pending]], Awaitable[Sequence[Receipt]]]


def pending(number: int, tenant: int = 1, size: int = 10) -> Pending:
    agent = uuid4()
    return Pending(
        key=BatchKey(tenant, agent.bytes, 1, number),
        digest=b"d" * 32,
        scope=HostScope(tenant, "t", 1, "d", number, f"host-{number}"),
        host=HostKey(tenant, number),
        batch=EventBatch(1, "events", agent.hex, 1, number, []),
        layouts={},
        received_at=NOW,
        offset_ms=0,
        size=size,
        answer=asyncio.get_running_loop().create_future(),
    )


def stored(group: Sequence[Pending]) -> list[Receipt]:
    return [item.receipt(Outcome.STORED) for item in group]


@contextlib.asynccontextmanager
async def committing(commit: Commit, **tuning: Any) -> AsyncIterator[Committer]:
    stop = asyncio.Event()
    committer = Committer(commit, tuned(**({"linger_s": 0.02} | tuning)), Meters(CollectorRegistry()))
    task = asyncio.create_task(committer.run(stop))
    try:
        yield committer
    finally:
        stop.set()
        await task


async def test_batches_that_arrive_together_share_a_transaction() -> None:
    """Ten at once are one group; each gets its own receipt."""
    groups: list[int] = []

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        groups.append(len(group))
        return stored(group)

    async with committing(commit) as committer:
        receipts = await asyncio.gather(*(committer.submit(pending(n)) for n in range(1, 11)))
    assert groups == [10]
    assert [receipt.seq for receipt in receipts] == list(range(1, 11))


async def test_a_bad_batch_fails_alone() -> None:
    """The group is rolled back and run batch by batch: nine are stored, one is answered 503."""
    calls: list[int] = []

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        calls.append(len(group))
        if any(item.key.seq == 7 for item in group):
            raise errors.CheckViolation("no partition for this row")
        return stored(group)

    async with committing(commit) as committer:
        answers = await asyncio.gather(
            *(committer.submit(pending(n)) for n in range(1, 11)), return_exceptions=True
        )
    assert calls == [10] + [1] * 10
    assert [isinstance(answer, Receipt) for answer in answers] == [n != 7 for n in range(1, 11)]
    assert isinstance(answers[6], Unavailable)
    assert answers[6].headers() == {"Retry-After": "5"}


@pytest.mark.parametrize("fault", [psycopg.OperationalError("gone"), PoolTimeout(), errors.DiskFull("full")])
async def test_a_database_that_is_away_is_asked_once(fault: Exception) -> None:
    """The whole group is answered 503 at once; single runs would only wait for the same database."""
    calls: list[int] = []

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        calls.append(len(group))
        raise fault

    async with committing(commit) as committer:
        answers = await asyncio.gather(
            *(committer.submit(pending(n)) for n in range(1, 4)), return_exceptions=True
        )
    assert calls == [3]
    assert all(isinstance(answer, Unavailable) for answer in answers)


async def test_backlogs_are_not_held_up_and_others_wait_for_each_other() -> None:
    """Hosts that send one batch after the other while no other sends: none waits, and what comes together
    shares a transaction. A batch of another host waits, and shares with what comes meanwhile.

    Broken twins, tried: a committer that always waits takes a second for each of the backlogs' batches; one
    that never does commits the others singly."""
    groups: list[list[int]] = []

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        groups.append(sorted(item.key.seq for item in group))
        return stored(group)

    def of_host(host: int, number: int) -> Pending:
        return msgspec.structs.replace(pending(number), host=HostKey(1, host))

    async with committing(commit, committers=1, linger_s=1.0) as committer:

        async def backlog(host: int) -> None:
            for n in range(1, 6):
                await committer.submit(of_host(host, n))

        async with asyncio.timeout(3):
            await backlog(1)
        assert groups == [[n] for n in range(1, 6)]
        groups.clear()
        async with asyncio.timeout(3):
            await asyncio.gather(backlog(1), backlog(2))
        assert groups == [[n, n] for n in range(1, 6)]
        groups.clear()
        early = asyncio.create_task(committer.submit(of_host(3, 6)))
        await asyncio.sleep(0.01)
        await asyncio.gather(early, committer.submit(of_host(4, 7)))
    assert groups == [[6, 7]]


async def test_a_lock_not_had_in_time_is_one_hosts_trouble() -> None:
    """One host's row is held for long: the others of its group are stored without waiting for it."""

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        if any(item.key.seq == 2 for item in group):
            raise errors.LockNotAvailable("canceling statement due to lock timeout")
        return stored(group)

    async with committing(commit) as committer:
        answers = await asyncio.gather(
            *(committer.submit(pending(n)) for n in range(1, 4)), return_exceptions=True
        )
    assert [isinstance(answer, Receipt) for answer in answers] == [True, False, True]


async def test_hosts_that_others_hold_are_left_out_and_the_rest_is_one_group_again() -> None:
    """Two of six are held: the four others wait for them once, not once for each.

    Broken twin, tried: taken for any other fault, it makes six transactions."""
    groups: list[list[int]] = []

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        groups.append([item.key.seq for item in group])
        if held := frozenset(item.host for item in group if item.key.seq in (2, 5)):
            raise HostsHeld(held)
        return stored(group)

    async with committing(commit) as committer:
        answers = await asyncio.gather(
            *(committer.submit(pending(n)) for n in range(1, 7)), return_exceptions=True
        )
    assert groups == [[1, 2, 3, 4, 5, 6], [1, 3, 4, 6]]
    assert [n for n, answer in enumerate(answers, 1) if isinstance(answer, Unavailable)] == [2, 5]


async def test_nobody_works_for_those_who_have_given_up() -> None:
    """A group is run batch by batch, and the first takes too long: the others, answered by then, are not run.

    Broken twin, tried: without a look at their answers, all three are."""
    alone: list[int] = []

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        if len(group) == 1:
            alone.append(group[0].key.seq)
            await asyncio.sleep(0.3)
        raise errors.LockNotAvailable("canceling statement due to lock timeout")

    async with committing(commit, request_deadline_s=0.2) as committer:
        answers = await asyncio.gather(
            *(committer.submit(pending(n)) for n in range(1, 4)), return_exceptions=True
        )
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert alone == [1]


@pytest.mark.parametrize("fault", [errors.DeadlockDetected(), errors.SerializationFailure(), LedgerMoved()])
async def test_contention_is_tried_again(fault: Exception) -> None:
    """The same group runs again until its tries are used up; one that succeeds in time is stored."""
    calls = 0

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        nonlocal calls
        calls += 1
        if calls < TRIES:
            raise fault
        return stored(group)

    async with committing(commit) as committer:
        assert (await committer.submit(pending(1))).outcome is Outcome.STORED
    assert calls == TRIES


async def test_a_caller_who_gives_up_takes_its_waiting_batch_along() -> None:
    """A batch whose request has ended before its commit began is not committed; the others are."""
    begun, release = asyncio.Event(), asyncio.Event()
    committed: list[int] = []

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        begun.set()
        await release.wait()
        committed.extend(item.key.seq for item in group)
        return stored(group)

    async with committing(commit, committers=1) as committer:
        first = asyncio.create_task(committer.submit(pending(1)))
        await begun.wait()
        second = asyncio.create_task(committer.submit(pending(2)))
        third = asyncio.create_task(committer.submit(pending(3)))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        release.set()
        await asyncio.gather(first, third)
    assert committed == [1, 3]


async def test_a_commit_that_has_begun_is_finished_without_its_caller() -> None:
    """The client hung up in the middle: the commit goes on, and the next try will find it in the ledger."""
    begun, release, done = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        begun.set()
        await release.wait()
        done.set()
        return stored(group)

    async with committing(commit) as committer:
        request = asyncio.create_task(committer.submit(pending(1)))
        await begun.wait()
        request.cancel()
        await asyncio.sleep(0)
        release.set()
        await done.wait()
    assert request.cancelled()


async def test_too_late_is_503_and_not_a_refusal() -> None:
    """A batch that could not be stored within the deadline is kept by its agent."""

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        await asyncio.sleep(0.2)
        return stored(group)

    async with committing(commit, request_deadline_s=0.05) as committer:
        with pytest.raises(Unavailable, match="in time"):
            await committer.submit(pending(1))


async def test_a_full_queue_says_so_at_once() -> None:
    """429 with Retry-After, before memory grows; a tenant's share is its own."""
    release = asyncio.Event()

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        await release.wait()
        return stored(group)

    tuning = {"committers": 1, "queue_batches": 4, "group_batches": 1, "tenant_share": 0.5, "linger_s": 0}
    async with committing(commit, **tuning) as committer:
        waiting = [asyncio.create_task(committer.submit(pending(1)))]
        await asyncio.sleep(0.01)
        waiting += [asyncio.create_task(committer.submit(pending(n))) for n in (2, 3)]
        await asyncio.sleep(0.01)
        with pytest.raises(TooBusy, match="share") as refused:
            await committer.submit(pending(4))
        assert "Retry-After" in refused.value.headers()
        other = asyncio.create_task(committer.submit(pending(5, tenant=2)))
        await asyncio.sleep(0.01)
        release.set()
        await asyncio.gather(*waiting, other)


async def test_what_waits_at_the_end_is_committed_before_it() -> None:
    """Stop drains: every batch that was admitted gets its receipt; new ones are turned away."""

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        await asyncio.sleep(0.02)
        return stored(group)

    stop = asyncio.Event()
    committer = Committer(commit, tuned(committers=1, group_batches=1), Meters(CollectorRegistry()))
    task = asyncio.create_task(committer.run(stop))
    requests = [asyncio.create_task(committer.submit(pending(n))) for n in range(1, 6)]
    await asyncio.sleep(0.01)
    stop.set()
    receipts = await asyncio.gather(*requests)
    await task
    assert {receipt.outcome for receipt in receipts} == {Outcome.STORED}
    with pytest.raises(Unavailable, match="shutting down"):
        await committer.submit(pending(6))


async def test_a_committer_that_is_killed_leaves_nobody_waiting() -> None:
    """Cancelled in the middle of a commit: the request is answered 503."""
    begun = asyncio.Event()

    async def commit(group: Sequence[Pending]) -> list[Receipt]:
        begun.set()
        await asyncio.sleep(3600)
        return stored(group)

    committer = Committer(commit, tuned(), Meters(CollectorRegistry()))
    task = asyncio.create_task(committer.run(asyncio.Event()))
    request = asyncio.create_task(committer.submit(pending(1)))
    await begun.wait()
    task.cancel()
    with pytest.raises(Unavailable, match="stopped"):
        await request
    with contextlib.suppress(asyncio.CancelledError):
        await task
