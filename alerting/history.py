"""Stored history for trials: the frames of hosts over a span of time, read without locks."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from alerting.inputs import EventInput, FrameInput, HostScope
from collector.published import events_between, frames_between, frames_in_bulk
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]


async def hosts(conn: Connection, tenant: str | None) -> list[HostScope]:
    """The hosts in service of a tenant, or of all (None)."""
    rows = await (await conn.execute(Q.hosts_in_service, {"tenant": tenant})).fetchall()
    return [HostScope(*row) for row in rows]


async def inputs(
    conn: Connection, scope: HostScope, start: datetime, end: datetime
) -> AsyncIterator[FrameInput | EventInput]:
    """A host's frames and events between two times, oldest first; of the same time, events first."""
    async with conn.transaction():
        found = events_between(conn, scope.tenant_id, scope.host_id, start, end)
        events = deque([EventInput(at, event) async for at, event in found])
        async for frame in frames(conn, scope, start, end):
            while events and events[0].at <= frame.at:
                yield events.popleft()
            yield frame
        for left in events:
            yield left


async def frames(
    conn: Connection, scope: HostScope, start: datetime, end: datetime
) -> AsyncIterator[FrameInput]:
    """A host's frames between two times, oldest first."""
    async with conn.transaction():
        async for stored in frames_between(conn, scope.tenant_id, scope.host_id, start, end):
            yield FrameInput(stored.layout_digest, stored.layout, stored.at, stored.values)


async def pieces(
    conn: Connection, scope: HostScope, start: datetime, end: datetime, size: int
) -> AsyncIterator[list[FrameInput]]:
    """The same in lists of at most ``size``, for what reads a whole fleet's history."""
    async with conn.transaction():
        async for stored in frames_in_bulk(conn, scope.tenant_id, scope.host_id, start, end, size):
            yield [FrameInput(s.layout_digest, s.layout, s.at, s.values) for s in stored]
