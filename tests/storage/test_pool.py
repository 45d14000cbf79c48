"""The pool's promises to the rooms."""

from datetime import UTC, datetime, timedelta

from storage.pool import Pool


async def test_times_come_back_aware_and_in_utc(pool: Pool) -> None:
    """A timestamptz is an aware datetime in UTC, whatever the server's or the user's zone."""
    async with pool.connection() as conn:
        row = await (await conn.execute("SELECT timestamptz '2026-07-01 12:00:00+02'")).fetchone()
    assert row is not None
    assert row[0] == datetime(2026, 7, 1, 10, tzinfo=UTC)
    assert row[0].utcoffset() == timedelta(0)
