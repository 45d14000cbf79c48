"""What is promised of tables that are kept by time, of both implementations: PostgreSQL's own partitions
and TimescaleDB (``TEST_TIMESCALE_URL``; without it skipped: no TimescaleDB here)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
import pytest_asyncio

from storage.partition import PlainPartitions, choose, drop_expired, ensure_partitions, pack
from storage.pool import Pool, open_pool
from tests.storage.timed import DAY, NOW, TABLES, scaled_url, store, times

__all__ = ["scaled_url"]
MONTH = 30 * DAY


@pytest.fixture(params=["plain", "timescale"])
def timed_url(request: pytest.FixtureRequest) -> str:
    """A fresh database of each kind."""
    url: str = request.getfixturevalue("database_url" if request.param == "plain" else "scaled_url")
    return url


@pytest_asyncio.fixture
async def timed(request: pytest.FixtureRequest, timed_url: str) -> AsyncIterator[Pool]:
    """A pool on it, and the certainty that it is of that kind."""
    opened = await open_pool(timed_url)
    try:
        async with opened.connection() as conn:
            plain = isinstance(await choose(conn, "frame"), PlainPartitions)
            assert plain == ("[plain" in request.node.name or "-plain" in request.node.name)
        yield opened
    finally:
        await opened.close()


@pytest.mark.parametrize("table", TABLES)
async def test_rows_of_the_whole_window_find_a_place(timed: Pool, table: str) -> None:
    """After one round the oldest and the newest row of the window can be stored and read back; a second round
    has nothing to do."""
    async with timed.connection() as conn:
        await ensure_partitions(conn, table, NOW, behind=MONTH)
        again = await ensure_partitions(conn, table, NOW, behind=MONTH)
        window = [NOW - MONTH, NOW - DAY, NOW, NOW + 7 * DAY]
        for at in window:
            await store(conn, at, table)
        assert (again.done, again.postponed) == ((), ())
        assert await times(conn, table) == window


async def test_whole_days_past_the_retention_go_and_nothing_else(timed: Pool) -> None:
    """The day that the limit cuts through stays; a second round finds nothing; ingest goes on."""
    async with timed.connection() as conn:
        await ensure_partitions(conn, "frame", NOW, behind=15 * DAY)
        for age in range(12):
            await store(conn, NOW - age * DAY)
        gone = await drop_expired(conn, "frame", NOW, keep=10 * DAY)
        assert len(await times(conn)) == 11
        assert gone.done
        assert not gone.postponed
        assert (await drop_expired(conn, "frame", NOW, keep=10 * DAY)).done == ()
        await store(conn, NOW)
        assert len(await times(conn)) == 12


async def test_packing_may_be_asked_for_anywhere_and_loses_nothing(timed: Pool) -> None:
    """Where the server cannot, nothing happens; what was packed expires like the rest."""
    async with timed.connection() as conn:
        await ensure_partitions(conn, "frame", NOW, behind=15 * DAY)
        for age in range(12):
            await store(conn, NOW - age * DAY)
        before = await times(conn)
        assert (await pack(conn, "frame", NOW, after=3 * DAY)).postponed == ()
        assert await times(conn) == before
        await drop_expired(conn, "frame", NOW, keep=5 * DAY)
        assert await times(conn) == [NOW - age * DAY for age in range(5, -1, -1)]


async def test_a_long_query_delays_the_drop_and_not_the_ingest(timed: Pool) -> None:
    """A reader of an old day postpones its end; rows are stored meanwhile; the next round finishes."""
    async with timed.connection() as conn, timed.connection() as reader, timed.connection() as writer:
        await ensure_partitions(conn, "frame", NOW, behind=15 * DAY)
        await store(conn, NOW - 12 * DAY)
        async with reader.transaction():
            assert len(await times(reader)) == 1
            held_up = await drop_expired(conn, "frame", NOW, keep=10 * DAY)
            await store(writer, NOW)
        finished = await drop_expired(conn, "frame", NOW, keep=10 * DAY)
        assert await times(conn) == [NOW]
    assert held_up.postponed
    assert set(held_up.postponed) & set(finished.done)


async def test_several_processes_at_once_do_not_disturb_one_another(timed: Pool) -> None:
    """Three upkeeps at the same moment, on a table that none of them has seen: all end well."""

    async def one() -> None:
        async with timed.connection() as conn:
            await ensure_partitions(conn, "event", NOW, behind=15 * DAY)
            await drop_expired(conn, "event", NOW, keep=10 * DAY)

    await asyncio.gather(one(), one(), one())
    async with timed.connection() as conn:
        await store(conn, NOW - timedelta(days=1), "event")
        assert len(await times(conn, "event")) == 1
