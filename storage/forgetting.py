"""Rows that would grow for ever: deleted when they are past their keep, in small steps, each on its own.

A room says what may go (``Forgotten``: its tables, its SQL, its settings); the work is the same for all.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from storage.pool import Pool

AT_ONCE = 1_000
"""Rows (or groups of rows) of one step: no step holds locks for long."""
MOST_STEPS = 50
"""Of one round; the rest waits for the next."""


class Forgotten(NamedTuple):
    """What one table loses."""

    table: str
    query: bytes
    """Deletes at most ``%(limit)s`` of what is older than ``%(before)s``, skipping what others hold."""
    days: int
    """Kept for so long; 0 = for ever."""


async def forget(pool: Pool, what: Forgotten, now: datetime) -> int:
    """One round; returns how many rows went."""
    gone = 0
    if not what.days:
        return gone
    row = {"before": now - timedelta(days=what.days), "limit": AT_ONCE}
    for _ in range(MOST_STEPS):
        async with pool.connection() as conn:
            step = (await conn.execute(what.query, row)).rowcount
        gone += step
        if step < AT_ONCE:
            break
    return gone
