"""The ingest commit: one transaction for a group of batches, in an order that cannot go wrong.

    1. lock the batches' host_state rows, in sorted (tenant, host) order;
    2. insert all ledger keys in one sorted statement; the rows that come back are the winners;
    3. evaluate the winners only, each host's inputs in time order;
    4. COPY frames, insert events, write transitions and host_state;
    5. commit;
    6. receipts.

Why this order, and what was rejected: docs/adr/0002-one-ingest-commit.md. The decisions (``settle``,
``by_host``) are pure; the SQL around them is all that may fail, and when it does nothing was stored.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any
from weakref import WeakSet

import msgspec
from psycopg import AsyncConnection, errors
from psycopg.types.json import Jsonb

from alerting import evaluate as alerting
from alerting.evaluate import EventInput, FrameInput, HostKey, HostScope
from collector import copyrow
from collector.directory import Q
from collector.meters import Meters
from collector.pending import BatchKey, Pending, at
from collector.rollup import FIVE, floor, late_before
from collector.settings import CollectorSettings
from storage import arrays
from storage.pool import Pool
from wire.batch import EventBatch, FrameBatch
from wire.clock import Clock
from wire.receipt import Outcome, Receipt

Connection = AsyncConnection[tuple[Any, ...]]
Pair = tuple[int, int, int]
"""Tenant, host, layout."""
Mark = tuple[int, int, int, datetime]
"""Tenant, host, layout, and the bucket of a rollup."""
PAIRS_KNOWN = 500_000
"""(host, layout) pairs remembered as noted; then all are forgotten and noted again when met."""
HOSTS_KNOWN = 500_000
"""Hosts remembered as having a row to lock; then likewise."""
CAREFUL_GROUPS = 100
"""After a batch that was sent again, so many groups are taken to hold others."""


class LedgerMoved(Exception):
    """What was there when we looked first was gone when we looked again (a key just expired): try again."""


class SentBefore(Exception):
    """The ledger knows a batch of the group: who wins and who lost is to be asked."""


class HostsHeld(Exception):
    """Somebody holds some of the group's hosts for long; nothing of the group is stored."""

    def __init__(self, hosts: frozenset[HostKey]) -> None:
        super().__init__(f"{len(hosts)} of the hosts are held by others")
        self.hosts = hosts


class Verdicts(msgspec.Struct, frozen=True):
    """What becomes of each batch of a group."""

    winners: tuple[Pending, ...]
    """To be stored now."""
    receipts: tuple[Receipt, ...]
    """The answers, in the group's order, valid once the transaction has committed."""


class HostWork(msgspec.Struct, frozen=True):
    """What one host's winners bring to evaluation."""

    scope: HostScope
    inputs: tuple[FrameInput | EventInput, ...]
    """In time order."""
    received_at: datetime
    """Receipt of the newest of its batches."""


class Frames(msgspec.Struct, frozen=True):
    """The frames of a group's winners, as they are stored."""

    rows: list[bytes | bytearray]
    """Rows of the COPY."""
    pairs: set[Pair]
    """Which host sent which layout."""
    late: set[Mark]
    """Buckets that may be rolled up already: the rollups look at them again."""
    samples: int
    """Values, without the missing ones."""


def frames_of(winners: Iterable[Pending], late_before_ms: int) -> Frames:
    """Frames older than ``late_before_ms`` (milliseconds since 1970) are late for the rollups."""
    rows: list[bytes | bytearray] = []
    pairs: set[Pair] = set()
    late: set[Mark] = set()
    width = 0
    for pending in winners:
        if not isinstance(pending.batch, FrameBatch):
            continue
        tenant_id, host_id = pending.host
        for frame in pending.batch.frames:
            layout_id = pending.layouts[frame.layout].layout_id
            time_ms = pending.stored_ms(frame.time_ms)
            rows.append(copyrow.row(tenant_id, host_id, layout_id, time_ms, frame.values))
            pairs.add((tenant_id, host_id, layout_id))
            width += len(frame.values)
            if time_ms < late_before_ms:
                late.add((tenant_id, host_id, layout_id, floor(at(time_ms), FIVE)))
    return Frames(rows, pairs, late, copyrow.known(rows, width))


