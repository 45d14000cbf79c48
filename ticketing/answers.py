"""Acknowledgements: on-call says that a person answered; the ticket is taken in charge at that instant.

Each is consumed exactly once, whenever it arrives. What comes too late to change anything is recorded.

No answer is older than what it answers: another clock tells the key's time than the ticket's history, and an
answer that came before its own page would leave a ticket that nobody answers for and nobody is rung for.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from storage.sql import Queries
from ticketing import casebook, family
from ticketing.casebook import Case
from ticketing.errors import NotAllowed
from ticketing.lifecycle import ON_CALL, Entry, Kind, State
from ticketing.settings import Settings

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]


async def handle(
    conn: Connection, settings: Settings, now: datetime, tenant_id: int, acknowledgement_id: int
) -> bool:
    """Consume one acknowledgement inside the caller's transaction; False: it was consumed already."""
    key = {"tenant_id": tenant_id, "acknowledgement_id": acknowledgement_id}
    claimed = await (await conn.execute(Q.consume_acknowledgement, key | {"now": now})).fetchone()
    if claimed is None:
        return False
    row = await (await conn.execute(Q.acknowledgement_of, key)).fetchone()
    case = None if row is None else await casebook.load(conn, tenant_id, row[0])
    outcome = "there is no such ticket"
    if row is not None and case is not None:
        outcome = _answer(case, row, await _asked_at(conn, case, row[6]))
        taken = next((e for e in case.fresh if e.kind is Kind.TAKEN), None)
        await casebook.save(conn, case, now, settings)
        if taken is not None:
            await family.take_along(conn, case, taken, now, settings)
    await conn.execute(Q.outcome_of_acknowledgement, key | {"outcome": outcome})
    return True


async def _asked_at(conn: Connection, case: Case, request: int) -> datetime:
    """When the ticket asked for the page that was answered, by its own history (unknown: its opening)."""
    key = {"tenant_id": case.tenant_id, "ticket_id": case.ticket_id}
    rows = await (await conn.execute(Q.pages_of_ticket, key)).fetchall()
    audience = next((row[1] for row in rows if row[0] == request), None)
    requests = [row[0] for row in rows if row[1] == audience]
    asked = [e for e in case.history if e.kind is Kind.PAGING and e.detail.get("audience") == audience]
    found = dict(zip(requests, asked, strict=False))  # one entry per request, in the same order
    return found[request].at if request in found else case.history[0].at


def _answer(case: Case, row: tuple[Any, ...], asked_at: datetime) -> str:
    """Add to the ticket what the keypress means; returns it in a word."""
    _, at, channel, person_key, person_name, audience, request = row
    at = max(at, asked_at)
    detail = {"by": person_name, "channel": channel, "page_request": request, "audience": audience}
    # One of our people who answers through the API answers for the ticket, whichever of its pages was named.
    if audience == "customer" and person_key is None:
        case.insert(Entry(at, Kind.NOTE, "customer", detail, "the customer confirmed the phone notice"))
        return "customer confirmed"
    actor = f"{ON_CALL}{person_key}"
    reason = f"{person_name} acknowledged ({channel})"
    taken_at = case.status.taken_at
    if taken_at is None or at < taken_at:
        try:
            case.insert(Entry(at, Kind.TAKEN, actor, detail, reason))
        except NotAllowed:
            pass
        else:
            return "taken in charge"
    case.insert(Entry(at, Kind.ACKNOWLEDGED, actor, detail, reason))
    return "recorded" if case.status.state in (State.RESOLVED, State.CLOSED) else "acknowledged"
