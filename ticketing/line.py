"""Reports from the on-call line: a customer rang with its PIN and confirmed; the critical ticket is opened.

Each is consumed exactly once. The clock starts with the customer's keypress, however late the desk sees it.
A customer who rings again while nobody has answered the first call yet adds a note to that ticket: one
technician is being rung for it already. Afterwards every call is a ticket of its own.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from storage.sql import Queries
from ticketing import casebook, reports
from ticketing.actions import Actor
from ticketing.casebook import Case
from ticketing.lifecycle import Entry, Kind
from ticketing.opening import CRITICAL
from ticketing.settings import Settings
from ticketing.shapes import NewTicketBody

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]
ACTOR = "on-call-line"


async def handle(conn: Connection, settings: Settings, now: datetime, tenant_id: int, report_id: int) -> bool:
    """Consume one report inside the caller's transaction; False: it was consumed already.

    Raises NotEntitled when the registry changed since the caller was promised a technician: the item is
    retried and parked loudly, for a person to decide."""
    key = {"tenant_id": tenant_id, "report_id": report_id}
    if await (await conn.execute(Q.consume_report, key | {"now": now})).fetchone() is None:
        return False
    row = await (await conn.execute(Q.report_called_in, key)).fetchone()
    assert row is not None, "a report is never deleted"
    tenant, deployment, caller, at, why, waiting = row
    origin = f"telephone {caller or '(number withheld)'}"
    case = None if waiting is None else await _called_again(conn, settings, now, (tenant_id, waiting), origin)
    outcome = "noted"
    if case is None:
        outcome = "opened"
        actor = Actor(ACTOR, origin, tenant_id=tenant_id)
        text = f"The caller ({origin}) gave the right PIN and confirmed that it cannot wait. {why}"
        case, _ = await reports.report(
            conn, settings, at, actor, _body(tenant, deployment, report_id, caller, text)
        )
    await conn.execute(Q.outcome_of_report, key | {"outcome": outcome, "ticket_id": case.ticket_id})
    return True


def _body(tenant: str, deployment: str, report_id: int, caller: str, text: str) -> NewTicketBody:
    return NewTicketBody(
        tenant=tenant,
        deployment=deployment,
        channel="phone",
        priority=CRITICAL,
        title=f"Critical problem reported by telephone, call back {caller or '(number withheld)'}",
        description=text,
        language="en",
        problem=f"on-call-line-{report_id}",
    )


async def _called_again(
    conn: Connection, settings: Settings, now: datetime, ticket: tuple[int, int], origin: str
) -> Case | None:
    """A note on the ticket that is being rung for; None when somebody has answered for it meanwhile."""
    case = await casebook.load(conn, *ticket)
    if case is None or case.status.taken_at is not None or case.status.resolved_at is not None:
        return None
    case.add(Entry(now, Kind.NOTE, ACTOR, {}, f"The customer called again ({origin}).", origin=origin))
    await casebook.save(conn, case, now, settings)
    return case
