"""Since when our own front door is proven open: before that, no silence is a customer's.

With ``front_door_url`` set, the proof is a request from here to the public address and back in (load
balancer, certificate and name included). Without, it is that the sweep itself runs. A door that stays closed
is our own outage: operations are told once, until it is open again.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import httpx

from alerting.settings import Settings
from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("alerting")
CLOSED = "front-door"
"""Kind of the alarm."""
log = logging.getLogger(__name__)


async def open_since(pool: Pool, settings: Settings, now: datetime) -> datetime | None:
    """Since when the door has been open without a break, as of ``now``; None: it is not proven open."""
    if settings.front_door_url and not await _answers(settings):
        await _tell(pool, settings, now)
        return None
    broken_before = now - timedelta(seconds=settings.front_door_grace_s)
    async with pool.connection() as conn:
        row = await (
            await conn.execute(Q.prove_open, {"now": now, "broken_before": broken_before})
        ).fetchone()
        await conn.execute(Q.end_operations_alarm, {"kind": CLOSED, "now": now})
    assert row is not None
    opened: datetime = row[0]
    return opened


async def _tell(pool: Pool, settings: Settings, now: datetime) -> None:
    """Our operations, once it has been closed for a while."""
    async with pool.connection() as conn:
        row = await (await conn.execute(Q.door_proven)).fetchone()
        since = row[0] if row else now
        if row and now - since < timedelta(seconds=settings.front_door_alarm_s):
            return
        detail = (
            f"our front door does not answer since {since:%Y-%m-%d %H:%M} UTC: "
            "agents cannot deliver, and no silence is judged"
        )
        alarm = {"kind": CLOSED, "from_at": since, "now": now, "detail": detail}
        await conn.execute(Q.open_operations_alarm, alarm)


async def _answers(settings: Settings) -> bool:
    try:
        async with httpx.AsyncClient(timeout=settings.front_door_timeout_s) as client:
            answer = await client.get(settings.front_door_url)
    except httpx.HTTPError as error:
        log.warning("front door: %s does not answer: %s", settings.front_door_url, error)
        return False
    return answer.status_code == httpx.codes.OK
