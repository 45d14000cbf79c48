"""Partitions: made ahead, dropped whole, and never in the way of ingest."""

from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest

from storage.partition import drop_expired, ensure_partitions, expired, partition_day, wanted_days
from storage.pool import Pool

NOW = datetime(2026, 3, 10, 15, 0, tzinfo=UTC)
MONTH = timedelta(days=30)


def test_wanted_days_begin_with_today_and_cover_both_ends() -> None:
    """Today's partition matters most, then tomorrow's; late rows of the whole window have a place."""
    days = wanted_days(NOW, timedelta(days=2), timedelta(days=2))
    assert days == [date(2026, 3, d) for d in (10, 11, 12, 9, 8)]


def test_a_partition_expires_only_when_its_last_instant_has() -> None:
    """The day that the limit cuts through is kept; a name that is no day is left alone."""
    names = ["frame_20260207", "frame_20260208", "frame_20260209", "frame_extra", "frame_20261399"]
    assert expired("frame", names, NOW, MONTH) == ["frame_20260207"]
    at_midnight = NOW.replace(hour=0)
    assert expired("frame", names, at_midnight, MONTH) == ["frame_20260207"]
    assert partition_day("frame", "event_20260207") is None


@pytest.mark.parametrize("table", ["frame", "event"])
async def test_rows_of_the_whole_window_find_a_place(pool: Pool, table: str) -> None:
    """After one round, the oldest and the newest row of the window can be stored; a second round does
    nothing."""
    async with pool.connection() as conn:
        first = await ensure_partitions(conn, table, NOW, behind=MONTH)
        again = await ensure_partitions(conn, table, NOW, behind=MONTH)
        for at in (NOW - MONTH, NOW, NOW + timedelta(days=7)):
            await _insert(conn, table, at)
        with pytest.raises(psycopg.errors.CheckViolation):
            await _insert(conn, table, NOW - MONTH - timedelta(days=1))
    assert len(first.done) == 38
    assert (again.done, again.postponed) == ((), ())


async def test_expired_partitions_are_dropped_with_their_rows(pool: Pool) -> None:
    """A month later the old days are gone, the rest is untouched."""
    async with pool.connection() as conn:
        await ensure_partitions(conn, "frame", NOW, behind=timedelta(days=1), ahead=timedelta(days=1))
        for day in (-1, 0, 1):
            await _insert(conn, "frame", NOW + timedelta(days=day))
        work = await drop_expired(conn, "frame", NOW + timedelta(days=31), keep=MONTH)
        left = await (await conn.execute("SELECT time FROM frame")).fetchall()
    assert work.done == ("frame_20260309", "frame_20260310")
    assert left == [(NOW + timedelta(days=1),)]


async def test_an_interrupted_drop_is_finished_by_the_next_round(pool: Pool) -> None:
    """Killed after the detach, the table is known by its name and dropped later."""
    async with pool.connection() as conn:
        await ensure_partitions(conn, "frame", NOW, behind=timedelta(0), ahead=timedelta(0))
        await conn.execute("ALTER TABLE frame DETACH PARTITION frame_20260310 CONCURRENTLY")
        work = await drop_expired(conn, "frame", NOW + MONTH * 2, keep=MONTH)
        gone = await (await conn.execute("SELECT to_regclass('frame_20260310')")).fetchone()
    assert work.done == ("frame_20260310",)
    assert gone == (None,)


async def test_a_detached_day_that_is_wanted_again_is_attached_again(pool: Pool) -> None:
    """A longer retention brings back what was detached and not yet dropped, with its rows."""
    async with pool.connection() as conn:
        await ensure_partitions(conn, "frame", NOW, behind=timedelta(0), ahead=timedelta(0))
        await _insert(conn, "frame", NOW)
        await conn.execute("ALTER TABLE frame DETACH PARTITION frame_20260310 CONCURRENTLY")
        await ensure_partitions(conn, "frame", NOW, behind=timedelta(0), ahead=timedelta(0))
        assert await (await conn.execute("SELECT count(*) FROM frame")).fetchone() == (1,)


async def test_two_processes_at_once_make_each_partition_once(pool: Pool) -> None:
    """Both finish without an error and between them made every day exactly once."""
    import asyncio

    async def one() -> tuple[str, ...]:
        async with pool.connection() as conn:
            return (await ensure_partitions(conn, "frame", NOW, behind=MONTH)).done

    made = await asyncio.gather(one(), one(), one())
    assert len([name for names in made for name in names]) == 38


async def _insert(conn: psycopg.AsyncConnection[tuple[object, ...]], table: str, at: datetime) -> None:
    if table == "frame":
        await conn.execute("INSERT INTO frame VALUES (1, 1, 1, %s, '{1.5,NULL}')", (at,))
    else:
        await conn.execute(
            "INSERT INTO event (tenant_id, host_id, time, source, event_id, severity, message)"
            " VALUES (1, 1, %s, 's', '7', 'error', 'm')",
            (at,),
        )