def settle(
    group: Sequence[Pending], winners: AbstractSet[BatchKey], held: Mapping[BatchKey, bytes]
) -> Verdicts:
    """Judge each batch by what the ledger holds under its key: the same bytes are stored, others renumber.

    ``winners`` are the keys that this transaction inserted, with the digest of the first batch of that key in
    the group; ``held`` has the digests of the others. Raises LedgerMoved for a key that is in neither."""
    if len(winners) == len(group):
        return Verdicts(tuple(group), tuple([pending.receipt(Outcome.STORED) for pending in group]))
    first: dict[BatchKey, Pending] = {}
    for pending in group:
        first.setdefault(pending.key, pending)
    receipts = []
    for pending in group:
        truth = first[pending.key].digest if pending.key in winners else held.get(pending.key)
        if truth is None:
            raise LedgerMoved(pending.key)
        receipts.append(_receipt(pending, truth))
    return Verdicts(tuple(first[key] for key in first if key in winners), tuple(receipts))


def _receipt(pending: Pending, truth: bytes) -> Receipt:
    if pending.digest == truth:
        return pending.receipt(Outcome.STORED)
    reason = f"seq: {pending.batch.seq} was used for other content in this epoch; take a new number"
    return pending.receipt(Outcome.RENUMBER, reason)


def by_host(winners: Iterable[Pending]) -> dict[HostKey, HostWork]:
    """The winners' inputs per host, merged over its batches and put into time order."""
    hosts: dict[HostKey, list[Pending]] = {}
    for pending in winners:
        hosts.setdefault(pending.host, []).append(pending)
    return {host: _host_work(pendings) for host, pendings in sorted(hosts.items())}


def _host_work(pendings: Sequence[Pending]) -> HostWork:
    if len(pendings) == 1 and len(inputs := pendings[0].inputs()) == 1:
        return HostWork(pendings[0].scope, tuple(inputs), pendings[0].received_at)
    inputs = sorted((item for pending in pendings for item in pending.inputs()), key=lambda item: item.at)
    return HostWork(pendings[0].scope, tuple(inputs), max(pending.received_at for pending in pendings))


