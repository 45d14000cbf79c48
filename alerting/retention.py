"""Forgetting: alerts that ended, notices that were told, in batches, each its own short transaction."""

from __future__ import annotations

from datetime import datetime, timedelta

from alerting.settings import Settings
from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("alerting")
BATCH = 1000
MOST = 20
"""Batches of one sweep; the rest waits for the next."""


async def forget(pool: Pool, settings: Settings, now: datetime) -> int:
    """What is past its keep; returns how many alerts and notices went. An open alert never goes."""
    kept = {
        Q.forget_never_fired: settings.never_fired_days,
        Q.forget_ended: settings.alert_days,
        Q.forget_notices: settings.notice_days,
    }
    return sum([await _all(pool, query, now - timedelta(days=days)) for query, days in kept.items()])


async def _all(pool: Pool, query: bytes, before: datetime) -> int:
    gone = 0
    for _ in range(MOST):
        async with pool.connection() as conn:
            count = (await conn.execute(query, {"before": before, "limit": BATCH})).rowcount
        gone += count
        if count < BATCH:
            break
    return gone
