"""Tickets in the database: loaded with their history under a row lock, changed only by adding to it.

``save`` is the one place that writes a ticket. It records the new entries, derives every column from the
history, asks for a page or ends one, and puts what must be told into the outbox: all in the caller's
transaction, so that none of it can exist without the rest.

Whoever works on tickets waits for locks in one order, so that no two wait for each other for ever:

    1  the alert's progress     several at once by (tenant, alert), or skipping those that others hold
    2  the problem              ``lock_problem``
    3  the tickets of sites     by (tenant, ticket), all that will be needed: ``family.lock_above``
    4  the tickets of hosts     children of a site's by their ids; an alert's own is one of them

Who holds a ticket of a host reads a site's without a lock, or takes it only if nobody else has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from storage.sql import Queries
from ticketing.lifecycle import Entry, Kind, Status, check, fold, is_open, newest
from ticketing.looks import derive, explain
from ticketing.notify.enqueue import enqueue
from ticketing.opening import heading
from ticketing.paging import Ask, asked
from ticketing.settings import Settings

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]


class Case(msgspec.Struct):
    """A ticket at work: its stored history and what is being added to it."""

    tenant_id: int
    ticket_id: int
    number: str
    terms: dict[str, Any]
    """The contract's terms, snapshotted at opening; shape: ticketing/opening.py."""
    history: list[Entry]
    """Recorded and new entries; new ones have ``seq`` 0."""

    @property
    def status(self) -> Status:
        """What the history comes to."""
        return fold(self.history)

    @property
    def fresh(self) -> list[Entry]:
        """Entries that are not recorded yet."""
        return [entry for entry in self.history if not entry.seq]

    def add(self, entry: Entry) -> Entry:
        """Add what happens now. Raises NotAllowed or Unexplained. Never before what happened last."""
        entry = msgspec.structs.replace(entry, at=max(entry.at, *(e.at for e in self.history)))
        check(self.status, entry)
        self.history.append(entry)
        return entry

    def insert(self, entry: Entry) -> Entry:
        """Add what happened at an earlier time (a keypress told late); judged as of that time."""
        entry = msgspec.structs.replace(entry, at=max(entry.at, self.history[0].at))
        check(fold(e for e in self.history if e.at <= entry.at), entry)
        self.history.append(entry)
        return entry

    def has(self, step: str) -> bool:
        """Whether a step that happens once has been taken."""
        return any(entry.step == step for entry in self.history)


class NewTicket(msgspec.Struct, frozen=True):
    """What a ticket is opened with."""

    tenant_id: int
    deployment_id: int
    host_id: int | None
    alert_id: int | None
    problem_key: str
    channel: str
    """proactive, portal, phone, chat, email."""
    title: str
    """In English."""
    language: str
    flags: tuple[str, ...]
    terms: dict[str, Any]
    decision: tuple[dict[str, Any], ...]
    opened: Entry
    """Its first entry; ``detail`` holds ``priority`` and, where so, ``held``."""
    titles: dict[str, str] = {}
    """The title in other languages, as it is at opening."""


async def create(conn: Connection, new: NewTicket, settings: Settings) -> Case:
    """A new ticket with its number; the caller adds to it and saves it."""
    number = f"{settings.number_prefix}-{new.opened.at.year}"
    explained = explain(new.terms, [new.opened], new.opened.at)
    clock_said = [heading("clock-at-opening")] if explained else []
    columns = msgspec.structs.asdict(new) | {
        "number_prefix": number,
        "priority": new.opened.detail["priority"],
        "state": fold([new.opened]).state,
        "opened_at": new.opened.at,
        "opened_by": new.opened.actor,
        "flags": list(new.flags),
        "titles": Jsonb(new.titles),
        "terms": Jsonb(new.terms),
        "decision": Jsonb([*new.decision, *clock_said, *explained]),
    }
    del columns["opened"]
    row = await (await conn.execute(Q.insert_ticket, columns)).fetchone()
    assert row is not None, "an INSERT without a conflict clause returns its row"
    return Case(new.tenant_id, row[0], row[1], new.terms, [new.opened])


async def load(conn: Connection, tenant_id: int, ticket_id: int) -> Case | None:
    """The ticket, locked to the end of the transaction; None when there is none."""
    key = {"tenant_id": tenant_id, "ticket_id": ticket_id}
    return await loaded(conn, await (await conn.execute(Q.lock_ticket, key)).fetchone())


