"""Calendar feeds out: opened by the secret in their URL alone, because calendar programs send no credential.

The database keeps only the secret's SHA-256; a feed is closed by revoking it.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from oncall.ical import feed
from oncall.roster import R, Stored
from oncall.rota_desk import Desk, Key, Token, staff
from wire.access import Role
from wire.problem import NotFound

BACK, AHEAD = timedelta(days=30), timedelta(days=180)
"""Feeds show shifts so far around today."""


class NewFeed(BaseModel):
    """A calendar out, of a person or of a schedule."""

    model_config = ConfigDict(extra="forbid")

    kind: str = Field(pattern="^(person|schedule)$")
    name: Key


def add_routes(routes: APIRouter, desk: Desk) -> None:
    """Add the routes of feeds."""

    @routes.get("/feeds", summary="Calendar feeds, without their secrets")
    async def feeds(request: Request) -> dict[str, Any]:
        staff(request, Role.SUPPORT)
        async with desk.pool.connection() as conn:
            rows = await (await conn.execute(R.feeds)).fetchall()
        names = ("feed_id", "kind", "name", "created_at", "created_by")
        return {"feeds": [dict(zip(names, row, strict=True)) for row in rows]}

    @routes.post("/feeds", status_code=201, summary="Make a calendar feed; its URL is shown once")
    async def make_feed(request: Request, body: NewFeed) -> dict[str, Any]:
        principal, token = staff(request, Role.SUPPORT), secrets.token_urlsafe(32)
        values = {"kind": body.kind, "name": body.name, "token_hash": _hash(token)}
        async with desk.pool.connection() as conn:
            rota = (await desk.stored(conn)).rota
            if body.name not in (rota.people if body.kind == "person" else rota.schedules):
                raise NotFound(f"There is no {body.kind} '{body.name}' in the rota.")
            row = await (
                await conn.execute(R.add_feed, values | {"now": desk.clock(), "actor": principal.name})
            ).fetchone()
        assert row is not None
        return {"feed_id": row[0], "url": f"{desk.settings.public_url}/v1/oncall/calendars/{token}.ics"}

    @routes.delete("/feeds/{feed_id}", status_code=204, summary="Close a calendar feed for good")
    async def close_feed(request: Request, feed_id: Annotated[int, Path(ge=1, le=2**63 - 1)]) -> Response:
        staff(request, Role.SUPPORT)
        async with desk.pool.connection() as conn:
            values = {"feed_id": feed_id, "now": desk.clock()}
            if await (await conn.execute(R.revoke_feed, values)).fetchone() is None:
                raise NotFound("There is no such feed.")
        return Response(status_code=204)

    @routes.get("/calendars/{token}.ics", summary="A calendar feed (RFC 5545); its secret is in the URL")
    async def calendar(token: Token) -> Response:
        async with desk.pool.connection() as conn:
            row = await (await conn.execute(R.feed_of, {"token_hash": _hash(token)})).fetchone()
            if row is None:
                raise NotFound("There is no such calendar.")
            stored = await desk.stored(conn)
        kind, name = row
        return _calendar(await asyncio.to_thread(_feed, stored, kind, name, desk.clock()))


def _feed(stored: Stored, kind: str, name: str, now: datetime) -> bytes:
    """Whole days around now, so that a feed changes only when the rota or the day does."""
    rota, today = stored.rota, now.replace(hour=0, minute=0, second=0, microsecond=0)
    chosen = [one for key, one in rota.schedules.items() if kind == "person" or key == name]
    title = f"On call: {rota.names.get(name, name) if kind == 'person' else name}"
    person = name if kind == "person" else None
    return feed(title, chosen, person, rota.names, today - BACK, today + AHEAD, stored.changed_at)


def _calendar(body: bytes) -> Response:
    headers = {"Cache-Control": "private, max-age=300", "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"'}
    return Response(body, media_type="text/calendar; charset=utf-8", headers=headers)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
