"""``ucx-proactive oncall timeline``: why somebody was (not) woken. Flags only; oncall/published.py reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import typer

from oncall import published
from oncall.published import Wanted
from storage.pool import Pool
from ticketing import reading
from ticketing.errors import NoSuchTicket
from ucx_proactive.commands.shared import HERE, DatabaseUrl, DataDir, with_database
from wire.clock import utcnow

Document = dict[str, Any]


def timeline(
    what: Annotated[
        str,
        typer.Argument(metavar="TICKET|PAGE", help="UCX-2026-000123, a request's number, a page's id."),
    ],
    zone: Annotated[str, typer.Option("--zone", help="IANA zone of all times shown.")] = "UTC",
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output (times in UTC).")] = False,
    database_url: DatabaseUrl = None,
    data_dir: DataDir = HERE,
) -> None:
    """Why was I (not) woken: decision, steps, the provider's answers, ringing, keys, next deadline.

    Exit code 1: there is no such ticket or page."""
    if zone not in available_timezones():
        typer.echo(f"oncall: '{zone}' is no IANA time zone, such as Europe/Rome", err=True)
        raise typer.Exit(2)
    wanted = _wanted(what)

    async def read(pool: Pool) -> tuple[list[Document], Document | None]:
        async with pool.connection() as conn:
            found = await published.stories(conn, wanted)
            return found, None if found or not wanted.ticket else await _ticket(conn, wanted.ticket)

    stories, ticket = with_database(read, database_url, data_dir)
    if not stories and ticket is None:
        typer.echo(f"oncall: there is no ticket or page {what}", err=True)
        raise typer.Exit(1)
    if as_json:
        typer.echo(
            json.dumps({"pages": stories, "ticket": ticket}, indent=2, default=str, ensure_ascii=False)
        )
        return
    lines = (
        [line for story in stories for line in lines_of(story, zone)] if stories else not_woken(ticket or {})
    )
    typer.echo("\n".join([*lines, f"(times in {zone})"]))


def _wanted(what: str) -> Wanted:
    if what.isascii() and what.isdigit():
        return Wanted(page_request_id=min(int(what), 2**63 - 1), limit=100)
    try:
        return Wanted(page_id=UUID(what), limit=100)
    except ValueError:
        return Wanted(ticket=what.upper(), limit=100)


async def _ticket(conn: Any, number: str) -> Document | None:
    try:
        full = await reading.ticket_in_full(conn, number, None, None, utcnow())
    except NoSuchTicket:
        return None
    document: Document = reading.in_words(full, "en")
    return document


def not_woken(ticket: Document) -> list[str]:
    """A ticket that nobody was ever rung for: the decisions that were made when it was opened."""
    reasons = [f"  {'  ' * bool(line.get('section'))}{line['text']}" for line in ticket["decision"]]
    head = f"{ticket['number']} P{ticket['priority']}: {ticket['title']}"
    return [head, "nobody was rung for it; when it was opened it was decided:", *reasons]


def lines_of(story: Document, zone: str) -> Iterator[str]:
    """One page request, line by line, on one clock."""
    yield f"{story['ticket']} P{story['priority']} {story['tenant']}: {story['title']}"
    yield f"page request {story['page_request_id']}, {story['state']}; begun {_at(story['created_at'], zone)}"
    for line in story["timeline"]:
        yield f"  {_at(line['at'], zone)}  {line['kind']:<13} {line['text']}"
    for one in story["acknowledgements"]:
        yield f"  answered by {one['person']} ({one['channel']}) at {_at(one['at'], zone)}"
    if story["next_look_at"] is not None:
        yield f"  next deadline {_at(story['next_look_at'], zone)}: {story['next_look_for']}"
    elif story["end_reason"]:
        yield f"  over: {story['end_reason']}"


def _at(at: datetime, zone: str) -> str:
    return f"{at.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M:%S}"