async def load_open(conn: Connection, tenant_id: int, problem_key: str) -> Case | None:
    """The one ticket of this problem that is not closed, locked; None when there is none."""
    key = {"tenant_id": tenant_id, "problem_key": problem_key}
    return await loaded(conn, await (await conn.execute(Q.lock_open_ticket, key)).fetchone())


async def load_free(conn: Connection, tenant_id: int, ticket_id: int, now: datetime) -> Case | None:
    """The ticket, locked, when its look is due and no other desk holds it; else None."""
    key = {"tenant_id": tenant_id, "ticket_id": ticket_id, "now": now}
    return await loaded(conn, await (await conn.execute(Q.claim_ticket, key)).fetchone())


async def loaded(conn: Connection, row: Sequence[Any] | None) -> Case | None:
    """The ticket of a row (tenant, ticket, number, terms) that the caller has locked."""
    if row is None:
        return None
    tenant_id, ticket_id, number, terms = row
    return Case(tenant_id, ticket_id, number, terms, await history(conn, tenant_id, ticket_id))


async def history(conn: Connection, tenant_id: int, ticket_id: int) -> list[Entry]:
    """A ticket's recorded history, in the order of recording."""
    key = {"tenant_id": tenant_id, "ticket_id": ticket_id}
    rows = await (await conn.execute(Q.ticket_history, key)).fetchall()
    return [
        Entry(at, Kind(kind), actor, detail, reason, seq, origin, step)
        for seq, at, kind, actor, detail, reason, origin, step in rows
    ]


async def save(conn: Connection, case: Case, now: datetime, settings: Settings) -> Status:
    """Record what was added and everything that follows from it; returns the ticket's status."""
    await _page(conn, case, now, settings)
    recorded = await _record(conn, case)
    status = case.status
    derived = derive(case.terms, case.history, now, settings)
    columns = msgspec.structs.asdict(status) | msgspec.structs.asdict(derived)
    await conn.execute(Q.update_ticket, columns | {"tenant_id": case.tenant_id, "ticket_id": case.ticket_id})
    key = (case.tenant_id, case.ticket_id)
    why = explain(case.terms, case.history, now) if is_open(status.state) else []
    await enqueue(conn, settings, key, recorded, status.priority, derived.due_at, why, now)
    return status


async def _record(conn: Connection, case: Case) -> list[Entry]:
    """Insert the new entries, numbered in the order in which they were added; returns them."""
    done: list[Entry] = []
    for index, entry in enumerate(case.history):
        if entry.seq:
            continue
        numbered = msgspec.structs.replace(entry, seq=newest(case.history) + 1)
        values = msgspec.structs.asdict(numbered) | {"detail": Jsonb(entry.detail)}
        await conn.execute(
            Q.insert_event, values | {"tenant_id": case.tenant_id, "ticket_id": case.ticket_id}
        )
        case.history[index] = numbered
        done.append(numbered)
    return done


async def _page(conn: Connection, case: Case, now: datetime, settings: Settings) -> None:
    """Make the page requests what the ticket's state wants them to be, and say so in its history."""
    key = {"tenant_id": case.tenant_id, "ticket_id": case.ticket_id}
    rows = await (await conn.execute(Q.open_pages_of_ticket, key)).fetchall()
    for ask in asked(case.terms, case.status):
        if ask.wanted and ask.audience not in {row[0] for row in rows}:
            await _ask(conn, case, ask, now, settings)
        elif not ask.wanted and ask.audience in {row[0] for row in rows}:
            values = key | {"audience": ask.audience, "now": now, "reason": ask.reason}
            await conn.execute(Q.end_page_request, values)
            case.add(Entry(now, Kind.PAGING_ENDED, "desk", {"audience": ask.audience}, ask.reason))


async def _ask(conn: Connection, case: Case, ask: Ask, now: datetime, settings: Settings) -> None:
    policy = settings.paging_policy if ask.audience == "technician" else settings.customer_policy
    values = {"audience": ask.audience, "policy": policy, "now": now, "reason": ask.reason}
    await conn.execute(
        Q.insert_page_request, values | {"tenant_id": case.tenant_id, "ticket_id": case.ticket_id}
    )
    detail = {"audience": ask.audience, "policy": policy}
    case.add(Entry(now, Kind.PAGING, "desk", detail, ask.reason))
