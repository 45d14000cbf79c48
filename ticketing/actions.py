"""What people do to tickets: one act, checked, explained, recorded with who, when, from where and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from storage.sql import Queries
from ticketing import casebook, family, terms
from ticketing.casebook import Case
from ticketing.errors import Conflicting, NoSuchTicket, NotAllowed
from ticketing.lifecycle import Entry, Kind
from ticketing.paging import rung
from ticketing.policy import priority_name
from ticketing.releases import load_releases, release_named
from ticketing.settings import Settings
from ticketing.shapes import (
    Act,
    Close,
    Note,
    Plan,
    Priority,
    Release,
    Reopen,
    Resolve,
    Resume,
    Start,
    Take,
    Wait,
)

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]


class Actor(msgspec.Struct, frozen=True):
    """Who acts."""

    name: str
    origin: str
    """From where: a network address, a command line."""
    staff: bool = True
    """One of ours; a customer's key may only add notes, resolve and reopen its own tickets."""
    tenant_id: int | None = None
    """The only tenant whose tickets it may touch; None: all."""
    deployment_id: int | None = None
    """The only deployment it may report for; None: all of its tenant's."""


async def act(
    conn: Connection, settings: Settings, now: datetime, actor: Actor, number: str, wanted: Act
) -> Case:
    """Do it inside one transaction of its own. Raises the room's errors; then nothing has changed."""
    async with conn.transaction():
        case = await find(conn, number, actor.tenant_id)
        if wanted.seen is not None and wanted.seen != len(case.history):
            raise Conflicting(
                f"The ticket has changed: its history has {len(case.history)} entries, you saw {wanted.seen}."
            )
        if not actor.staff and not isinstance(wanted, Note | Resolve | Reopen):
            raise NotAllowed(f"Only support staff may '{wanted.act}' a ticket.")
        done = [case.add(entry) for entry in _entries(case, wanted, actor, now)]
        if any(entry.kind in family.WEIGHED for entry in done):
            await family.leave_parent(conn, case, now)
        await casebook.save(conn, case, now, settings)
        await _to_children(conn, case, done, now, settings)
    return case


async def _to_children(
    conn: Connection, case: Case, done: Sequence[Entry], now: datetime, settings: Settings
) -> None:
    """What an act means for the tickets that this one stands for."""
    for entry in done:
        if entry.kind is Kind.TAKEN:
            await family.take_along(conn, case, entry, now, settings)
        elif entry.kind in (Kind.RESOLVED, Kind.CLOSED) or _is_lowered(entry) or _is_silent(case, entry):
            await family.let_go(conn, case, now, settings)


async def find(conn: Connection, number: str, tenant_id: int | None) -> Case:
    """The ticket of this number, locked. Raises NoSuchTicket, also for another tenant's."""
    values = {"number": number, "tenant_id": tenant_id}
    row = await (await conn.execute(Q.ticket_by_number, values)).fetchone()
    case = None if row is None else await casebook.load(conn, row[0], row[1])
    if case is None:
        raise NoSuchTicket(f"There is no ticket {number}.")
    return case


def _is_lowered(entry: Entry) -> bool:
    """A parent that matters less now may not ring any more: its children must be able to."""
    return entry.kind is Kind.PRIORITY and entry.detail["to"] > entry.detail["from"]


def _is_silent(case: Case, entry: Entry) -> bool:
    """A parent whose plan was corrected to one that rings nobody."""
    return entry.kind is Kind.PLAN and not rung(case.terms, case.status)


def _entries(case: Case, wanted: Act, actor: Actor, now: datetime) -> list[Entry]:
    """What the act adds to the history. Starting a ticket that nobody took takes it, too."""
    made = _MAKERS[type(wanted)](case, wanted)
    whose = {} if actor.staff else {"staff": False}
    entries = [
        Entry(now, kind, actor.name, detail | whose, wanted.reason, origin=actor.origin)
        for kind, detail in made
    ]
    if isinstance(wanted, Start) and case.status.taken_at is None:
        entries.insert(0, Entry(now, Kind.TAKEN, actor.name, {"by": actor.name}, "", origin=actor.origin))
    return entries


Made = list[tuple[Kind, dict[str, Any]]]


def _priority(case: Case, wanted: Priority) -> Made:
    before = case.status.priority
    if wanted.to == before:
        raise NotAllowed(f"The ticket's priority is {priority_name(before)} already.")
    return [(Kind.PRIORITY, {"from": before, "to": wanted.to})]


def _plan(case: Case, wanted: Plan) -> Made:
    history = [entry for entry in case.history if entry.kind is Kind.PLAN]
    document = history[-1].detail["terms"] if history else case.terms["terms"]
    binding = terms.from_document(document)
    if binding.plan == wanted.plan:
        raise NotAllowed(f"The ticket runs under {wanted.plan} already.")
    release = release_named(load_releases(), binding.release)
    changed = terms.to_document(terms.with_plan(release, binding, wanted.plan))
    return [(Kind.PLAN, {"from": binding.plan, "plan": wanted.plan, "terms": changed})]


def _simply(kind: Kind) -> Callable[[Case, Any], Made]:
    return lambda _case, _wanted: [(kind, {})]


_MAKERS: dict[type[Any], Callable[[Case, Any], Made]] = {
    Take: _simply(Kind.TAKEN),
    Start: _simply(Kind.STARTED),
    Wait: lambda _case, wanted: [(Kind.PAUSED, {"waiting_for": wanted.waiting_for})],
    Resume: _simply(Kind.RESUMED),
    Priority: _priority,
    Plan: _plan,
    Resolve: _simply(Kind.RESOLVED),
    Reopen: _simply(Kind.REOPENED),
    Close: _simply(Kind.CLOSED),
    Note: _simply(Kind.NOTE),
    Release: _simply(Kind.RELEASED),
}
