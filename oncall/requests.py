"""Page requests: what ticketing asks of us becomes pagings, and ends them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg.types.json import Jsonb

from oncall.sql import Q
from oncall.targets import Conn
from ticketing import published
from ticketing.published import PageRequest


async def begin_new(conn: Conn, now: datetime) -> int:
    """A paging for every open page request that has none; how many were begun."""
    wanted = {_key(r): r for r in await published.open_page_requests(conn)}
    if not wanted:
        return 0
    tenants, requests = zip(*wanted, strict=True)
    cursor = await conn.execute(Q.not_begun, {"tenants": list(tenants), "requests": list(requests)})
    fresh = sorted(await cursor.fetchall())
    for key in fresh:
        await _begin(conn, wanted[(key[0], key[1])], now)
    return len(fresh)


async def _begin(conn: Conn, request: PageRequest, now: datetime) -> None:
    briefing = await published.briefing(conn, request.tenant_id, request.ticket_id)
    key = {"tenant_id": request.tenant_id, "page_request_id": request.page_request_id}
    row = key | {"ticket_id": request.ticket_id, "policy": request.policy, "now": now}
    row["audience"] = request.audience
    begun = await conn.execute(Q.begin, row | {"priority": briefing.priority if briefing else 1})
    if begun.rowcount:
        detail = {"policy": request.policy, "requested_at": request.requested_at.isoformat()}
        await _tell(conn, key, now, "decision", f"paging begins: {request.reason}", detail)


async def end_finished(conn: Conn, now: datetime) -> None:
    """End every active paging whose page request has ended (recovered, taken in charge, closed)."""
    active = [(row[0], row[1]) for row in await (await conn.execute(Q.active_keys)).fetchall()]
    if not active:
        return
    for request in sorted(await published.ended_page_requests(conn, active), key=_key):
        key = {"tenant_id": request.tenant_id, "page_request_id": request.page_request_id}
        reason = request.end_reason or "it is no longer needed"
        ended = await conn.execute(Q.end_paging, key | {"reason": reason, "now": now})
        if ended.rowcount:
            await _tell(conn, key, now, "ended", f"paging ends: {reason}", {})


def _key(request: PageRequest) -> tuple[int, int]:
    return (request.tenant_id, request.page_request_id)


async def _tell(
    conn: Conn, key: dict[str, Any], now: datetime, kind: str, text: str, detail: dict[str, Any]
) -> None:
    line = {"page_id": None, "at": now, "kind": kind, "text": text, "detail": Jsonb(detail)}
    await conn.execute(Q.tell, key | line)
