"""Upkeep: partitions ahead of the data, expired ones dropped, the ledger kept short, live series counted.

Each job on each table stands alone: what fails is noted in ``upkeep_job`` with its reason, counted, and tried
again in the next round; the others go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection

from collector import census
from collector.directory import Q
from collector.meters import Meters
from collector.settings import CollectorSettings
from storage import jobs
from storage.partition import Work, drop_expired, ensure_partitions, pack
from storage.pool import Pool
from wire.clock import Clock
from wire.limits import LEDGER_HORIZON_DAYS, MAX_FUTURE_S

log = logging.getLogger(__name__)

Connection = AsyncConnection[tuple[Any, ...]]

TABLES = ("frame", "event", "rollup_five", "rollup_hour")
EXPIRE_AT_ONCE = 10_000
# A frame may be stamped up to MAX_FUTURE_S after its receipt, so its key must outlive the horizon by as much.
LEDGER_KEEP = timedelta(days=LEDGER_HORIZON_DAYS, seconds=2 * MAX_FUTURE_S)


class Job(NamedTuple):
    """One piece of a round."""

    name: str
    table: str
    work: Callable[[Connection], Awaitable[Work]]


def rounds(settings: CollectorSettings, now: datetime) -> Iterator[Job]:
    """What a round at ``now`` does to the tables that are kept by time, the most urgent first."""
    keep = {
        "frame": timedelta(days=settings.frame_retention_days),
        "event": timedelta(days=settings.event_retention_days),
        "rollup_five": settings.fives_kept,
        "rollup_hour": settings.hours_kept,
    }
    after = timedelta(days=settings.pack_after_days)
    for table in TABLES:
        behind = min(keep[table], timedelta(days=LEDGER_HORIZON_DAYS + 1))
        yield Job("ensure", table, partial(ensure_partitions, table=table, now=now, behind=behind))
    for table in TABLES:
        yield Job("drop", table, partial(drop_expired, table=table, now=now, keep=keep[table]))
    for table in TABLES:
        yield Job("pack", table, partial(pack, table=table, now=now, after=after))


async def prepare(pool: Pool, settings: CollectorSettings, now: datetime) -> None:
    """Make room for every time that ingest lets in. Before the first batch, and then again and again."""
    async with pool.connection() as conn:
        for job in rounds(settings, now):
            if job.name == "ensure":
                await job.work(conn)


async def keep_tables(pool: Pool, settings: CollectorSettings, now: datetime, meters: Meters) -> None:
    """One round over the tables that are kept by time; never raises for what the database says to one job."""
    unpacked = 0
    for job in rounds(settings, now):
        work = await _guarded(pool, job, now, meters)
        if job.name == "pack":
            unpacked += len(work.postponed)
    meters.unpacked.set(unpacked)


async def _guarded(pool: Pool, job: Job, now: datetime, meters: Meters) -> Work:
    async with pool.connection() as conn:
        try:
            work = await job.work(conn)
            left = ", ".join(work.postponed)
            error = f"left for the next round: {left} ({work.why})" if left else None
        except psycopg.Error as fault:
            log.exception("upkeep: %s of %s failed; it is tried again in the next round", job.name, job.table)
            work, error = Work(), f"{type(fault).__name__}: {fault}".strip()
    await _note(pool, job.name, job.table, now, error, meters)
    return work


async def _note(pool: Pool, job: str, table: str, now: datetime, error: str | None, meters: Meters) -> None:
    async with pool.connection() as conn:  # a session that failed may be gone
        failures = await jobs.record(conn, job, table, now, error)
    meters.job_failures.labels(job, table).set(failures)


async def keep_counts(pool: Pool, settings: CollectorSettings, now: datetime, meters: Meters) -> None:
    """What is not kept by time: the ledger to its horizon, the census; each noted as the other jobs are."""
    try:
        gone, error = await expire_ledger(pool, now), None
    except psycopg.Error as fault:
        log.exception("upkeep: the ledger could not be kept short; it is tried again in the next round")
        gone, error = 0, f"{type(fault).__name__}: {fault}".strip()
    await _note(pool, "expire", "batch_ledger", now, error, meters)
    meters.expired.inc(gone)
    if gone:
        log.info("ledger: %d keys are past the horizon of %d days", gone, LEDGER_HORIZON_DAYS)
    try:
        meters.live_series.set(await count_series(pool, settings, now))
        error = None
    except psycopg.Error as fault:
        log.exception("upkeep: live series could not be counted; it is tried again in the next round")
        error = f"{type(fault).__name__}: {fault}".strip()
    await _note(pool, "count", "host_series", now, error, meters)


async def expire_ledger(pool: Pool, now: datetime) -> int:
    """Delete keys past the horizon, in small steps, so that no step holds rows for long; how many went."""
    gone = 0
    while True:
        async with pool.connection() as conn:
            row = {"before": now - LEDGER_KEEP, "limit": EXPIRE_AT_ONCE}
            step = (await conn.execute(Q.ledger_expire, row)).rowcount
        gone += step
        if step < EXPIRE_AT_ONCE:
            return gone


async def count_series(pool: Pool, settings: CollectorSettings, now: datetime) -> int:
    """The census of all hosts that are due, some at a time; killed anywhere, the next round goes on. Returns
    the live series of all customers."""
    age = timedelta(days=settings.series_age_days)
    async with pool.connection() as conn:
        await conn.execute(Q.census_begin)
        while True:
            async with conn.transaction():
                if not await census.count(conn, now, age):
                    break
        row = await (await conn.execute(Q.live_series)).fetchone()
    assert row is not None
    live: int = row[0]
    return live


async def run(
    pool: Pool, settings: CollectorSettings, clock: Clock, stop: asyncio.Event, meters: Meters
) -> None:
    """A round of upkeep every ``upkeep_every_s`` until ``stop``."""
    while not stop.is_set():
        now = clock()
        await keep_tables(pool, settings, now, meters)
        await keep_counts(pool, settings, now, meters)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), settings.upkeep_every_s)
