"""How long what is kept, and the worker that deletes what is past it: rows of ticketing and on-call. Days of
frames, events and rollups are dropped whole by upkeep; alerts and notices go by alerting's sweep."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

import psycopg

import oncall.retention
import ticketing.retention
from storage import jobs
from storage.forgetting import Forgotten, forget
from storage.pool import Pool
from ucx_proactive.settings import Rooms
from wire.clock import Clock
from wire.limits import LEDGER_HORIZON_DAYS

log = logging.getLogger(__name__)
EVERY_S = 3600.0


def forgotten(rooms: Rooms) -> Iterator[Forgotten]:
    """All that this worker looks after."""
    yield from oncall.retention.forgotten(rooms.oncall)
    yield from ticketing.retention.forgotten(rooms.ticketing)


def kept(rooms: Rooms) -> dict[str, str]:
    """Table -> how long its rows are kept, in words; a table that is not named keeps them for ever."""
    collector, alerting = rooms.collector, rooms.alerting
    days = {
        "frame": collector.frame_retention_days,
        "event": collector.event_retention_days,
        "rollup_five": collector.five_minute_retention_days,
        "rollup_hour": collector.hourly_retention_days,
        "batch_ledger": LEDGER_HORIZON_DAYS,
        "alert": alerting.alert_days,
        "alert_transition": alerting.alert_days,
        "notice": alerting.notice_days,
    }
    days |= {what.table: what.days for what in forgotten(rooms)}
    days |= {"page": rooms.oncall.page_history_days, "paging": rooms.oncall.page_history_days}
    return {table: f"{count} days" for table, count in days.items() if count}


async def run(pool: Pool, rooms: Rooms, clock: Clock, stop: asyncio.Event) -> None:
    """A round every ``EVERY_S`` until ``stop``."""
    while not stop.is_set():
        await sweep(pool, rooms, clock)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), EVERY_S)


async def sweep(pool: Pool, rooms: Rooms, clock: Clock) -> dict[str, int]:
    """One round; how many rows each table lost. A table that fails is noted and left for the next round."""
    gone = {}
    for what in forgotten(rooms):
        error = None
        try:
            gone[what.table] = await forget(pool, what, clock())
        except psycopg.Error as fault:
            log.exception("old rows of %s stay for now", what.table)
            error = f"{type(fault).__name__}: {fault}".strip()
        with contextlib.suppress(psycopg.Error):  # the database is away: the next round says it
            async with pool.connection() as conn:
                await jobs.record(conn, "forget", what.table, clock(), error)
    return gone
