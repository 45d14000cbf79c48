"""A whole site's outage: one parent ticket that rings, and the tickets of its hosts as children.

A ticket about a deployment as a whole adopts the open tickets of its hosts that are no worse than it, and
those that open while it lasts. A child keeps its own clock and history, and does not ring: its parent does.
Who takes the parent in charge takes the children with it. When the parent is over, or a child becomes worse
than it, the child stands on its own. Locks go from parent to child, never back.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from storage.sql import Queries
from ticketing import casebook
from ticketing.casebook import Case
from ticketing.errors import NotAllowed
from ticketing.lifecycle import DESK, Entry, Kind, fold, is_open
from ticketing.settings import Settings

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]


async def join_parent(conn: Connection, case: Case, now: datetime, deployment_id: int) -> None:
    """Make a host's new ticket a child of its site's open ticket, if there is one (not saved yet)."""
    parent = await _standing(conn, case, deployment_id)
    if parent is not None:
        case.add(_link(now, parent))


async def _standing(conn: Connection, case: Case, deployment_id: int) -> str | None:
    """Number of the site's ticket that stands for this one. One that a person answers for, taken or not,
    rings nobody, and so stands for nothing new."""
    values = {"tenant_id": case.tenant_id, "deployment_id": deployment_id, "priority": case.status.priority}
    row = await (await conn.execute(Q.open_parent, values)).fetchone()
    if row is None or fold(await casebook.history(conn, case.tenant_id, row[1])).attended:
        return None
    return str(row[0])


async def leave_parent(conn: Connection, case: Case, now: datetime, deployment_id: int) -> None:
    """A child that became worse than its parent stands on its own (not saved yet)."""
    parent = case.status.parent
    if parent is not None and await _standing(conn, case, deployment_id) is None:
        reason = f"it is worse than {parent}"
        case.add(Entry(now, Kind.UNLINKED, DESK, {"parent": parent}, reason))


async def adopt(
    conn: Connection, parent: Case, now: datetime, settings: Settings, deployment_id: int
) -> None:
    """Make the open tickets of the site's hosts children of this new ticket of the whole site."""
    values = {
        "tenant_id": parent.tenant_id,
        "deployment_id": deployment_id,
        "priority": parent.status.priority,
    }
    for (ticket_id,) in await (await conn.execute(Q.orphans, values)).fetchall():
        child = await casebook.load(conn, parent.tenant_id, ticket_id)
        if child is not None and is_open(child.status.state) and child.status.parent is None:
            child.add(_link(now, parent.number))
            await casebook.save(conn, child, now, settings)


def _link(now: datetime, number: str) -> Entry:
    reason = f"the whole site is concerned: {number} stands for it"
    return Entry(now, Kind.LINKED, DESK, {"parent": number}, reason)


async def take_along(conn: Connection, parent: Case, taken: Entry, now: datetime, settings: Settings) -> None:
    """Take the children in charge with their parent, at the same instant by the same person."""
    for child in await _children(conn, parent):
        detail = taken.detail | {"with": parent.number}
        try:
            child.insert(
                Entry(taken.at, Kind.TAKEN, taken.actor, detail, f"taken in charge with {parent.number}")
            )
        except NotAllowed:
            continue
        await casebook.save(conn, child, now, settings)


async def let_go(conn: Connection, parent: Case, now: datetime, settings: Settings) -> None:
    """The parent is over: what still fires stands on its own again, and may ring."""
    for child in await _children(conn, parent):
        if is_open(child.status.state) and child.status.recovered_at is None:
            reason = f"{parent.number} is over, this still fires"
            child.add(Entry(now, Kind.UNLINKED, DESK, {"parent": parent.number}, reason))
            await casebook.save(conn, child, now, settings)


async def _children(conn: Connection, parent: Case) -> list[Case]:
    key = {"tenant_id": parent.tenant_id, "ticket_id": parent.ticket_id}
    rows = await (await conn.execute(Q.children, key)).fetchall()
    found = [await casebook.load(conn, parent.tenant_id, ticket_id) for (ticket_id,) in rows]
    return [child for child in found if child is not None]
