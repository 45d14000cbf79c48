"""Whom a step reaches: the people who hold its role in the ticket's theatre.

A step of the escalation matrix names its role; a target at risk or missed is told to the support team."""

from __future__ import annotations

from typing import Any

import msgspec
from psycopg import AsyncConnection

from ticketing.casebook import Case
from ticketing.lifecycle import Entry, Kind
from ticketing.published import Person, people

SUPPORT_TEAM = "support-team"


async def with_people(conn: AsyncConnection[Any], case: Case, entry: Entry) -> Entry:
    """The entry with the keys of the people who must hear of it, if anybody must."""
    role = _role(entry)
    if role is None:
        return entry
    theatre = str(case.terms["terms"]["theatre"])
    found = [p.key for p in holders(await people(conn), role, theatre)]
    return msgspec.structs.replace(entry, detail=entry.detail | {"people": found})


def _role(entry: Entry) -> str | None:
    if entry.kind is Kind.ESCALATED:
        return str(entry.detail["role"])
    return SUPPORT_TEAM if entry.kind in (Kind.AT_RISK, Kind.BREACHED, Kind.MISSED) else None


def holders(staff: list[Person], role: str, theatre: str) -> list[Person]:
    """Active people with this role in this theatre (or in every one), in the order of their keys."""
    return [
        person
        for person in staff
        if person.active
        and any(held.role == role and held.theatre in (None, theatre) for held in person.roles)
    ]
