"""The customer's own contacts who can be called at any hour: one step each, in the order they were named."""

from __future__ import annotations

from typing import Any

from psycopg import AsyncConnection

from oncall.paging import Paging, Step, Target
from oncall.settings import Settings, is_e164
from oncall.sql import Q
from oncall.voice.languages import LANGUAGES

Conn = AsyncConnection[tuple[Any, ...]]


async def contact_step(conn: Conn, paging: Paging, settings: Settings) -> Step | None:
    """The n-th contact of the ticket's deployment; None past the last one."""
    key = {"tenant_id": paging.tenant_id, "ticket_id": paging.ticket_id}
    rows = await (await conn.execute(Q.contacts, key)).fetchall()
    reachable = [row for row in rows if is_e164(row[2] or "")]
    step = paging.position.step
    if step >= len(reachable):
        return None
    contact_id, name, phone, languages = reachable[step]
    language = next((one for one in languages if one in LANGUAGES), "en")
    target = Target(-contact_id, name, phone, "voice", settings.ring_s, language)
    why = f"{name} is contact {step + 1} of {len(reachable)} of the customer who can be called at any hour"
    return Step((target,), settings.calls_per_step, None, why)
