"""How the jobs of upkeep fare: one row per job and table, written after every round.

A job that fails must not be noticed by its consequences (a full disk, a refused batch), so its row says since
when, how often in a row and why. Whoever looks after operations reads ``failing``.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from storage.sql import Queries

Q = Queries.load("storage")
Connection = AsyncConnection[tuple[Any, ...]]
FAILURES_TO_ALARM = 3
"""Rounds that failed in a row. One is nothing: a long query may hold a partition for that long."""
FAILING_FOR_S = 900.0
"""And for so long: several collectors have rounds of their own, and get into each other's way."""
_LONGEST_ERROR = 500


class Job(msgspec.Struct, frozen=True):
    """A job that is not well."""

    job: str
    """ensure, drop, pack ..."""
    subject: str
    """The table."""
    failing_since: datetime
    failures: int
    """Rounds in a row."""
    error: str

    @property
    def words(self) -> str:
        """One line for people."""
        since = f"{self.failing_since:%Y-%m-%d %H:%M} UTC"
        return f"{self.job} {self.subject}: failed {self.failures} times in a row since {since}: {self.error}"


async def record(conn: Connection, job: str, subject: str, now: datetime, error: str | None) -> int:
    """Note a round that began at ``now``; ``error`` says what failed. Returns the failures in a row."""
    row = {"job": job, "subject": subject, "now": now, "error": error and error[:_LONGEST_ERROR]}
    found = await (await conn.execute(Q.note_job, row)).fetchone()
    assert found is not None
    failures: int = found[0]
    return failures


async def failing(conn: Connection, at_least: int = FAILURES_TO_ALARM) -> list[Job]:
    """Jobs that failed so many rounds in a row, for ``FAILING_FOR_S``; the longest failing first."""
    row = {"at_least": at_least, "for_s": FAILING_FOR_S}
    rows = await (await conn.execute(Q.failing_jobs, row)).fetchall()
    return [Job(*row) for row in rows]
