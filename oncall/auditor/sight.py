"""What the database shows to the auditor: one connection, one read-only snapshot, nothing kept open."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from oncall import roster
from oncall.auditor.audit import Number
from oncall.auditor.files import Line
from oncall.auditor.finding import (
    CriticalAlert,
    GapLook,
    OnCallAlarm,
    OperationsAlarm,
    Reported,
    Snapshot,
    Switch,
)
from oncall.auditor.settings import Settings
from oncall.rota_file import BadRota
from oncall.settings import is_e164
from storage.sql import Queries

Q = Queries.load("oncall.auditor")
Conn = AsyncConnection[tuple[Any, ...]]
WITHIN_S = 20.0
"""Longest time for one look; a database that hangs is a database that is away."""


class Sight(msgspec.Struct, frozen=True):
    """One look at the database."""

    snapshot: Snapshot
    people: tuple[Number, ...]
    """Whom to ring, in order."""


async def look(url: str, s: Settings, now: datetime, unsent: Sequence[Line]) -> Sight:
    """Look, and leave the journal's new lines there. Raises psycopg.Error, OSError or TimeoutError."""
    async with asyncio.timeout(WITHIN_S):
        conn = await AsyncConnection.connect(url, autocommit=True, connect_timeout=5)
        async with conn:
            await conn.execute("SET TimeZone TO 'UTC'")
            await conn.execute("SET statement_timeout TO '15s'")
            async with conn.transaction():
                await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
                sight = await _seen(conn, s, now)
            await _leave(conn, s.name, unsent)
    return sight


async def _seen(conn: Conn, s: Settings, now: datetime) -> Sight:
    on_call, people = await _people(conn, s, now)
    alerts = await _rows(conn, Q.critical_alerts, {"plans": list(s.plans)})
    looks = await _rows(conn, Q.gap_look)
    operations = await _rows(conn, Q.operations)
    [(since, answered)] = await _rows(conn, Q.synthetic)
    snapshot = Snapshot(
        alerts=tuple(CriticalAlert(*row) for row in alerts),
        reported=tuple(
            Reported(kind, CriticalAlert(*row))
            for kind, *row in await _newer(conn, Q.reported, {"plans": list(s.plans)})
        ),
        alarms=tuple(OnCallAlarm(*row) for row in await _newer(conn, Q.alarms)),
        gap_look=GapLook(*looks[0]) if looks else None,
        off=await _switch(conn),
        operations=tuple(OperationsAlarm(*row) for row in operations),
        synthetic_since=since,
        synthetic_at=answered,
        untested=await _untested(conn, on_call, s, now),
    )
    return Sight(snapshot, people)


async def _rows(conn: Conn, query: bytes, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    return await (await conn.execute(query, values)).fetchall()


async def _newer(conn: Conn, query: bytes, values: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    """Rows of tables that a database has only after its next migration: an auditor may be updated first."""
    try:
        async with conn.transaction():
            return await _rows(conn, query, values)
    except psycopg.errors.UndefinedTable:
        return []


async def _switch(conn: Conn) -> Switch | None:
    rows = await _rows(conn, Q.switch)
    return Switch(*rows[0][1:]) if rows and not rows[0][0] else None


async def _people(conn: Conn, s: Settings, now: datetime) -> tuple[dict[str, str], tuple[Number, ...]]:
    """Key and name of those on call now, and everybody to ring: they, then by role, then the settings'."""
    rows = [row for row in await _rows(conn, Q.phones) if is_e164(row[2])]
    by_key = {key: Number(name, phone) for key, name, phone, _ in rows}
    keys = [key for key in await _on_call(conn, now) if key in by_key]
    held = {role: [row[0] for row in rows if any(h.get("role") == role for h in row[3])] for role in s.roles}
    order = dict.fromkeys([*keys, *(key for role in s.roles for key in held[role])])
    own = [Number("colleague", number) for number in s.numbers]
    listed = {number.number: number for number in [*own, *(by_key[key] for key in order)]}
    people = [by_key[key] for key in order] + [n for n in own if listed[n.number] is n]
    watched = keys or held.get("on-call", [])
    return {key: by_key[key].name for key in watched}, tuple(people)


async def _on_call(conn: Conn, now: datetime) -> list[str]:
    try:
        async with conn.transaction():
            stored = await roster.load(conn, now)
    except BadRota:
        return []  # the look for gaps says so; roles and settings name people all the same
    if stored is None:
        return []
    schedules = roster.who_is_on(stored.rota, now).schedules
    return list(dict.fromkeys(key for keys in schedules.values() for key in keys))


async def _untested(conn: Conn, on_call: dict[str, str], s: Settings, now: datetime) -> tuple[str, ...]:
    age = timedelta(seconds=s.test_age_s)
    [(since,)] = await _rows(conn, Q.tests_in_use)
    if since is None or since > now - age:
        return ()
    confirmed = {key for (key,) in await _rows(conn, Q.confirmed, {"since": now - age})}
    return tuple(name for key, name in on_call.items() if key not in confirmed)


async def _leave(conn: Conn, auditor: str, unsent: Sequence[Line]) -> None:
    for line in unsent:
        values = msgspec.structs.asdict(line) | {"detail": Jsonb(line.detail), "auditor": auditor}
        await conn.execute(Q.keep, values)
