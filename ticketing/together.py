"""What the desk handles together: quiet alerts, then storms; each batch in a transaction of its own.

A batch that fails is rolled back whole, and its alerts are handled one by one, as are those that it left:
so one alert that makes trouble holds up no other, and is retried and parked alone.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import psycopg
from prometheus_client import Counter
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from alerting.published import AlertKey
from ticketing import many, storm
from ticketing.settings import Settings
from ticketing.storm import Due

Connection = AsyncConnection[Any]
Pool = AsyncConnectionPool[AsyncConnection[Any]]
T = TypeVar("T")
AWAY = (psycopg.OperationalError, PoolTimeout)
"""The database cannot be reached or shuts down: no item's fault."""
log = logging.getLogger(__name__)

UNDONE = Counter("ucx_desk_batches_undone", "Batches of alerts that failed and were handled one by one")


def is_away(error: Exception) -> bool:
    """The database cannot be reached, shuts down or is out of resources: no item's fault.

    A deadlock or a cancelled statement is of the same class in the driver, but belongs to the item."""
    state = getattr(error, "sqlstate", None)
    return isinstance(error, AWAY) and (state is None or state.startswith(("08", "57P", "53")))


async def together(
    pool: Pool, settings: Settings, now: datetime, due: Sequence[Due]
) -> tuple[int, list[AlertKey]]:
    """How many of these alerts were handled, and those left for one by one, the most urgent first."""
    quiet = [one.key for one in due if one.quiet]
    loud = [one for one in due if not one.quiet]
    settled, left = await _settle(pool, settings, now, quiet)
    joined = await _storms(pool, settings, now, [one for one in loud if one.partial])
    return settled + len(joined), [one.key for one in loud if one.key not in joined] + left


async def _settle(
    pool: Pool, settings: Settings, now: datetime, keys: list[AlertKey]
) -> tuple[int, list[AlertKey]]:
    if not keys:
        return 0, []
    done = await _whole(pool, lambda conn: many.settle(conn, settings, now, keys))
    return (0, keys) if done is None else done


async def _storms(pool: Pool, settings: Settings, now: datetime, due: Sequence[Due]) -> set[AlertKey]:
    if not due:
        return set()
    joined: set[AlertKey] = set()
    async with pool.connection() as conn:
        stormy = await storm.sites(conn, settings, now, due)
    for site, rose in stormy.items():
        here = [one for one in due if one.site == site]
        joined |= await _storm(pool, settings, now, site, here, rose=rose)
    return joined


async def _storm(
    pool: Pool, settings: Settings, now: datetime, site: storm.Site, due: Sequence[Due], *, rose: bool
) -> set[AlertKey]:
    done = await _whole(pool, lambda conn: storm.take_in(conn, settings, now, site, due, rose=rose))
    return done or set()


async def _whole(pool: Pool, work: Callable[[Connection], Awaitable[T]]) -> T | None:
    """The result of a batch in its transaction; None: it failed, nothing of it was done."""
    try:
        async with pool.connection() as conn, conn.transaction():
            return await work(conn)
    except Exception as error:
        if is_away(error):
            raise
        UNDONE.inc()
        log.exception("the desk failed on a batch of alerts; they are handled one by one")
        return None
