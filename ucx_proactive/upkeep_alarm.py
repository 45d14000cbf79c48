"""Jobs of upkeep that keep failing become an alarm to our own operations: shown by the API and the doctor. It
rings nobody: a week of partitions lies ahead, and the disk has an alarm of its own."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import psycopg

from alerting import operations
from storage import jobs
from storage.pool import Pool
from wire.clock import Clock

log = logging.getLogger(__name__)
KIND = "upkeep"
EVERY_S = 60.0


async def run(pool: Pool, clock: Clock, stop: asyncio.Event) -> None:
    """A look every ``EVERY_S`` until ``stop``."""
    while not stop.is_set():
        try:
            await look(pool, clock)
        except psycopg.Error:
            log.exception("the jobs of upkeep cannot be looked at now")
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), EVERY_S)


async def look(pool: Pool, clock: Clock) -> None:
    """Open the alarm, or end it."""
    async with pool.connection() as conn:
        failing = await jobs.failing(conn)
        if failing:
            detail = "; ".join(job.words for job in failing)
            await operations.tell(conn, KIND, detail, failing[0].failing_since, clock())
        else:
            await operations.end(conn, KIND, clock())