class IngestCommit:
    """Commits groups; one per process. Caches the rules and which (host, layout) pairs are noted, no more."""

    def __init__(self, pool: Pool, settings: CollectorSettings, clock: Clock, meters: Meters) -> None:
        self._pool = pool
        self._clock = clock
        self._meters = meters
        self._limits = {
            "lock_timeout": f"{round(settings.lock_timeout_s * 1000)}ms",
            "statement_timeout": f"{round(settings.request_deadline_s * 1000)}ms",
        }
        self._evaluator: alerting.Evaluator | None = None
        self._noted: set[Pair] = set()
        self._met: set[HostKey] = set()
        self._careful = 0
        self._bounded: WeakSet[Connection] = WeakSet()

    async def __call__(self, group: Sequence[Pending]) -> tuple[Receipt, ...]:
        """Commit ``group``; receipts in its order. Raises HostsHeld or what the database says: then nothing
        was stored."""
        try:
            return await self._cheap_or_careful(group)
        except errors.LockNotAvailable:
            held = await self._held(group) if len(group) > 1 else frozenset()
            if not held:
                raise
            raise HostsHeld(held) from None

    async def _held(self, group: Sequence[Pending]) -> frozenset[HostKey]:
        async with self._pool.connection() as conn:
            return await alerting.held_hosts(conn, {pending.host for pending in group})

    async def _cheap_or_careful(self, group: Sequence[Pending]) -> tuple[Receipt, ...]:
        if not self._careful:
            with contextlib.suppress(SentBefore):
                return await self._commit(group, careful=False)
            self._careful = CAREFUL_GROUPS
        self._careful -= 1
        return await self._commit(group, careful=True)

    async def _commit(self, group: Sequence[Pending], *, careful: bool) -> tuple[Receipt, ...]:
        async with self._pool.connection() as conn:
            await self._bound(conn)
            async with conn.transaction():
                verdicts, frames = await self._store(conn, group, careful)
        self._after_commit(verdicts, frames)
        if len(self._met) > HOSTS_KNOWN:
            self._met.clear()
        self._met.update([pending.host for pending in group])
        return verdicts.receipts

    async def _bound(self, conn: Connection) -> None:
        """The limits of ingest transactions, once per connection: it is not used for much else."""
        if conn not in self._bounded:
            await conn.execute(Q.ingest_limits, self._limits)
            self._bounded.add(conn)

    async def _store(
        self, conn: Connection, group: Sequence[Pending], careful: bool
    ) -> tuple[Verdicts, Frames]:
        now = self._clock()
        hosts = {pending.host for pending in group}
        states = await alerting.lock_hosts(conn, hosts, now, there=self._met)
        if len(states) < len(hosts):
            self._met.clear()
            raise LedgerMoved("a host's row is gone: it is made again")
        verdicts = await self._enter_ledger(conn, group, careful)
        frames = frames_of(verdicts.winners, int(late_before(now).timestamp() * 1000))
        if not verdicts.winners:
            return verdicts, frames
        outcomes = await self._evaluate(conn, states, by_host(verdicts.winners))
        await _note_layouts(conn, frames.pairs - self._noted, now)
        await _copy_frames(conn, frames.rows)
        await _mark_late(conn, frames.late)
        await _insert_events(conn, verdicts.winners)
        await alerting.save_outcomes(conn, outcomes, now)
        return verdicts, frames

    async def _enter_ledger(self, conn: Connection, group: Sequence[Pending], careful: bool) -> Verdicts:
        """Step 2 of the order, by the cheap statement while nobody sends anything again.

        Only who holds a key's host may take the key. So a key that is there is no race but a batch sent
        again, as after an answer that was lost. Then all is rolled back and done again the careful way, and
        so are the next groups: one sent again is seldom alone."""
        if careful:
            verdicts = await _enter_ledger(conn, group)
            if len(verdicts.winners) < len(group):
                self._careful = CAREFUL_GROUPS
            return verdicts
        first = _first(group)
        try:
            await conn.execute(Q.ledger_add, _ledger_rows(first))
        except errors.UniqueViolation:
            raise SentBefore from None
        return settle(group, first.keys(), {})

    async def _evaluate(
        self, conn: Connection, states: Mapping[HostKey, alerting.HostState], work: Mapping[HostKey, HostWork]
    ) -> list[alerting.Outcome]:
        """Judge by rules that are at least as new as what any of these hosts was judged by last."""
        newest = max(states[host].pack_version for host in work)
        if self._evaluator is None or self._evaluator.version < newest:
            self._evaluator = await alerting.load_evaluator(conn)
        outcomes = []
        for host, item in work.items():
            outcome = alerting.evaluate(
                self._evaluator, item.scope, states[host], item.inputs, item.received_at
            )
            if outcome.late or outcome.failing:
                self._count(outcome)
            outcomes.append(outcome)
        return outcomes

    def _count(self, outcome: alerting.Outcome) -> None:
        for rule in outcome.failing:
            self._meters.failing_rules.labels(rule).inc()
        self._meters.late.inc(len(outcome.late))

    def _after_commit(self, verdicts: Verdicts, frames: Frames) -> None:
        """Remember and count only what is on disk."""
        if len(self._noted) > PAIRS_KNOWN:
            self._noted.clear()
        self._noted |= frames.pairs
        stored = [receipt.outcome is Outcome.STORED for receipt in verdicts.receipts].count(True)
        self._meters.batches.labels(Outcome.STORED.value).inc(stored)
        self._meters.batches.labels(Outcome.RENUMBER.value).inc(len(verdicts.receipts) - stored)
        batches = [pending.batch for pending in verdicts.winners]
        self._meters.events.inc(sum(len(batch.events) for batch in batches if isinstance(batch, EventBatch)))
        self._meters.frames.inc(len(frames.rows))
        self._meters.samples.inc(frames.samples)


