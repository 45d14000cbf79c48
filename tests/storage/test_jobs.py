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
            await jobs.record(conn, "pack", "frame", NOW + timedelta(minutes=n), error)
        assert await jobs.failing(conn) == []
        assert await jobs.record(conn, "pack", "frame", NOW + timedelta(minutes=4), "d" * 600) == 3
        (job,) = await jobs.failing(conn)
        assert (job.failures, job.failing_since) == (3, NOW + timedelta(minutes=2))
        assert len(job.error) == 500
        assert job.words.startswith("pack frame: failed 3 times in a row since 2026-11-23 12:02 UTC: ddd")
        assert await jobs.record(conn, "pack", "frame", NOW + timedelta(minutes=5), None) == 0
        assert await jobs.failing(conn) == []
