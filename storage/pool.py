"""The asynchronous connection pool that every room is handed.

Connections are in autocommit mode, so that a transaction is always written down where it happens::

    async with pool.connection() as conn, conn.transaction():
        ...

and speak UTC, so that a ``timestamptz`` comes back as an aware UTC datetime.
"""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from storage.arrays import PlainListDumper

Pool = AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]

WAIT_FOR_CONNECTION_S = 10.0
"""How long a caller waits for a free connection before ``psycopg_pool.PoolTimeout``: the caller's 503."""

CONNECT_TIMEOUT_S = 5


async def open_pool(url: str, *, min_size: int = 1, max_size: int = 8) -> Pool:
    """An opened pool on ``url``; close it with ``await pool.close()``.

    Returns at once, also when the database is away: connections are made in the background, and a
    caller waits at most ``WAIT_FOR_CONNECTION_S`` for one. A connection is probed when it is handed out (one
    empty round trip), so a database that was restarted does not cost one failed request per old connection.
    """
    pool = AsyncConnectionPool(
        url,
        min_size=min_size,
        max_size=max_size,
        open=False,
        timeout=WAIT_FOR_CONNECTION_S,
        configure=_speak_utc,
        check=AsyncConnectionPool.check_connection,
        kwargs={"autocommit": True, "connect_timeout": CONNECT_TIMEOUT_S},
    )
    await pool.open()
    return pool


async def _speak_utc(conn: AsyncConnection[tuple[Any, ...]]) -> None:
    await conn.execute("SET TimeZone TO 'UTC'")
    conn.adapters.register_dumper(list, PlainListDumper)
