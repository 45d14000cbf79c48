"""Alerts as they change: ``GET /v1/alerts/stream``, server-sent events.

    id: <position>        microseconds since 1970, of the newest change told so far; give it as Last-Event-ID
    event: alert          data: the alert as /v1/alerts/{id} shows it
    event: reset          the position given is too old to go on from: list the alerts anew, then follow
    : beat                nothing happened; the line is alive

Each change is told at least once: a transaction may become visible after others that began later, so a stream
taken up again looks back by ``LOOK_BACK`` and tells what lies there once more; (alert_id, last_seq) tells
doubles. What changed twice between two looks is told once, as it stands. A stream ends after a while - the
client takes it up again by itself - so that a revoked key does not listen on. A reader that does not read
holds nothing but its connection: the next look waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from psycopg import AsyncConnection

from alerting import reading
from alerting.access import caller
from alerting.links import Links
from alerting.reading import AlertView, Wanted
from alerting.settings import Settings
from storage.pool import Pool
from storage.sql import Queries
from wire.access import Principal, Role
from wire.problem import TooBusy

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
LOOK_BACK = timedelta(seconds=60)
"""Longer than any transaction that writes alerts."""
OLDEST = timedelta(days=1)
"""A position further back than this is not gone on from."""
PAGE = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RETRY = b"retry: 1000\n\n"
_BEAT = b": beat\n\n"
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
Position = Annotated[str | None, Header(alias="Last-Event-ID", max_length=40)]


def add_routes(routes: APIRouter, pool: Pool, settings: Settings, links: Links) -> None:
    """Add this module's route. It is not in the OpenAPI document, which has no words for a stream."""
    room = Room(settings.streams)

    @routes.get("/v1/alerts/stream", include_in_schema=False)
    async def stream(request: Request, position: Position = None) -> StreamingResponse:
        who = caller(request, Role.READER)
        if room.is_full_for(who.tenant_id):
            raise TooBusy("Too many streams are open here; try again soon.", retry_after_s=5)
        told = room.counted(Follower(pool, settings, who, links).told(read_position(position)), who.tenant_id)
        return StreamingResponse(told, media_type="text/event-stream", headers=_HEADERS)


class Room:
    """How many streams are open, and whose. One customer's take at most a quarter of the room: else who opens
    many would shut out all others."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[object, int | None] = {}
        """A mark per stream -> the customer whose key it is; None: the vendor's own."""

    def is_full_for(self, tenant_id: int | None) -> bool:
        """Whether this customer (None: the vendor's own) may open no more now."""
        taken = sum(1 for owner in self._open.values() if owner == tenant_id)
        share = self._most if tenant_id is None else max(1, self._most // 4)
        return len(self._open) >= self._most or taken >= share

    async def counted(self, told: AsyncIterator[bytes], tenant_id: int | None) -> AsyncIterator[bytes]:
        """The stream, counted while it lasts."""
        mark = object()
        self._open[mark] = tenant_id
        try:
            async for chunk in told:
                yield chunk
        finally:
            del self._open[mark]


def read_position(text: str | None) -> datetime | None:
    """The time that a position stands for; None: none was given, or nothing that we ever gave."""
    if not text or not (text.isascii() and text.isdigit()) or len(text) > 17:
        return None
    return _EPOCH + int(text) * _MICROSECOND


def write_position(at: datetime) -> str:
    """The position that stands for a time."""
    return str((at - _EPOCH) // _MICROSECOND)


class Follower:
    """One stream: what it told already, and how far it is."""

    def __init__(self, pool: Pool, settings: Settings, who: Principal, links: Links) -> None:
        self._pool = pool
        self._settings = settings
        self._who = who
        self._links = links
        self._told: dict[int, int] = {}
        """Alert -> number of the newest transition told; of changes within the time we look back."""
        self._at = _EPOCH

    async def told(self, position: datetime | None) -> AsyncIterator[bytes]:
        """The stream's bytes until its life is over."""
        ends = time.monotonic() + self._settings.stream_life_s
        yield _RETRY
        if await self._begin(position):
            yield f"id: {write_position(self._at)}\nevent: reset\ndata: {{}}\n\n".encode()
        spoke = time.monotonic()
        while time.monotonic() < ends:
            async for chunk in self._look():
                yield chunk
                spoke = time.monotonic()
            if time.monotonic() - spoke >= self._settings.stream_beat_s:
                yield _BEAT
                spoke = time.monotonic()
            await asyncio.sleep(self._settings.stream_look_s)

    async def _begin(self, position: datetime | None) -> bool:
        """Where to go on from; True: not from where was asked."""
        async with self._pool.connection() as conn:
            row = await (await conn.execute(Q.database_now)).fetchone()
            assert row is not None
            now: datetime = row[0]
            usable = position is not None and now - OLDEST <= position <= now
            self._at = position if usable and position is not None else now
            if not usable:
                self._told = {alert_id: seq for alert_id, seq, _ in await self._changes(conn)}
        return position is not None and not usable

    async def _changes(self, conn: Connection) -> list[tuple[int, int, datetime]]:
        """All that changed since a little before the position: alert, transition, when."""
        found: list[tuple[int, int, datetime]] = []
        after, after_id = self._at - LOOK_BACK, 0
        while True:
            given = {
                "tenant_id": self._who.tenant_id,
                "deployment_id": self._who.deployment_id,
                "after": after,
                "after_id": after_id,
                "limit": PAGE,
            }
            rows = await (await conn.execute(Q.stream_positions, given)).fetchall()
            found += [(row[0], row[1], row[2]) for row in rows]
            if len(rows) < PAGE:
                return found
            after_id, _, after = found[-1]

    async def _look(self) -> AsyncIterator[bytes]:
        async with self._pool.connection() as conn:
            changes = await self._changes(conn)
        news = [(alert_id, at) for alert_id, seq, at in changes if self._told.get(alert_id, 0) < seq]
        for start in range(0, len(news), PAGE):
            page = dict(news[start : start + PAGE])
            wanted = Wanted(alert_ids=tuple(page), limit=PAGE)
            async with self._pool.connection() as conn:
                views = await self._links.added(conn, await reading.alerts(conn, self._who, wanted))
            yield b"".join(self._event(view, page[view.alert_id]) for view in _in_order(views, page))
        self._told = {alert_id: seq for alert_id, seq, _ in changes}

    def _event(self, view: AlertView, at: datetime) -> bytes:
        self._at = max(self._at, at)
        head = f"id: {write_position(self._at)}\nevent: alert\ndata: "
        return head.encode() + msgspec.json.encode(view) + b"\n\n"


def _in_order(views: list[AlertView], page: dict[int, datetime]) -> list[AlertView]:
    return sorted(views, key=lambda view: (page[view.alert_id], view.alert_id))
