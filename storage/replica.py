"""Reading from a replica of the database, and never pretending that it is newer than it is.

Charts, newest values and events may be read from a streaming replica (setting ``read_database_url``). Whoever
reads is told as of when: the time of the newest commit that the replica has replayed. One that lags more than
is allowed, that is no replica, or that does not answer at once is passed over for the primary, for a while.
What decides anything (ingest, rules, tickets, paging) reads what it locks, on the primary, always.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import psycopg
from psycopg import AsyncConnection
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("storage")
log = logging.getLogger(__name__)

PATIENCE_S = 1.0
"""For a connection to the replica; the primary is there meanwhile."""
PASSED_OVER_S = 5.0
"""So long a replica that was of no use is not asked again."""
Connection = AsyncConnection[tuple[Any, ...]]


class View(NamedTuple):
    """A connection to read from."""

    conn: Connection
    as_of: datetime
    """Everything committed until then is seen; database time."""


def usable(in_recovery: bool, as_of: datetime | None, now: datetime, most_lag: timedelta) -> str:
    """Why a replica cannot serve; empty: it can. ``now`` by its own clock."""
    if not in_recovery:
        return "it is no replica (it was promoted, or read_database_url names a primary)"
    if as_of is None:
        return "it has not replayed anything yet"
    if now - as_of > most_lag:
        return f"its newest commit is {(now - as_of).total_seconds():.0f} s old"
    return ""


class ReadPool:
    """Hands out views: the replica's while it is near enough, else the primary's."""

    def __init__(
        self,
        primary: Pool,
        replica: Pool | None = None,
        most_lag: timedelta = timedelta(0),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._primary = primary
        self._replica = replica
        self._most_lag = most_lag
        self._monotonic = monotonic
        self._not_before = 0.0

    @asynccontextmanager
    async def view(self) -> AsyncIterator[View]:
        """A connection to read from, and as of when."""
        async with contextlib.AsyncExitStack() as stack:
            found = await self._from_replica(stack)
            if found is None:
                conn = await stack.enter_async_context(self._primary.connection())
                found = View(conn, (await _state(conn))[2])
            yield found

    async def _from_replica(self, stack: contextlib.AsyncExitStack) -> View | None:
        if self._replica is None or self._monotonic() < self._not_before:
            return None
        try:
            conn = await stack.enter_async_context(self._replica.connection(timeout=PATIENCE_S))
            in_recovery, as_of, now = await _state(conn)
            why = usable(in_recovery, as_of, now, self._most_lag)
        except (psycopg.Error, PoolTimeout, PoolClosed, TooManyRequests, OSError) as fault:
            why = f"it does not answer ({type(fault).__name__})"
        if not why:
            assert as_of is not None
            return View(conn, as_of)
        self._not_before = self._monotonic() + PASSED_OVER_S
        log.warning("reading from the primary, the replica is of no use now: %s", why)
        await stack.aclose()  # what failed is given back; the stack may be filled again
        return None


async def _state(conn: Connection) -> tuple[bool, datetime | None, datetime]:
    row = await (await conn.execute(Q.replica_state)).fetchone()
    assert row is not None
    return row[0], row[1], row[2]
