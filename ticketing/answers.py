"""Acknowledgements: on-call says that a person answered; the ticket is taken in charge at that instant.

Each is consumed exactly once, whenever it arrives. What comes too late to change anything is recorded.
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
        outcome = _answer(case, row)
        taken = next((e for e in case.fresh if e.kind is Kind.TAKEN), None)
        await casebook.save(conn, case, now, settings)
        if taken is not None:
            await family.take_along(conn, case, taken, now, settings)
    await conn.execute(Q.outcome_of_acknowledgement, key | {"outcome": outcome})
    return True


def _answer(case: Case, row: tuple[Any, ...]) -> str:
    """Add to the ticket what the keypress means; returns it in a word."""
    _, at, channel, person_key, person_name, audience, request = row
    detail = {"by": person_name, "channel": channel, "page_request": request, "audience": audience}
    if audience == "customer":
        case.insert(Entry(at, Kind.NOTE, "customer", detail, "the customer confirmed the phone notice"))
        return "customer confirmed"
    actor = f"{ON_CALL}{person_key}"
    reason = f"{person_name} acknowledged ({channel})"
    if case.status.taken_at is None:
        try:
            case.insert(Entry(at, Kind.TAKEN, actor, detail, reason))
        except NotAllowed:
            pass
        else:
            return "taken in charge"
    case.insert(Entry(at, Kind.ACKNOWLEDGED, actor, detail, reason))
    return "recorded" if case.status.state in (State.RESOLVED, State.CLOSED) else "acknowledged"
