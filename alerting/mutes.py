"""Mutes in the database: applied to what the ingest commit writes, and turned over by the sweep.

A mute that begins or ends while an alert fires is a transition of that alert (firing -> firing) with the
reason, so that the desk, which acts on transitions alone, learns of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from alerting.mute import Matcher, Mute, reason
from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
ADDRESS = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
"""A mail address, as far as its shape tells."""


async def current(conn: Connection, tenant_ids: Collection[int], now: datetime) -> dict[int, list[Mute]]:
    """The mutes of tenants that are not over for good, by tenant."""
    given = {"tenants": sorted(tenant_ids), "now": now}
    found: dict[int, list[Mute]] = {}
    for row in await (await conn.execute(Q.current_mutes, given)).fetchall():
        found.setdefault(row[0], []).append(read_mute(row[1:]))
    return found


def read_mute(row: tuple[Any, ...]) -> Mute:
    """A mute from its row: id, kind, matchers, title, author, start, end, recurrence, zone."""
    mute_id, kind, matchers, *rest = row
    return Mute(mute_id, kind, tuple(msgspec.convert(matchers, list[Matcher])), *rest)


async def store(conn: Connection, tenant_id: int, mute: Mute, remind: str | None = None) -> None:
    """Put a mute in force; what fires already is told by the next sweep. ``remind``: the address that is told
    before a silence ends; None: the author's, if that is one."""
    if remind is None and ADDRESS.fullmatch(mute.author):
        remind = mute.author
    row = msgspec.structs.asdict(mute) | {
        "matchers": Jsonb([[m.label, m.op, m.pattern] for m in mute.matchers])
    }
    await conn.execute(Q.store_mute, row | {"tenant_id": tenant_id, "remind": remind})


async def cancel(conn: Connection, tenant_id: int, mute_id: UUID, by: str, now: datetime) -> bool:
    """End a mute; False: there is none in force."""
    given = {"tenant_id": tenant_id, "mute_id": mute_id, "by": by, "now": now}
    return (await conn.execute(Q.cancel_mute, given)).rowcount > 0


async def turn(pool: Pool, now: datetime) -> None:
    """Tell the alerts whose mute began or ended.

    No host is locked: the alert's own row is, and only if nothing else happened to it since it was read."""
    async with pool.connection() as conn:
        rows = await (await conn.execute(Q.mutable_alerts)).fetchall()
        mutes = await current(conn, {row[0] for row in rows}, now)
        for tenant_id, alert_id, seq, priority, labels, silenced in rows:
            why = reason(mutes.get(tenant_id, ()), labels | {"priority": f"P{priority}"}, now)
            if (why is None) != (silenced is None):
                given = {
                    "tenant_id": tenant_id,
                    "alert_id": alert_id,
                    "seq": seq,
                    "silenced": why,
                    "now": now,
                }
                said = f"Now {why}." if why else f"No longer {silenced}; it still holds."
                await conn.execute(Q.turn_mute, given | {"reason": said})
