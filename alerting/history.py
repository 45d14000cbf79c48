"""Stored history for trials: the frames of hosts over a span of time, read without locks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting.inputs import FrameInput, HostScope
from storage.sql import Queries
from wire.layout import Layout

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]


async def hosts(conn: Connection, tenant: str | None) -> list[HostScope]:
    """The hosts in service of a tenant, or of all (None)."""
    rows = await (await conn.execute(Q.hosts_in_service, {"tenant": tenant})).fetchall()
    return [HostScope(*row) for row in rows]


async def frames(
    conn: Connection, scope: HostScope, start: datetime, end: datetime
) -> AsyncIterator[FrameInput]:
    """A host's frames between two times, oldest first."""
    given = {"tenant_id": scope.tenant_id, "host_id": scope.host_id, "start": start, "end": end}
    layouts: dict[bytes, Layout] = {}
    async with conn.transaction(), conn.cursor(name="history") as cursor:
        await cursor.execute(Q.stored_frames, given)
        async for digest, body, at, values in cursor:
            if digest not in layouts:
                layouts[digest] = msgspec.msgpack.decode(body, type=Layout)
            yield FrameInput(digest, layouts[digest], at, values)
