"""What later rooms may know of hosts and their readings: value types and read queries. Nothing here writes.

Every function takes the tenant first. Frames are read through ``latest`` and ``charts`` alone.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from collector.directory import Q
from collector.layouts import decode
from collector.reading import Chart, Latest, charts, latest
from collector.series import Point
from wire.batch import Event, Severity
from wire.layout import Layout

__all__ = [
    "Chart",
    "HostFacts",
    "Latest",
    "Point",
    "StoredFrame",
    "charts",
    "events_between",
    "frames_between",
    "frames_in_bulk",
    "host_facts",
    "latest",
    "layouts_of",
    "newest_values",
]
Connection = AsyncConnection[tuple[Any, ...]]


class HostFacts(msgspec.Struct, frozen=True):
    """A host and what its agent says of it."""

    tenant_id: int
    host_id: int
    deployment_id: int
    name: str
    facts: dict[str, Any]
    """``os``, ``agent_version``, ``platform_version`` ... as reported."""
    enrolled_at: datetime
    retired_at: datetime | None
    agent_current: bool
    """False: its credential was revoked and no other agent has taken over."""


class StoredFrame(msgspec.Struct, frozen=True):
    """One frame as it was stored: what a replay feeds to the evaluator again."""

    layout_digest: bytes
    layout: Layout
    at: datetime
    """By the host's clock, as sent."""
    values: list[float | None]


async def host_facts(conn: Connection, tenant_id: int, host_id: int) -> HostFacts | None:
    """One host; None when this tenant has none of that id."""
    row = {"tenant_id": tenant_id, "host_id": host_id}
    found = await (await conn.execute(Q.host_facts, row)).fetchone()
    return HostFacts(*found) if found else None


async def layouts_of(conn: Connection, tenant_id: int, host_id: int) -> list[tuple[bytes, Layout]]:
    """The layouts that a host has ever sent frames in, each with its digest."""
    row = {"tenant_id": tenant_id, "host_id": host_id}
    rows = await (await conn.execute(Q.host_layouts, row)).fetchall()
    return [(bytes(digest), decode(body)) for _, digest, body in rows]


async def newest_values(
    conn: Connection, tenant_id: int, host_ids: Sequence[int], since: datetime, limit: int
) -> list[tuple[int, bytes, datetime, list[float | None]]]:
    """(host, layout digest, time, values) of the hosts' newest frames, at most ``limit`` of each layout."""
    row = {"tenant_id": tenant_id, "host_ids": list(host_ids), "since": since, "limit": limit}
    rows = await (await conn.execute(Q.newest_values, row)).fetchall()
    return [(host_id, bytes(digest), at, values) for host_id, digest, at, values in rows]


async def events_between(
    conn: Connection, tenant_id: int, host_id: int, start: datetime, end: datetime
) -> AsyncIterator[tuple[datetime, Event]]:
    """A host's events of ``[start, end)`` in time order, streamed. ``conn`` must be inside a transaction."""
    row = {"tenant_id": tenant_id, "host_id": host_id, "start": start, "end": end}
    async with conn.cursor("events_between") as cursor:
        await cursor.execute(Q.events_between, row)
        async for at, source, event_id, severity, message, attributes in cursor:
            time_ms = round(at.timestamp() * 1000)
            yield at, Event(time_ms, source, event_id, Severity(severity), message, attributes)


async def frames_between(
    conn: Connection, tenant_id: int, host_id: int, start: datetime, end: datetime
) -> AsyncIterator[StoredFrame]:
    """A host's frames of ``[start, end)`` in time order, streamed. ``conn`` must be inside a transaction."""
    async for frames in frames_in_bulk(conn, tenant_id, host_id, start, end, 100):
        for frame in frames:
            yield frame


async def frames_in_bulk(
    conn: Connection, tenant_id: int, host_id: int, start: datetime, end: datetime, size: int
) -> AsyncIterator[list[StoredFrame]]:
    """The same in lists of at most ``size``: much cheaper per frame."""
    row = {"tenant_id": tenant_id, "host_id": host_id}
    rows = await (await conn.execute(Q.host_layouts, row)).fetchall()
    layouts = {layout_id: (bytes(digest), decode(body)) for layout_id, digest, body in rows}
    # In binary format: arrays of floats come over many times faster than as text.
    async with conn.cursor("frames_between", binary=True) as cursor:
        await cursor.execute(Q.frames_between, row | {"start": start, "end": end})
        while rows := await cursor.fetchmany(size):
            yield [StoredFrame(*layouts[layout_id], at, values) for layout_id, at, values in rows]
