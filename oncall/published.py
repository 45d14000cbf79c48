"""What other rooms and people may read of on-call: per page request a story that anyone can follow."""

from __future__ import annotations

from typing import Any

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


async def stories(conn: Conn, wanted: Wanted) -> list[dict[str, Any]]:
    """Page requests with their timelines: decision, step, provider's answer, ringing, key, next deadline."""
    rows = await (await conn.execute(Q.list_pagings, msgspec.structs.asdict(wanted))).fetchall()
    return [await _story(conn, row) for row in rows]


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
