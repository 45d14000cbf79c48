"""Group commit: batches that arrive together share one transaction.

A transaction costs as much as many batches, and most agents have nothing else to send when they wait for a
receipt. So a batch waits for company (``linger_s``). But agents that deliver their backlogs, each one batch
after the other, are not held up while no others send: when all whose batches were in the last group have come
again, nobody else is expected. Half a group begins at once, beside another transaction too; less than that
beside another only when that takes long.

A group that fails is run again batch by batch, so that one bad batch fails alone; what the database cannot do
now is answered 503, and the agent keeps the batch. Requests only wait here: a client that hangs up takes
nothing back.

    what happened                          what follows
    deadlock, serialisation, ledger moved  the same group again, up to TRIES times, after a short random pause
    the database is away or full           503 to the whole group: single runs would only wait for it in turn
    others hold some of its hosts long     503 to these hosts' batches, the rest as a group again
    anything else (a lock not had in time) each batch alone; what fails alone is answered 503
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum

import psycopg
from psycopg import errors
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from alerting.evaluate import HostKey
from collector.commit import HostsHeld, LedgerMoved
from collector.meters import Meters
from collector.pending import Pending
from collector.queue import Admission, FairQueue
from collector.settings import CollectorSettings
from wire.problem import Problem, TooBusy, Unavailable
from wire.receipt import Receipt

log = logging.getLogger(__name__)

Commit = Callable[[Sequence[Pending]], Awaitable[Sequence[Receipt]]]
TRIES = 4
PATIENCE_S = 0.05
"""A transaction that takes longer than this keeps no next group waiting, however small; in seconds."""
RETRY_AFTER_S = 5.0


class Trouble(StrEnum):
    """What a failed commit means for the batches in it."""

    CONTENTION = "contention"
    AWAY = "database away"
    FAULT = "fault"


def diagnose(fault: BaseException) -> Trouble:
    """Which row of the table above a failure belongs to."""
    if isinstance(fault, errors.DeadlockDetected | errors.SerializationFailure | LedgerMoved):
        return Trouble.CONTENTION
    if isinstance(fault, errors.LockNotAvailable):
        return Trouble.FAULT  # somebody holds one host for long: alone, the others do not wait for it
    if isinstance(fault, psycopg.OperationalError | PoolTimeout | PoolClosed | TooManyRequests | OSError):
        return Trouble.AWAY
    return Trouble.FAULT


class Committer:
    """The queue in front of the ingest commit, and the tasks that empty it."""

    def __init__(self, commit: Commit, settings: CollectorSettings, meters: Meters) -> None:
        self._commit = commit
        self._settings = settings
        self._meters = meters
        self._queue: FairQueue[Pending] = FairQueue(
            most_items=settings.queue_batches,
            most_bytes=settings.queue_bytes,
            tenant_share=settings.tenant_share,
        )
        self._arrived = asyncio.Event()
        self._under_way = 0
        self._since = 0.0
        """When the first of those that wait came; seconds."""
        self._expected: set[HostKey] = set()
        """The hosts of the last group that have not come again."""
        self._closing = False
        meters.queued.set_function(lambda: len(self._queue))
        meters.queued_bytes.set_function(lambda: self._queue.bytes)

    def check_room(self, tenant_id: int, size: int) -> None:
        """Raise TooBusy (or Unavailable) now rather than after the body was read."""
        self._require_open()
        _require_room(self._queue.room_for(tenant_id, size))

    def _require_open(self) -> None:
        if self._closing:
            raise Unavailable("The collector is shutting down: send again.", retry_after_s=RETRY_AFTER_S)

    async def submit(self, pending: Pending) -> Receipt:
        """Wait for the batch's commit. Raises TooBusy (queue full) or Unavailable (not stored in time)."""
        answer = pending.answer
        assert isinstance(answer, asyncio.Future), "who waits for a batch gives it a future"
        self.offer(pending)
        try:
            async with asyncio.timeout(self._settings.request_deadline_s):
                result: Receipt | Problem = await answer
        except TimeoutError:
            # The timeout has cancelled the future: a batch that still waits is skipped; one that is being
            # committed stays committed, and the agent's next try finds it in the ledger.
            raise too_late() from None
        if isinstance(result, Problem):
            raise result
        return result

    def offer(self, pending: Pending) -> None:
        """Put the batch into the queue; its answer comes by ``pending.answer``. Raises TooBusy."""
        self._require_open()
        _require_room(self._queue.offer(pending.scope.tenant_id, pending.size, pending))
        self._expected.discard(pending.host)
        if len(self._queue) == 1:
            self._since = time.monotonic()
            self._arrived.set()
        elif self._enough() or not (self._expected or self._under_way):
            self._arrived.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Commit what arrives until ``stop`` is set, then what still waits; returns when all is answered."""
        workers = [asyncio.create_task(self._work()) for _ in range(self._settings.committers)]
        stopped = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([*workers, stopped], return_when=asyncio.FIRST_COMPLETED)
            self._closing = stop.is_set()
            self._arrived.set()
            await asyncio.gather(*workers)
        finally:
            for task in (*workers, stopped):
                task.cancel()
            await asyncio.gather(*workers, stopped, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            if self._closing and not len(self._queue):
                return
            await self._turn()
            group = self._next_group()
            if group:
                self._expected = {pending.host for pending in group}
                await self._settle(group)

    def _enough(self) -> bool:
        """Whether what waits should be committed now, whatever else is under way."""
        queue, settings = self._queue, self._settings
        return 2 * len(queue) >= settings.group_batches or 2 * queue.bytes >= settings.group_bytes

    async def _turn(self) -> None:
        """Return when there may be something to commit, or the end has come."""
        while not (self._enough() or self._closing):
            patience_s = self._patience_s() if len(self._queue) else None
            if patience_s is not None and patience_s <= 0:
                return
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._arrived.wait()

    def _patience_s(self) -> float:
        """How much longer what waits should wait for more."""
        if not (self._under_way or self._expected):
            return 0.0
        longest = PATIENCE_S if self._under_way else self._settings.linger_s
        return self._since + longest - time.monotonic()

    def _next_group(self) -> list[Pending]:
        """The next group, without the batches whose callers have given up already."""
        taken = self._queue.take(self._settings.group_batches, self._settings.group_bytes)
        self._since = time.monotonic()  # of those that are left, if any: they are many, and waited already
        return [pending for pending in taken if not pending.answer.done()]

    async def _settle(self, group: list[Pending]) -> None:
        self._under_way += 1
        try:
            await self._settle_or_fail(group)
        except BaseException:  # this task is cancelled: nobody may wait for ever
            _answer_all(group, Unavailable("The collector stopped: send again.", retry_after_s=RETRY_AFTER_S))
            raise
        finally:
            self._under_way -= 1
            self._arrived.set()

    async def _settle_or_fail(self, group: list[Pending]) -> None:
        fault = await self._attempt(group)
        if fault is None:
            return
        if isinstance(fault, HostsHeld):
            await self._settle_without(fault, group)
            return
        if diagnose(fault) is Trouble.FAULT and len(group) > 1:
            log.warning("a group of %d batches was rolled back, each is run alone: %r", len(group), fault)
            for pending in group:
                if not pending.answer.done():  # meanwhile it may have waited for too long
                    await self._settle_or_fail([pending])
            return
        _fail(group, fault)

    async def _settle_without(self, held: HostsHeld, group: list[Pending]) -> None:
        """Who holds a host holds up that host alone: a process that stands still may hold it for a minute."""
        _fail([pending for pending in group if pending.host in held.hosts], held)
        others = [pending for pending in group if not pending.answer.done()]
        if others:
            await self._settle_or_fail(others)

    async def _attempt(self, group: list[Pending]) -> Exception | None:
        """Commit and answer; the fault, if it could not be done within the tries that its kind deserves."""
        for attempt in range(1, TRIES + 1):
            started = time.monotonic()
            try:
                receipts = await self._commit(group)
            except (
                Exception
            ) as fault:  # whatever it is, these batches get an answer and the next ones their turn
                trouble = diagnose(fault)
                self._meters.commits.labels(trouble.value).inc()
                if trouble is not Trouble.CONTENTION or attempt == TRIES:
                    return fault
                await asyncio.sleep(random.uniform(0.002, 0.02) * attempt)  # noqa: S311 - spreads, guards nothing
            else:
                self._meters.commits.labels("committed").inc()
                self._meters.commit_seconds.observe(time.monotonic() - started)
                self._meters.group_size.observe(len(group))
                _hand_out(group, receipts)
                return None
        raise AssertionError("the last try returns")


def _require_room(verdict: Admission) -> None:
    if verdict is not Admission.ADMITTED:
        raise TooBusy(
            f"Not now: {verdict.value}. Keep the batch and send it again.", retry_after_s=RETRY_AFTER_S
        )


def too_late() -> Unavailable:
    """What a batch is told that was not stored within ``request_deadline_s``."""
    return Unavailable("The batch could not be stored in time: send it again.", retry_after_s=RETRY_AFTER_S)


def _hand_out(group: Sequence[Pending], receipts: Sequence[Receipt]) -> None:
    for pending, receipt in zip(group, receipts, strict=True):
        if not pending.answer.done():
            pending.answer.set_result(receipt)


def _fail(group: Sequence[Pending], fault: Exception) -> None:
    log.error("%d batches were not stored (answered 503): %r", len(group), fault, exc_info=fault)
    _answer_all(
        group, Unavailable("The batch could not be stored: send it again.", retry_after_s=RETRY_AFTER_S)
    )


def _answer_all(group: Sequence[Pending], problem: Problem) -> None:
    for pending in group:
        if not pending.answer.done():
            pending.answer.set_result(problem)
