"""Tickets that people open: the same decision, desk and clocks as for alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
from psycopg import AsyncConnection

from storage.sql import Queries
from ticketing import casebook
from ticketing.actions import Actor
from ticketing.casebook import Case, NewTicket
from ticketing.circumstances import circumstances, with_booking
from ticketing.errors import NoSuchTicket, NotEntitled
from ticketing.lifecycle import Entry, Kind
from ticketing.opening import Opening, decide, heading
from ticketing.settings import Settings
from ticketing.shapes import NewTicketBody

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]


class Place(msgspec.Struct, frozen=True):
    """What a report is about."""

    tenant_id: int
    deployment_id: int
    problem_key: str


async def report(
    conn: Connection, settings: Settings, now: datetime, actor: Actor, body: NewTicketBody
) -> tuple[Case, bool]:
    """Open a ticket in one transaction; False beside it: this report had opened it before.

    Raises NoSuchTicket for an unknown deployment, NotEntitled with every reason."""
    async with conn.transaction():
        keys = {"tenant": body.tenant, "deployment": body.deployment, "tenant_id": actor.tenant_id}
        row = await (await conn.execute(Q.deployment_ids, keys)).fetchone()
        if row is None or actor.deployment_id not in (None, row[1]):
            raise NoSuchTicket(f"There is no deployment {body.tenant}/{body.deployment}.")
        problem_key = f"{body.tenant}/{body.deployment}/reported/{body.problem or uuid4()}"
        place = Place(row[0], row[1], problem_key)
        await conn.execute(Q.lock_problem, {"problem_key": problem_key, "tenant_id": place.tenant_id})
        before = await casebook.load_open(conn, place.tenant_id, problem_key)
        if before is not None:
            return before, False
        return await _open(conn, settings, now, actor, body, place), True


async def _open(
    conn: Connection, settings: Settings, now: datetime, actor: Actor, body: NewTicketBody, place: Place
) -> Case:
    known = await circumstances(conn, place.tenant_id, place.deployment_id)
    known = await with_booking(conn, known, now)
    languages = (body.language,) if body.language else ()
    opening = decide(known, body.priority, body.channel, now, languages, body.product)
    if not opening.ticket:
        raise NotEntitled("This deployment is not entitled to a ticket.", opening.reasons)
    case = await casebook.create(conn, _new(actor, body, opening, now, place), settings)
    if body.description:
        case.add(Entry(now, Kind.NOTE, actor.name, {}, body.description, origin=actor.origin))
    await casebook.save(conn, case, now, settings)
    return case


def _new(actor: Actor, body: NewTicketBody, opening: Opening, now: datetime, place: Place) -> NewTicket:
    detail = {"priority": opening.priority, "held": opening.held}
    return NewTicket(
        tenant_id=place.tenant_id,
        deployment_id=place.deployment_id,
        host_id=None,
        alert_id=None,
        problem_key=place.problem_key,
        channel=body.channel,
        title=body.title,
        language=opening.language,
        flags=opening.flags,
        terms=opening.terms,
        decision=(heading("reported-by", by=actor.name, channel=body.channel), *opening.reasons),
        opened=Entry(now, Kind.OPENED, actor.name, detail, body.title, origin=actor.origin),
    )
