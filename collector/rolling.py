"""The worker that rolls frames up: late buckets first, then bucket after bucket, then the hours.

At any number of collectors one at a time works (an advisory lock of its session). Each step is a transaction
that works a bucket out anew and writes it whole; killed anywhere, the next round does the step again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection

from collector import copyrow
from collector.directory import Q
from collector.rollup import DAY, FIVE, HOUR, Progress, Summary, combine, due_until, floor, summarise
from collector.settings import CollectorSettings
from storage import jobs
from storage.pool import Pool
from wire.clock import Clock
from wire.limits import MAX_FUTURE_S

log = logging.getLogger(__name__)

Connection = AsyncConnection[tuple[Any, ...]]
AT_ONCE = 50
"""(host, layout) pairs per transaction: some ten milliseconds of work."""
MARKS_AT_ONCE = 1_000
LONGEST_COMMIT = timedelta(minutes=15)
"""A transaction that is older is not an ingest commit: somebody's forgotten one must not stop the rollups."""
STANDSTILL = timedelta(hours=1)
"""Who has the lock and is so far behind does not work any more, or has much to do: both are told."""


class Bucket(NamedTuple):
    """One row of a rollup, by its key."""

    tenant_id: int
    host_id: int
    layout_id: int
    time: datetime


async def run(pool: Pool, settings: CollectorSettings, clock: Clock, stop: asyncio.Event) -> None:
    """A round every ``rollup_every_s`` until ``stop``; how it went is noted, so that somebody is told."""
    while not stop.is_set():
        await noted_round(pool, settings, clock(), stop)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), settings.rollup_every_s)


async def noted_round(pool: Pool, settings: CollectorSettings, now: datetime, stop: asyncio.Event) -> None:
    """One round and its row in ``upkeep_job``. Raises psycopg.Error when not even that can be written."""
    try:
        ours, error = await roll_up(pool, settings, now, stop), None
    except psycopg.Error as fault:
        log.exception("the rollups failed; they are tried again in the next round")
        ours, error = True, f"{type(fault).__name__}: {fault}".strip()
    async with pool.connection() as conn:
        if not ours:
            there = (await progress(conn)).get(FIVE)
            if there is None or now - there.until < STANDSTILL:
                return
            error = (
                f"rollups stand at {there.until:%Y-%m-%d %H:%M} UTC; {await _holder(conn)} holds their lock"
            )
        await jobs.record(conn, "roll up", "frame", now, error)


async def _holder(conn: Connection) -> str:
    row = await (await conn.execute(Q.rollup_holder)).fetchone()
    return f"the session of PostgreSQL's process {row[0]}" if row else "another process"


async def roll_up(pool: Pool, settings: CollectorSettings, now: datetime, stop: asyncio.Event) -> bool:
    """One round, up to ``now``; False when another worker is at it."""
    async with pool.connection() as conn:
        locked = await (await conn.execute(Q.rollup_lock)).fetchone()
        if locked != (True,):
            return False
        try:
            await _round(conn, settings, now, stop)
        finally:
            await conn.execute(Q.rollup_unlock)
    return True


async def _round(conn: Connection, settings: CollectorSettings, now: datetime, stop: asyncio.Event) -> None:
    await conn.execute(Q.rollup_begin, {"since": floor(now - settings.frames_let_in, HOUR)})
    await _step_back(conn, now, settings.frames_let_in)
    oldest = floor(now - timedelta(days=settings.frame_retention_days), DAY)
    while not stop.is_set() and await _late(conn, oldest):
        pass
    settled = due_until(now - await _under_way(conn))
    for span, until in ((FIVE, settled), (HOUR, None)):
        reached = await progress(conn)
        end = until or floor(reached[FIVE].until, HOUR)
        bucket = reached[span].until
        while bucket + span <= end and not stop.is_set():
            await _bucket(conn, bucket, span)
            bucket += span


async def _under_way(conn: Connection) -> timedelta:
    """How long ago the oldest commit under way began. What it brings was not late then, and is not marked."""
    row = await (
        await conn.execute(Q.oldest_writer, {"longest_s": LONGEST_COMMIT.total_seconds()})
    ).fetchone()
    assert row is not None
    return timedelta(seconds=row[0])


async def _step_back(conn: Connection, now: datetime, longest: timedelta) -> None:
    """Buckets that were rolled up before their time, by a clock that was ahead, are not there: what came for
    them since was not late, and so is not marked. Not further than ``longest``: then this clock is wrong."""
    until, reached = due_until(now), (await progress(conn))[FIVE].until
    if until < reached:
        words = "this clock is at %s, but rollups have come to %s"
        if reached - until > longest:
            log.error(f"{words}: one of the two is wrong, and nothing is done about it", now, reached)
            return
        if reached - until > FIVE:
            log.warning(f"{words}: a clock was ahead, what lies between is done again", now, reached)
        await conn.execute(Q.rollup_step_back, {"five": until, "hour": floor(until, HOUR)})


