"""The pool's promises to the rooms."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from storage.pool import Pool, open_pool


async def test_times_come_back_aware_and_in_utc(pool: Pool) -> None:
    """A timestamptz is an aware datetime in UTC, whatever the server's or the user's zone."""
    async with pool.connection() as conn:
        row = await (await conn.execute("SELECT timestamptz '2026-07-01 12:00:00+02'")).fetchone()
    assert row is not None
    assert row[0] == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert row[0].utcoffset() == timedelta(0)


async def test_a_process_that_stands_still_in_a_transaction_loses_its_locks(database_url: str) -> None:
    """It holds a row and does nothing more: the server ends it, and the next one gets the row. Its own next
    word is an error, so nothing of what it had done is kept.

    Broken twin: without the limit the second waits until its own time is up (seen to fail)."""
    still = await open_pool(database_url, max_size=1, idle_in_transaction_s=0.2)
    others = await open_pool(database_url, max_size=1)
    try:
        async with others.connection() as conn:
            await conn.execute("CREATE TABLE thing (id int PRIMARY KEY, word text)")
            await conn.execute("INSERT INTO thing VALUES (1, 'before')")
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):  # noqa: PT012 - its last word
            async with still.connection() as conn, conn.transaction():
                await conn.execute("UPDATE thing SET word = 'half done'")
                async with others.connection() as second, second.transaction():
                    await second.execute("SET LOCAL lock_timeout TO '20s'")
                    row = await (await second.execute("SELECT word FROM thing FOR UPDATE")).fetchone()
                await conn.execute("SELECT 1")
        assert row == ("before",)
        async with still.connection() as conn:  # the pool itself lives on
            assert await (await conn.execute("SELECT word FROM thing")).fetchone() == ("before",)
    finally:
        await still.close()
        await others.close()


async def test_every_connection_of_a_pool_has_the_limit(pool: Pool) -> None:
    """A minute, where nothing else is said."""
    async with pool.connection() as conn:
        row = await (await conn.execute("SHOW idle_in_transaction_session_timeout")).fetchone()
    assert row == ("1min",)


@asynccontextmanager
async def over_tcp(url: str) -> AsyncIterator[str]:
    """The same database, reached through a TCP port of loopback."""
    at = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    handlers: set[asyncio.Task[None] | None] = set()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while some := await reader.read(65_536):
            writer.write(some)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())
        if at["host"].startswith("/"):
            there = await asyncio.open_unix_connection(f"{at['host']}/.s.PGSQL.{at['port']}")
        else:
            there = await asyncio.open_connection(at["host"], int(at["port"]))
        await asyncio.gather(copy(reader, there[1]), copy(there[0], writer), return_exceptions=True)

    async with await asyncio.start_server(on, "127.0.0.1", 0) as server:
        yield make_conninfo(url, host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        await asyncio.gather(*(task for task in handlers if task is not None))


@pytest.mark.skipif(sys.platform != "linux", reason="the options' names are Linux's")
@pytest.mark.parametrize(("asked", "patience_ms"), [({}, 15_000), ({"tcp_user_timeout": 3_000}, 3_000)])
async def test_a_database_host_that_vanishes_is_noticed_by_the_kernel(
    database_url: str, asked: dict[str, int], patience_ms: int
) -> None:
    """Every connection over TCP asks after the other side and gives up soon; what the URL says counts.

    Tried with a host that was cut off (network namespaces): who asked, and who waited for an answer, had an
    error after 15 s. Broken twin, tried there: without these options both still waited after a minute."""
    async with over_tcp(make_conninfo(database_url, **asked)) as url:
        pool = await open_pool(url, max_size=1)
        try:
            async with pool.connection() as conn:
                line = socket.socket(fileno=conn.fileno())
                try:
                    patience = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                    idle_s = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
                    asks = line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                finally:
                    line.detach()
        finally:
            await pool.close()
    assert (patience, idle_s, asks) == (patience_ms, 10, 1)
