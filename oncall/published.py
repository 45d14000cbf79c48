"""What other rooms and people may read of on-call: per page request a story that anyone can follow."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from oncall.sql import Q

Conn = AsyncConnection[tuple[Any, ...]]


class Wanted(msgspec.Struct, frozen=True):
    """Which page requests to tell of, newest first."""

    tenant_id: int | None = None
    """None: all tenants (staff only; the caller checks)."""
    page_request_id: int | None = None
    state: str | None = None
    """active, acknowledged or ended."""
    before: int | None = None
    """Only requests with a smaller id: the next page of the list."""
    limit: int = 20
    ticket: str | None = None
    """Number of a ticket."""
    page_id: UUID | None = None
    """The request that this page (one attempt at one person) belongs to."""


TOLD = {
    "decision": "paging of the technician on call began",
    "call": "the technician on call is being called",
    "placed": "the telephone company took the call",
    "ringing": "a telephone is ringing",
    "answered": "a telephone was picked up",
    "voicemail": "a voicemail picked up: that is no answer",
    "no_answer": "nobody answered",
    "failed": "the call could not be placed",
    "in_doubt": "it was not known whether the call was placed: it is placed again",
    "declined": "the next person was asked for",
    "next": "the next person is called",
    "loop": "everybody was tried: from the first again",
    "wait": "the technician's telephone is in use: the call waits",
    "acknowledged": "a technician answered and takes the ticket in charge",
    "ended": "paging ended",
}
"""What a customer is told of its own tickets' pages, by kind of event: our people's names and numbers,
addresses, providers and reasons stand in the texts, so none of those is shown. A kind that is missing here is
not told."""


async def stories(conn: Conn, wanted: Wanted) -> list[dict[str, Any]]:
    """Page requests with their timelines: decision, step, provider's answer, ringing, key, next deadline."""
    rows = await (await conn.execute(Q.list_pagings, msgspec.structs.asdict(wanted))).fetchall()
    return [await _story(conn, row) for row in rows]


async def known(conn: Conn, ticket: str, tenant_id: int | None, deployment_id: int | None) -> bool:
    """Whether there is such a ticket within what a caller may see (None: everything)."""
    values = {"ticket": ticket, "tenant_id": tenant_id, "deployment_id": deployment_id}
    return (await (await conn.execute(Q.ticket_known, values)).fetchone()) is not None


def told(story: dict[str, Any]) -> dict[str, Any]:
    """What a customer may know of a story: what happened and when, never who, through whom, or where."""
    names = ("ticket", "title", "priority", "state", "created_at", "next_look_at")
    lines = [line for line in story["timeline"] if line["kind"] in TOLD]
    return {name: story[name] for name in names} | {
        "timeline": [{"at": line["at"], "kind": line["kind"], "text": TOLD[line["kind"]]} for line in lines]
    }


async def _story(conn: Conn, row: tuple[Any, ...]) -> dict[str, Any]:
    names = (
        "tenant_id page_request_id tenant ticket title priority state step attempt round "
        "created_at next_look_at next_look_for end_reason"
    )
    story = dict(zip(names.split(), row, strict=True))
    key = {"tenant_id": story["tenant_id"], "page_request_id": story["page_request_id"]}
    story["step"] += 1  # people count from one
    story["acknowledgements"] = await _dicts(
        conn, Q.acknowledgements, key, "id page_id person at channel proof"
    )
    story["timeline"] = await _dicts(conn, Q.timeline, key, "no page_id at kind text detail")
    return story


async def _dicts(conn: Conn, query: bytes, key: dict[str, Any], names: str) -> list[dict[str, Any]]:
    rows = await (await conn.execute(query, key)).fetchall()
    return [dict(zip(names.split(), row, strict=True)) for row in rows]
