"""A whole site's outage: one parent ticket that rings, and the tickets of its hosts as children.

A ticket about a deployment as a whole adopts the open tickets of its hosts that are no worse than it, and
those that open while it lasts. A child keeps its own clock and history, and does not ring: its parent does.
A parent that rings nobody by the terms it was opened under (Gold, upgraded since) stands for none that would.
Who takes the parent in charge takes the children with it. When the parent is over, or a child becomes worse
than it, the child stands on its own. Parents are locked before children (ticketing/casebook.py).

What another program pushed names no host of ours and still is a part's: it stands for nobody, a host's rings.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting.published import Alert
from storage.sql import Queries
from ticketing import casebook
from ticketing.casebook import Case
from ticketing.errors import NotAllowed
from ticketing.lifecycle import DESK, Entry, Kind, Status, fold, is_open
from ticketing.paging import rung
from ticketing.settings import Settings

Q = Queries.load("ticketing")
WEIGHED = frozenset({Kind.PRIORITY, Kind.PLAN, Kind.REOPENED, Kind.REFIRED})
"""After these a child is weighed against its parent again: does that one still ring for it?"""
Connection = AsyncConnection[Any]


async def lock_above(conn: Connection, alert: Alert) -> None:
    """Lock the tickets of whole sites that this alert's casework may need, before any of a host's: those that
    it fires for, to be changed, and those that may stand for one of its own, to be kept as they are.

    The caller holds the alert's progress and its problem: what it fires for stays what it is."""
    key = {"tenant_id": alert.tenant_id, "alert_id": alert.alert_id, "problem_key": alert.problem_key}
    values = key | {"deployment_id": alert.deployment_id, "joins": alert.host_id is not None}
    for ticket_id, changes in await (await conn.execute(Q.tickets_above, values)).fetchall():
        lock = Q.lock_ticket if changes else Q.hold_ticket
        await conn.execute(lock, {"tenant_id": alert.tenant_id, "ticket_id": ticket_id})


async def join_parent(conn: Connection, case: Case, now: datetime, deployment_id: int) -> None:
    """Make a host's new ticket a child of its site's open ticket, if there is one (not saved yet).

    The parent is held: were it done with meanwhile, it would not see this child, which nobody rang for then.
    One that came up since ``lock_above`` and is in other hands is passed over: the child rings."""
    values = {"tenant_id": case.tenant_id, "deployment_id": deployment_id, "priority": case.status.priority}
    parent = await _standing(conn, case, await (await conn.execute(Q.open_parent, values)).fetchone())
    if parent is not None:
        case.add(_link(now, parent))


async def leave_parent(conn: Connection, case: Case, now: datetime) -> None:
    """A child that became worse than its parent, or comes back when that is over or in somebody's hands,
    stands on its own, whatever else of its site is open (not saved yet).

    The parent is read without a lock: whoever is done with it looks after its children next, and waits."""
    parent = case.status.parent
    if parent is None:
        return
    values = {"tenant_id": case.tenant_id, "number": parent, "priority": case.status.priority}
    if await _standing(conn, case, await (await conn.execute(Q.standing, values)).fetchone()) is None:
        reason = f"{parent} is less urgent, over or in somebody's hands: it does not ring for this"
        case.add(Entry(now, Kind.UNLINKED, DESK, {"parent": parent}, reason))


async def _standing(conn: Connection, case: Case, row: tuple[Any, ...] | None) -> str | None:
    """Number of a site's ticket that stands for this one. One that a person answers for, taken or not, rings
    nobody, and so stands for nothing new."""
    if row is None:
        return None
    number, ticket_id, terms = row
    status = fold(await casebook.history(conn, case.tenant_id, ticket_id))
    return None if status.attended or not _rings_for(terms, status, case) else str(number)


def _rings_for(terms: dict[str, Any], parent: Status, child: Case) -> bool:
    """Whether a ticket with these terms rings everybody whom the child alone would."""
    alone = msgspec.structs.replace(child.status, parent=None)
    return rung(child.terms, alone) <= rung(terms, parent)


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
        if child is None or not is_open(child.status.state) or child.status.parent is not None:
            continue
        if _rings_for(parent.terms, parent.status, child):
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
    """Those that still are its children once they are locked."""
    key = {"tenant_id": parent.tenant_id, "ticket_id": parent.ticket_id}
    rows = await (await conn.execute(Q.children, key)).fetchall()
    found = [await casebook.load(conn, parent.tenant_id, ticket_id) for (ticket_id,) in rows]
    return [child for child in found if child is not None and child.status.parent == parent.number]
