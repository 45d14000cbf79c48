"""TimescaleDB behind the interface of partitions. TEST_TIMESCALE_URL names a server that has it preloaded."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo

from storage.migrate import migrate
from storage.partition import drop_expired, ensure_partitions, pack
from storage.pool import Pool, open_pool

URL = os.environ.get("TEST_TIMESCALE_URL", "")
pytestmark = pytest.mark.skipif(not URL, reason="no TimescaleDB here")
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest_asyncio.fixture
async def scaled() -> AsyncIterator[Pool]:
    """A pool on a fresh migrated database of that server."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(URL, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
    url = make_conninfo(URL, dbname=name)
    migrate(url)
    pool = await open_pool(url)
    try:
        yield pool
    finally:
        await pool.close()
        with psycopg.connect(URL, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


async def test_rows_of_any_age_find_room_are_packed_read_alike_and_expire(scaled: Pool):
    """The same promises as of plain partitions; packing changes no value, and late rows still come in."""
    async with scaled.connection() as conn:
        for table in ("frame", "event", "rollup_five", "rollup_hour"):
            await ensure_partitions(conn, table, NOW, behind=15 * DAY)
            await ensure_partitions(conn, table, NOW, behind=15 * DAY)  # again: nothing to do
        insert = b"INSERT INTO frame VALUES (1, 1, 1, %s, %s)"
        for age in range(12):
            await conn.execute(insert, (NOW - age * DAY, [float(age), None, 0.5]))
        everything = b"SELECT time, values FROM frame ORDER BY time"
        before = await (await conn.execute(everything)).fetchall()
        packed = await pack(conn, "frame", NOW, after=3 * DAY)
        assert len(packed.done) == 8
        assert not packed.postponed
        assert await (await conn.execute(everything)).fetchall() == before
        await conn.execute(insert, (NOW - 5 * DAY + timedelta(hours=1), [1.0, 2.0, 3.0]))
        assert len(await (await conn.execute(everything)).fetchall()) == 13
        gone = await drop_expired(conn, "frame", NOW, keep=10 * DAY)
        assert len(gone.done) == 1
        assert len(await (await conn.execute(everything)).fetchall()) == 12
