"""On-call bookings (§6.1): assistance agreed beforehand, as for a maintenance night.

A booking is the opposite of a maintenance window: while it lasts, the customer's own reports reach on-call
whatever their priority. Only deployments that on-call serves at all can have one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from storage.sql import Queries
from ticketing import entitlement
from ticketing.actions import Actor
from ticketing.circumstances import circumstances
from ticketing.errors import NoSuchTicket, NotAllowed, NotEntitled
from ticketing.opening import CRITICAL, contract_of, facts_of, release_of
from ticketing.reason import to_documents
from ticketing.shapes import BookingBody

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]
LONGEST = timedelta(days=7)


async def book(conn: Connection, now: datetime, actor: Actor, body: BookingBody) -> int:
    """Record the agreement; returns its id. Raises NotAllowed, NoSuchTicket, NotEntitled with reasons."""
    if not actor.staff:
        raise NotAllowed("A booking is agreed with support staff.")
    if not now < body.until_at or not body.from_at < body.until_at <= body.from_at + LONGEST:
        raise NotAllowed(f"A booking ends after it begins, in the future, within {LONGEST.days} days.")
    keys = {"tenant": body.tenant, "deployment": body.deployment, "tenant_id": actor.tenant_id}
    row = await (await conn.execute(Q.deployment_ids, keys)).fetchone()
    if row is None:
        raise NoSuchTicket(f"There is no deployment {body.tenant}/{body.deployment}.")
    await _must_be_served(conn, row[0], row[1], body.from_at)
    values = {"tenant_id": row[0], "deployment_id": row[1]}
    values |= {"from_at": body.from_at, "until_at": body.until_at}
    made = await conn.execute(
        Q.insert_booking, values | {"reason": body.reason, "agreed_by": actor.name, "now": now}
    )
    booked = await made.fetchone()
    assert booked is not None, "an INSERT returns its row"
    return int(booked[0])


async def _must_be_served(conn: Connection, tenant_id: int, deployment_id: int, at: datetime) -> None:
    known = await circumstances(conn, tenant_id, deployment_id)
    facts, contract = facts_of(known), contract_of(known)
    release = release_of(contract, facts, at)
    found = entitlement.decide(facts, contract, at, release, priority=CRITICAL, channel="phone")
    if not found.page_technician.yes:
        reasons = to_documents(found.page_technician.reasons)
        raise NotEntitled("On-call does not serve this deployment then.", reasons)