async def progress(conn: Connection) -> dict[timedelta, Progress]:
    """How far each span has come."""
    rows = await (await conn.execute(Q.rollup_progress)).fetchall()
    return {timedelta(seconds=span_s): Progress(since, until) for span_s, since, until in rows}


async def _late(conn: Connection, oldest: datetime) -> bool:
    """Work out anew what late frames fell into; False when nothing was marked. Frames before ``oldest`` may
    be gone: a bucket is never replaced by what is left of it."""
    async with conn.transaction():
        taken = {Bucket(*row) for row in await _rows(conn, Q.mark_take, {"limit": MARKS_AT_ONCE})}
        reached = await progress(conn)
        five, hour = reached[FIVE], reached[HOUR]
        fives = sorted(b for b in taken if five.since <= b.time < five.until and b.time >= oldest)
        await _roll(conn, fives, FIVE)
        hours = {bucket._replace(time=floor(bucket.time, HOUR)) for bucket in fives}
        await _roll(conn, sorted(b for b in hours if hour.since <= b.time < hour.until), HOUR)
    return bool(taken)


async def _bucket(conn: Connection, start: datetime, span: timedelta) -> None:
    """Roll up one bucket of all hosts, and say so."""
    # A host's clock may be ahead of its receipts by so much.
    heard = start - timedelta(seconds=2 * MAX_FUTURE_S)
    hosts = await _rows(conn, Q.rollup_hosts, {"since": heard})
    for part in _parts([Bucket(row[0], row[1], row[2], start) for row in hosts]):
        async with conn.transaction():
            await _roll(conn, part, span)
        await asyncio.sleep(0)
    row = {"until": start + span, "span_s": int(span.total_seconds())}
    await conn.execute(Q.rollup_advance, row)


def _parts(buckets: Sequence[Bucket]) -> Iterator[Sequence[Bucket]]:
    return (buckets[first : first + AT_ONCE] for first in range(0, len(buckets), AT_ONCE))


async def _roll(conn: Connection, buckets: Sequence[Bucket], span: timedelta) -> None:
    for part in _parts(buckets):
        if span == FIVE:
            await _write(conn, _of_frames(await _rows(conn, Q.rollup_frames, _columns(part))), span)
        else:
            await _write(conn, _of_fives(await _rows(conn, Q.rollup_fives, _columns(part))), span)


def _of_frames(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Bucket, Summary]]:
    found = groupby(rows, key=lambda row: Bucket(*row[:4]))
    return [(bucket, summarise(row[4] for row in frames)) for bucket, frames in found]


def _of_fives(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Bucket, Summary]]:
    found = groupby(rows, key=lambda row: Bucket(*row[:4]))
    return [(bucket, combine([Summary(*row[4:]) for row in parts])) for bucket, parts in found]


async def _write(conn: Connection, rolled: Sequence[tuple[Bucket, Summary]], span: timedelta) -> None:
    """A bucket of which nothing was found stays: what it was made of goes only when it is past its keep."""
    if not rolled:
        return
    stale = _columns([bucket for bucket, _ in rolled])
    await conn.execute(Q.five_delete if span == FIVE else Q.hour_delete, stale)
    rows = [_row(bucket, summary) for bucket, summary in rolled]
    statement = Q.five_copy if span == FIVE else Q.hour_copy
    async with conn.cursor() as cursor, cursor.copy(statement) as copy:
        await copy.write(b"".join([copyrow.HEADER, *rows, copyrow.TRAILER]))


def _row(bucket: Bucket, summary: Summary) -> bytes:
    floats = (summary.mins, summary.maxs, summary.sums, summary.lasts)
    time_ms = round(bucket.time.timestamp() * 1000)
    return copyrow.summary_row(*bucket[:3], time_ms, floats, summary.counts)


async def _rows(conn: Connection, query: bytes, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    """In binary format: arrays of floats come over many times faster than as text."""
    async with conn.cursor(binary=True) as cursor:
        return await (await cursor.execute(query, values)).fetchall()


def _columns(buckets: Sequence[Bucket]) -> dict[str, list[Any]]:
    return {
        "tenant_ids": [bucket.tenant_id for bucket in buckets],
        "host_ids": [bucket.host_id for bucket in buckets],
        "layout_ids": [bucket.layout_id for bucket in buckets],
        "times": [bucket.time for bucket in buckets],
    }
