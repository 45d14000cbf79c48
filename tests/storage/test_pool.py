"""The pool's promises to the rooms."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

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
