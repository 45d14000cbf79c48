"""The asynchronous connection pool that every room is handed.

Connections are in autocommit mode, so that a transaction is always written down where it happens::

    async with pool.connection() as conn, conn.transaction():
        ...

and speak UTC, so that a ``timestamptz`` comes back as an aware UTC datetime.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from psycopg import AsyncConnection
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from storage.arrays import PlainListDumper

Pool = AsyncConnectionPool[AsyncConnection[tuple[Any, ...]]]

WAIT_FOR_CONNECTION_S = 10.0
"""How long a caller waits for a free connection before ``psycopg_pool.PoolTimeout``: the caller's 503."""

CONNECT_TIMEOUT_S = 5
SIGN_OF_LIFE = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""A database host that vanishes without a word (cut off, switched off, moved) is noticed within 25 seconds.
The kernel takes a quarter of an hour, and two hours for who waits for an answer. What the URL says of these
counts instead. libpq's names and units; a socket of this machine needs none of it."""
IDLE_IN_TRANSACTION_S = 60.0
"""A transaction in which nothing happens for so long is ended by the server: a process that stands still
(stopped, swapped out, cut off) must not hold its row locks against all others. Ours have no such pauses: what
takes long, such as a provider's answer, is waited for outside."""


async def open_pool(
    url: str,
    *,
    min_size: int = 1,
    max_size: int = 8,
    idle_in_transaction_s: float = IDLE_IN_TRANSACTION_S,
) -> Pool:
    """An opened pool on ``url``; close it with ``await pool.close()``.

    Returns at once, also when the database is away: connections are made in the background, and a
    caller waits at most ``WAIT_FOR_CONNECTION_S`` for one. A connection is probed when it is handed out (one
    empty round trip), so a database that was restarted does not cost one failed request per old connection.
    """
    given = conninfo_to_dict(url)
    pool = AsyncConnectionPool(
        url,
        min_size=min_size,
        max_size=max_size,
        open=False,
        timeout=WAIT_FOR_CONNECTION_S,
        configure=_configure(idle_in_transaction_s),
        check=AsyncConnectionPool.check_connection,
        kwargs={
            "autocommit": True,
            "connect_timeout": CONNECT_TIMEOUT_S,
            **{name: value for name, value in SIGN_OF_LIFE.items() if name not in given},
        },
    )
    await pool.open()
    return pool


def _configure(idle_s: float) -> Callable[[AsyncConnection[tuple[Any, ...]]], Awaitable[None]]:
    """What each new connection is told, in one round trip."""
    told = f"SET TimeZone TO 'UTC'; SET idle_in_transaction_session_timeout TO {round(idle_s * 1000)}"

    async def configure(conn: AsyncConnection[tuple[Any, ...]]) -> None:
        await conn.execute(told.encode())
        conn.adapters.register_dumper(list, PlainListDumper)

    return configure
