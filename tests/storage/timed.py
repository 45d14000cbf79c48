"""Databases that keep tables by time, one per implementation, and rows for them."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
import pytest_asyncio
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from storage.migrate import migrate
from storage.pool import Pool, open_pool

URL = os.environ.get("TEST_TIMESCALE_URL", "")
"""A server that has TimescaleDB preloaded, where this account may make databases."""
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def scaled_url() -> Iterator[str]:
    """A fresh migrated database of that server."""
    if not URL:
        pytest.skip("no TimescaleDB here")
    name = f"test_{secrets.token_hex(6)}"
    _run(f"CREATE DATABASE {name}")
    try:
        migrate(make_conninfo(URL, dbname=name))
        yield make_conninfo(URL, dbname=name)
    finally:
        _run(f"DROP DATABASE {name} WITH (FORCE)")


@pytest_asyncio.fixture
async def scaled(scaled_url: str) -> AsyncIterator[Pool]:
    """A pool on it."""
    opened = await open_pool(scaled_url)
    try:
        yield opened
    finally:
        await opened.close()


def _run(statement: str) -> None:
    with psycopg.connect(URL, autocommit=True) as conn:
        conn.execute(statement.encode())


async def store(conn: AsyncConnection[Any], at: datetime, table: str = "frame") -> None:
    """One row of that time."""
    await conn.execute(_INSERT[table], (at,))


async def times(conn: AsyncConnection[Any], table: str = "frame") -> list[datetime]:
    """Times of all rows, in order."""
    rows = await (await conn.execute(f"SELECT time FROM {table} ORDER BY time".encode())).fetchall()
    return [row[0] for row in rows]


_ROLLUP = "VALUES (1, 1, 1, %s, '{1}', '{1}', '{1}', '{1}', '{1}')"
_INSERT = {
    "frame": b"INSERT INTO frame VALUES (1, 1, 1, %s, '{1.5,NULL}')",
    "event": b"INSERT INTO event (tenant_id, host_id, time, source, event_id, severity, message)"
    b" VALUES (1, 1, %s, 's', '7', 'error', 'm')",
    "rollup_five": f"INSERT INTO rollup_five {_ROLLUP}".encode(),
    "rollup_hour": f"INSERT INTO rollup_hour {_ROLLUP}".encode(),
}
TABLES = tuple(_INSERT)