async def _enter_ledger(conn: Connection, group: Sequence[Pending]) -> Verdicts:
    """Step 2 of the order, the careful way: who wins its key, and what the others' keys hold."""
    first = _first(group)
    cursor = await conn.execute(Q.ledger_insert, _ledger_rows(first))
    if cursor.rowcount == len(first):
        return settle(group, first.keys(), {})
    winners = {_key(found) for found in await cursor.fetchall()}
    losers = [key for key in first if key not in winners]
    rows = await (await conn.execute(Q.ledger_digests, _columns(losers))).fetchall()
    return settle(group, winners, {_key(found): found[4] for found in rows})


def _first(group: Sequence[Pending]) -> dict[BatchKey, Pending]:
    """The first batch of each key."""
    return {pending.key: pending for pending in reversed(group)}


def _ledger_rows(first: Mapping[BatchKey, Pending]) -> dict[str, Any]:
    return {
        **_columns(first),
        "digests": arrays.byteas([pending.digest for pending in first.values()]),
        "received": arrays.times([pending.received_at for pending in first.values()]),
    }


def _key(row: tuple[Any, ...]) -> BatchKey:
    return BatchKey(row[0], row[1].bytes, row[2], row[3])


def _columns(keys: Iterable[BatchKey]) -> dict[str, Any]:
    tenant_ids, agents, epochs, seqs = zip(*keys, strict=True)
    return {
        "tenant_ids": arrays.int4s(tenant_ids),
        "agent_ids": arrays.uuids(agents),
        "epochs": arrays.int8s(epochs),
        "seqs": arrays.int8s(seqs),
    }


async def _note_layouts(conn: Connection, pairs: set[Pair], now: datetime) -> None:
    if not pairs:
        return
    rows = sorted(pairs)
    columns = {
        "tenant_ids": [tenant_id for tenant_id, _, _ in rows],
        "host_ids": [host_id for _, host_id, _ in rows],
        "layout_ids": [layout_id for _, _, layout_id in rows],
        "seen": [now] * len(rows),
    }
    await conn.execute(Q.host_layout_insert, columns)


async def _copy_frames(conn: Connection, rows: Sequence[bytes | bytearray]) -> None:
    if not rows:
        return
    async with conn.cursor() as cursor, cursor.copy(Q.frame_copy) as copy:
        await copy.write(b"".join([copyrow.HEADER, *rows, copyrow.TRAILER]))


async def _mark_late(conn: Connection, marks: set[Mark]) -> None:
    if not marks:
        return
    rows = sorted(marks)
    columns = {
        "tenant_ids": [tenant_id for tenant_id, *_ in rows],
        "host_ids": [host_id for _, host_id, *_ in rows],
        "layout_ids": [layout_id for *_, layout_id, _ in rows],
        "times": [time for *_, time in rows],
    }
    await conn.execute(Q.mark_insert, columns)


async def _insert_events(conn: Connection, winners: Iterable[Pending]) -> None:
    events = [
        (pending, event)
        for pending in winners
        if isinstance(pending.batch, EventBatch)
        for event in pending.batch.events
    ]
    if not events:
        return
    columns = {
        "tenant_ids": [pending.scope.tenant_id for pending, _ in events],
        "host_ids": [pending.scope.host_id for pending, _ in events],
        "times": [at(pending.stored_ms(event.time_ms)) for pending, event in events],
        "sources": [event.source for _, event in events],
        "event_ids": [event.event_id for _, event in events],
        "severities": [event.severity.value for _, event in events],
        "messages": [event.message for _, event in events],
        "attributes": [Jsonb(event.attributes) for _, event in events],
    }
    await conn.execute(Q.event_insert, columns)
