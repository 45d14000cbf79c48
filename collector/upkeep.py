"""Upkeep: partitions ahead of the data, expired ones dropped, the ledger kept to its horizon."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime, timedelta

from collector.directory import Q
from collector.meters import Meters
from collector.settings import CollectorSettings
from storage.partition import drop_expired, ensure_partitions, pack
from storage.pool import Pool
from wire.clock import Clock
from wire.limits import LEDGER_HORIZON_DAYS, MAX_FUTURE_S

log = logging.getLogger(__name__)

TABLES = ("frame", "event", "rollup_five", "rollup_hour")
EXPIRE_AT_ONCE = 10_000
# A frame may be stamped up to MAX_FUTURE_S after its receipt, so its key must outlive the horizon by as much.
LEDGER_KEEP = timedelta(days=LEDGER_HORIZON_DAYS, seconds=2 * MAX_FUTURE_S)


async def prepare(pool: Pool, settings: CollectorSettings, now: datetime) -> None:
    """Make room for every time that ingest lets in. Before the first batch, and then again and again."""
    behind = timedelta(days=min(LEDGER_HORIZON_DAYS, settings.frame_retention_days) + 1)
    async with pool.connection() as conn:
        for table in TABLES:
            await ensure_partitions(conn, table, now, behind=behind)


async def shrink(pool: Pool, settings: CollectorSettings, now: datetime) -> int:
    """Pack what hardly changes any more, where the database can; returns how many pieces could not be."""
    left = 0
    async with pool.connection() as conn:
        for table in TABLES:
            work = await pack(conn, table, now, after=timedelta(days=settings.pack_after_days))
            left += len(work.postponed)
    return left


async def expire(pool: Pool, settings: CollectorSettings, now: datetime) -> int:
    """Drop what is past its retention; returns how many ledger rows went."""
    keep = {
        "frame": settings.frame_retention_days,
        "event": settings.event_retention_days,
        "rollup_five": settings.five_minute_retention_days,
        "rollup_hour": settings.hourly_retention_days,
    }
    async with pool.connection() as conn:
        for table in TABLES:
            await drop_expired(conn, table, now, keep=timedelta(days=keep[table]))
    return await _expire_ledger(pool, now)


async def _expire_ledger(pool: Pool, now: datetime) -> int:
    """In small steps, so that no step holds rows for long."""
    gone = 0
    while True:
        async with pool.connection() as conn:
            row = {"before": now - LEDGER_KEEP, "limit": EXPIRE_AT_ONCE}
            step = (await conn.execute(Q.ledger_expire, row)).rowcount
        gone += step
        if step < EXPIRE_AT_ONCE:
            return gone


async def run(
    pool: Pool, settings: CollectorSettings, clock: Clock, stop: asyncio.Event, meters: Meters
) -> None:
    """A round of upkeep every ``upkeep_every_s`` until ``stop``."""
    while not stop.is_set():
        now = clock()
        await prepare(pool, settings, now)
        gone = await expire(pool, settings, now)
        meters.expired.inc(gone)
        meters.unpacked.set(await shrink(pool, settings, now))
        if gone:
            log.info("ledger: %d keys are past the horizon of %d days", gone, LEDGER_HORIZON_DAYS)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), settings.upkeep_every_s)
