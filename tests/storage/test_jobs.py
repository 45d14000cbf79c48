"""Jobs of upkeep leave a row: what fails is seen before its consequences are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from storage import jobs
from storage.pool import Pool

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


async def test_a_job_is_failing_from_the_third_time_in_a_row_until_it_is_well(pool: Pool) -> None:
    """Since the first failure, with the newest reason; once well, it begins anew."""
    async with pool.connection() as conn:
        for n, error in enumerate(("a", None, "b", "c")):
            await jobs.record(conn, "pack", "frame", NOW + timedelta(minutes=10 * n), error)
        assert await jobs.failing(conn) == []
        assert await jobs.record(conn, "pack", "frame", NOW + timedelta(minutes=40), "d" * 600) == 3
        (job,) = await jobs.failing(conn)
        assert (job.failures, job.failing_since) == (3, NOW + timedelta(minutes=20))
        assert len(job.error) == 500
        assert job.words.startswith("pack frame: failed 3 times in a row since 2026-11-23 12:20 UTC: ddd")
        assert await jobs.record(conn, "pack", "frame", NOW + timedelta(minutes=50), None) == 0
        assert await jobs.failing(conn) == []


async def test_collectors_in_each_others_way_are_no_failure(pool: Pool) -> None:
    """Three collectors whose rounds meet at a locked partition: three failures within a minute, no alarm."""
    async with pool.connection() as conn:
        for second in range(3):
            await jobs.record(conn, "drop", "frame", NOW + timedelta(seconds=second), "locked")
        assert await jobs.failing(conn) == []
        await jobs.record(conn, "drop", "frame", NOW + timedelta(minutes=15), "locked")
        assert len(await jobs.failing(conn)) == 1
