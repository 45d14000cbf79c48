"""What later rooms may know of tickets: value types and read queries. Nothing here writes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from psycopg import AsyncConnection

from storage.sql import Queries
from ticketing.service import Service, on_call_service

__all__ = [
    "Audience",
    "Briefing",
    "PageRequest",
    "Person",
    "RoleHeld",
    "Service",
    "TicketFilter",
    "TicketView",
    "briefing",
    "ended_page_requests",
    "on_call_service",
    "open_page_requests",
    "people",
    "tickets",
]
Q = Queries.load("ticketing")
Row = tuple[Any, ...]
Audience = Literal["technician", "customer"]


class RoleHeld(msgspec.Struct, frozen=True):
    """A part that one of our people plays."""

    role: str
    """``on-call``, ``support-team``, ``support-regional-manager`` ..."""
    theatre: str | None = None
    """None: in every theatre."""


class Person(msgspec.Struct, frozen=True):
    """One of the vendor's people."""

    person_id: int
    key: str
    name: str
    email: str | None
    phone: str | None
    """E.164."""
    zone: str
    """IANA zone."""
    languages: tuple[str, ...]
    roles: tuple[RoleHeld, ...]
    active: bool = True


class PageRequest(msgspec.Struct, frozen=True):
    """ "Ring somebody for this ticket", until it is ended."""

    tenant_id: int
    page_request_id: int
    ticket_id: int
    audience: Audience
    policy: str
    """Name of the paging policy."""
    requested_at: datetime
    reason: str
    ended_at: datetime | None
    end_reason: str | None


class Briefing(msgspec.Struct, frozen=True):
    """What somebody who is rung must hear."""

    number: str
    customer: str
    deployment: str
    host: str | None
    """None: the deployment as a whole."""
    title: str
    priority: int
    """1 (critical) .. 4 (low)."""
    state: str
    opened_at: datetime
    since: datetime
    """When the trouble began (the alert's, or the opening)."""
    due_at: datetime | None
    theatre: str
    language: str


class TicketView(msgspec.Struct, frozen=True):
    """A ticket as lists show it."""

    tenant_id: int
    ticket_id: int
    number: str
    tenant: str
    """The tenant's key."""
    deployment: str
    """The deployment's key."""
    host: str | None
    channel: str
    priority: int
    state: str
    title: str
    opened_at: datetime
    opened_by: str
    due_at: datetime | None
    """None: no target, or paused."""
    taken_at: datetime | None
    taken_by: str | None
    recovered_at: datetime | None
    resolved_at: datetime | None
    closed_at: datetime | None
    next_look_at: datetime | None
    language: str
    flags: tuple[str, ...]
    parent: str | None
    """Number of the ticket it belongs to."""
    problem_key: str
    episode: int
    parked_at: datetime | None


class TicketFilter(msgspec.Struct, frozen=True):
    """Which tickets to list. None: whatever."""

    tenant_id: int | None = None
    tenant: str | None = None
    deployment: str | None = None
    deployment_id: int | None = None
    states: tuple[str, ...] | None = None
    priority: int | None = None
    number: str | None = None
    before_id: int | None = None
    """For the next page: the smallest ``ticket_id`` of the one before."""
    limit: int = 50


async def people(conn: AsyncConnection[Row]) -> list[Person]:
    """All our people, also those who left (``active`` false)."""
    return [_person(row) for row in await (await conn.execute(Q.all_people)).fetchall()]


def _person(row: Row) -> Person:
    person_id, key, name, email, phone, zone, languages, roles, active = row
    held = tuple(RoleHeld(role["role"], role.get("theatre")) for role in roles)
    return Person(person_id, key, name, email, phone, zone, tuple(languages), held, active)


async def open_page_requests(conn: AsyncConnection[Row]) -> list[PageRequest]:
    """Everything that somebody must be rung for now, oldest first."""
    return [PageRequest(*row) for row in await (await conn.execute(Q.open_page_requests)).fetchall()]


async def ended_page_requests(
    conn: AsyncConnection[Row], keys: Sequence[tuple[int, int]]
) -> list[PageRequest]:
    """Those of ``keys`` (tenant id, page request id) that have ended."""
    tenants, requests = [key[0] for key in keys], [key[1] for key in keys]
    cursor = await conn.execute(Q.ended_page_requests, {"tenants": tenants, "requests": requests})
    return [PageRequest(*row) for row in await cursor.fetchall()]


async def briefing(conn: AsyncConnection[Row], tenant_id: int, ticket_id: int) -> Briefing | None:
    """What to tell about a ticket; None when there is no such ticket."""
    cursor = await conn.execute(Q.briefing, {"tenant_id": tenant_id, "ticket_id": ticket_id})
    row = await cursor.fetchone()
    return Briefing(*row) if row else None


async def tickets_of_alerts(
    conn: AsyncConnection[Row], keys: Sequence[tuple[int, int]]
) -> dict[int, tuple[str, str]]:
    """The newest ticket of each alert of ``keys`` (tenant id, alert id): number and state, by alert id."""
    given = {"tenants": [key[0] for key in keys], "alerts": [key[1] for key in keys]}
    rows = await (await conn.execute(Q.tickets_of_alerts, given)).fetchall()
    return {alert_id: (number, state) for alert_id, number, state in rows}


async def tickets(conn: AsyncConnection[Row], wanted: TicketFilter) -> list[TicketView]:
    """Tickets that match, newest first."""
    values = msgspec.to_builtins(wanted)
    values["states"] = None if wanted.states is None else list(wanted.states)
    rows = await (await conn.execute(Q.list_tickets, values)).fetchall()
    return [_ticket(row) for row in rows]


def _ticket(row: Row) -> TicketView:
    values = dict(zip(TicketView.__struct_fields__, row, strict=True))
    return TicketView(**values | {"flags": tuple(values["flags"])})
