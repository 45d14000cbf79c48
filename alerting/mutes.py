"""Mutes in the database: applied to what the ingest commit writes, and turned over by the sweep.

A mute that begins or ends while an alert fires is a transition of that alert (firing -> firing) with the
reason, so that the desk, which acts on transitions alone, learns of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from itertools import groupby
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from alerting import metrics
from alerting.mute import Matcher, Mute, reason
from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
ADDRESS = re.compile(r"[^@\s\x00-\x1f\x7f]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
"""A mail address, as far as its shape tells."""


async def current(conn: Connection, tenant_ids: Collection[int], now: datetime) -> dict[int, list[Mute]]:
    """The mutes of tenants that are not over for good, by tenant."""
    rows = await _rows(conn, tenant_ids, now)
    return {tenant_id: [read_mute(row) for row in found] for tenant_id, found in rows.items()}


async def _rows(
    conn: Connection, tenant_ids: Collection[int], now: datetime
) -> dict[int, list[tuple[Any, ...]]]:
    given = {"tenants": sorted(tenant_ids), "now": now}
    found: dict[int, list[tuple[Any, ...]]] = {}
    for tenant_id, *row in await (await conn.execute(Q.current_mutes, given)).fetchall():
        found.setdefault(tenant_id, []).append(tuple(row))
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
    """Tell the alerts whose mute began or ended, each in a transaction of its own: one that cannot be told
    keeps no other from being told that it rings again.

    No host is locked: the alert's own row is, and only if nothing else happened to it since it was read."""
    async with pool.connection() as conn:
        rows = await (await conn.execute(Q.mutable_alerts)).fetchall()
        mutes = await _rows(conn, {row[0] for row in rows}, now)
    for tenant_id, alerts in groupby(rows, key=lambda row: row[0]):
        with metrics.apart("mutes", f"tenant {tenant_id}"):
            await _turn_all(pool, alerts, [read_mute(row) for row in mutes.get(tenant_id, ())], now)


async def _turn_all(
    pool: Pool, alerts: Iterable[tuple[Any, ...]], mutes: Sequence[Mute], now: datetime
) -> None:
    """The alerts of one tenant."""
    for tenant_id, alert_id, seq, priority, labels, silenced in alerts:
        with metrics.apart("mutes", f"alert {alert_id} of tenant {tenant_id}"):
            why = reason(mutes, labels | {"priority": f"P{priority}"}, now)
            if (why is None) == (silenced is None):
                continue
            said = f"Now {why}." if why else f"No longer {silenced}; it still holds."
            given = {"tenant_id": tenant_id, "alert_id": alert_id, "seq": seq, "now": now}
            async with pool.connection() as conn:
                await conn.execute(Q.turn_mute, given | {"silenced": why, "reason": said})
