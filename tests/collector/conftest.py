"""A running collector per test, on a copy of a database that has its partitions already."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime

import psycopg
import pytest
import pytest_asyncio
from psycopg.conninfo import make_conninfo

from collector import upkeep
from collector.settings import CollectorSettings
from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from storage.pool import open_pool
from tests.collector.kit import Front, running

_TEMPLATE = "ucx_template_collector"


@pytest.fixture(scope="session")
def migrated_template(fast_server: EmbeddedServer) -> str:
    """Like the one that all rooms share, with partitions: a collector then starts in no time."""
    with psycopg.connect(fast_server.url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {_TEMPLATE}".encode())
    url = make_conninfo(fast_server.url, dbname=_TEMPLATE)
    migrate(url)
    asyncio.run(_prepare(url))
    return _TEMPLATE


async def _prepare(url: str) -> None:
    pool = await open_pool(url, max_size=1)
    try:
        await upkeep.prepare(pool, CollectorSettings(), datetime.now(UTC))
    finally:
        await pool.close()


@pytest.fixture
def database_url(fast_server: EmbeddedServer, migrated_template: str) -> Iterator[str]:
    """A fresh copy for one test: copied as files, which costs a quarter of PostgreSQL's default way."""
    name = f"test_{secrets.token_hex(6)}"
    with psycopg.connect(fast_server.url, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {migrated_template} STRATEGY FILE_COPY".encode())
        try:
            yield make_conninfo(fast_server.url, dbname=name)
        finally:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest_asyncio.fixture
async def front(database_url: str) -> AsyncIterator[Front]:
    """A collector on loopback with a clock that the test winds."""
    async with running(database_url) as started:
        yield started
