"""Since when our own front door is proven open: before that, no silence is a customer's.

With ``front_door_url`` set, the proof is a request from here to the public address and back in (load
balancer, certificate and name included). Without, it is that the sweep itself runs.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import httpx

from alerting.settings import Settings
from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("alerting")
log = logging.getLogger(__name__)


async def open_since(pool: Pool, settings: Settings, now: datetime) -> datetime | None:
    """Since when the door has been open without a break, as of ``now``; None: it is not proven open."""
    if settings.front_door_url and not await _answers(settings):
        return None
    broken_before = now - timedelta(seconds=settings.front_door_grace_s)
    async with pool.connection() as conn:
        row = await (
            await conn.execute(Q.prove_open, {"now": now, "broken_before": broken_before})
        ).fetchone()
    assert row is not None
    opened: datetime = row[0]
    return opened


async def _answers(settings: Settings) -> bool:
    try:
        async with httpx.AsyncClient(timeout=settings.front_door_timeout_s) as client:
            answer = await client.get(settings.front_door_url)
    except httpx.HTTPError as error:
        log.warning("front door: %s does not answer: %s", settings.front_door_url, error)
        return False
    return answer.status_code == httpx.codes.OK
