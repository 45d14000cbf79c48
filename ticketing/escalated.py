"""Whom a step of the escalation matrix reaches: the people who hold the role in the ticket's theatre."""

from __future__ import annotations

from typing import Any

import msgspec
from psycopg import AsyncConnection

from ticketing.casebook import Case
from ticketing.lifecycle import Entry, Kind
from ticketing.published import Person, people


async def with_people(conn: AsyncConnection[Any], case: Case, entry: Entry) -> Entry:
    """An escalation's entry with the keys of the people who must hear of it; others as they are."""
    if entry.kind is not Kind.ESCALATED:
        return entry
    theatre = str(case.terms["terms"]["theatre"])
    found = [p.key for p in holders(await people(conn), str(entry.detail["role"]), theatre)]
    return msgspec.structs.replace(entry, detail=entry.detail | {"people": found})


def holders(staff: list[Person], role: str, theatre: str) -> list[Person]:
    """Active people with this role in this theatre (or in every one), in the order of their keys."""
    return [
        person
        for person in staff
        if person.active
        and any(held.role == role and held.theatre in (None, theatre) for held in person.roles)
    ]
