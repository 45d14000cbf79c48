"""What the API and the command line show of a ticket: everything, with the reasons."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from storage.sql import Queries
from ticketing import casebook, explain
from ticketing.errors import NoSuchTicket
from ticketing.lifecycle import Entry, allowed, fold
from ticketing.looks import Reckoning, reckon
from ticketing.notify.reasons import in_language
from ticketing.published import TicketFilter, tickets
from ticketing.reason import to_documents
from ticketing.reason_texts import HEADINGS

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]
Document = dict[str, Any]


def in_words(document: Document, language: str) -> Document:
    """A ticket in full with its title and all its reasons in a language."""
    title, clock = document["titles"].get(language, document["title"]), document["clock"]
    if clock is not None:
        clock = clock | {"reasons": in_language(clock["reasons"], language)}
    decision = in_language(document["decision"], language)
    return document | {"title": title, "decision": decision, "clock": clock}


def for_customer(document: Document) -> Document:
    """A ticket in full as its customer may see it: neither our people's network addresses nor what failed in
    our own works. Where the customer's own acts came from stays."""
    history = [entry if _is_customers(entry) else entry | {"origin": ""} for entry in document["history"]]
    return document | {"last_error": None, "history": history}


def _is_customers(entry: Document) -> bool:
    return entry["detail"].get("staff") is False


async def ticket_page(conn: Connection, wanted: TicketFilter) -> Document:
    """A page of tickets and, where there are more, the position of the next one."""
    found = await tickets(conn, wanted)
    more = found[-1].ticket_id if len(found) == wanted.limit else None
    return {"tickets": msgspec.to_builtins(found), "before": more}


async def ticket_in_full(
    conn: Connection, number: str, tenant_id: int | None, deployment_id: int | None, now: datetime
) -> Document:
    """One ticket with history, clock, escalation, decision record and pages. Raises NoSuchTicket."""
    wanted = TicketFilter(tenant_id=tenant_id, deployment_id=deployment_id, number=number, limit=1)
    found = await tickets(conn, wanted)
    if not found:
        raise NoSuchTicket(f"There is no ticket {number}.")
    view = found[0]
    key = {"tenant_id": view.tenant_id, "ticket_id": view.ticket_id}
    papers = await (await conn.execute(Q.ticket_papers, key)).fetchone()
    assert papers is not None, "the ticket was just read, and tickets are never deleted"
    history = await casebook.history(conn, view.tenant_id, view.ticket_id)
    document: Document = msgspec.to_builtins(view)
    return document | {
        "terms": papers[0].get("terms", {}),
        "decision": papers[1],
        "last_error": papers[2],
        "titles": papers[3],
        "history": [_entry(entry) for entry in history],
        "allowed": [str(kind) for kind in allowed(fold(history).state)],
        "clock": _clock(reckon(papers[0], history, now)),
        "pages": await _rows(conn, Q.pages_of_ticket, key),
        "alerts": await _rows(conn, Q.alerts_of_ticket, key),
    }


def _entry(entry: Entry) -> Document:
    document: Document = msgspec.to_builtins(entry)
    return document


def _clock(reckoning: Reckoning | None) -> Document | None:
    """The clock now; None while the ticket is held."""
    if reckoning is None:
        return None
    state = reckoning.clock
    document: Document = msgspec.to_builtins(state)
    return document | {
        "reasons": to_documents(explain.of_state(reckoning.release, reckoning.line, state)),
        "escalations": msgspec.to_builtins(reckoning.steps),
    }


async def _rows(conn: Connection, query: bytes, values: Document) -> list[Document]:
    """Rows as documents, named by their columns."""
    cursor = await conn.execute(query, values)
    names = [column.name for column in cursor.description or ()]
    return [msgspec.to_builtins(dict(zip(names, row, strict=True))) for row in await cursor.fetchall()]


async def no_tickets(conn: Connection, values: Document) -> list[Document]:
    """Alerts that got no ticket, with the reasons, newest first."""
    return await _rows(conn, Q.list_no_tickets, values)


async def parked(conn: Connection) -> list[Document]:
    """What the desk has parked."""
    return await _rows(conn, Q.parked_items, {})


async def bookings(
    conn: Connection, tenant_id: int | None, deployment_id: int | None, now: datetime
) -> list[Document]:
    """On-call assistance that was agreed and is not over."""
    values = {"tenant_id": tenant_id, "deployment_id": deployment_id, "now": now}
    return await _rows(conn, Q.list_bookings, values)


async def contract_history(conn: Connection, tenant_id: int, deployment_id: int) -> list[Document]:
    """Every contract document of a deployment, newest first."""
    return await _rows(conn, Q.contract_history, {"tenant_id": tenant_id, "deployment_id": deployment_id})


async def registry_changes(conn: Connection, before: int | None, limit: int) -> list[Document]:
    """The registry's audit trail, newest first."""
    return await _rows(conn, Q.registry_changes, {"before": before, "limit": limit})


def readable(document: Document) -> Iterator[str]:
    """A ticket as lines for a terminal."""
    d = document
    yield f"{d['number']}  P{d['priority']}  {d['state']}  {d['title']}"
    yield f"  customer {d['tenant']}, deployment {d['deployment']}, host {d['host'] or '-'}"
    yield f"  opened {d['opened_at']} by {d['opened_by']} ({d['channel']})"
    yield f"  due {d['due_at'] or '-'}, taken {d['taken_at'] or '-'} {d['taken_by'] or ''}".rstrip()
    if d["flags"]:
        yield f"  flags: {', '.join(d['flags'])}"
    yield "Why:"
    yield from (_reason(reason) for reason in d["decision"])
    if d["clock"] is not None:
        yield f"Clock: {d['clock']['state']}, {d['clock']['consumed_s']:g} s consumed"
        told = {reason["text"] for reason in d["decision"]}
        yield from (_reason(reason) for reason in d["clock"]["reasons"] if reason["text"] not in told)
    yield "History:"
    yield from (f"  {e['at']}  {e['kind']:<13} {e['actor']:<20} {e['reason']}" for e in d["history"])


def _reason(reason: Document) -> str:
    """A heading of ours, or a reason below it with its section of the guide."""
    if reason["code"] in HEADINGS:
        return f"  {reason['text']}"
    section = f" ({reason['section']})" if reason.get("section") else ""
    return f"    - {reason['text']}{section}"
