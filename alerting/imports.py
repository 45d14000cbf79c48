"""Importing a calendar of maintenance windows: what it has is put in force, what it no longer has is ended.

One transaction under a lock of the calendar, so that two imports of it follow each other whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from alerting.mute import Mute
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]


class Imported(msgspec.Struct, frozen=True):
    """What an import changed."""

    added: int
    """Windows that are new, or in force again."""
    changed: int
    unchanged: int
    cancelled: int
    """In force before, and not in the calendar any more."""


def scope(tenant: str, deployment: str, host: str | None, source: str) -> str:
    """The name of a calendar: part of its windows' ids, and what they are found by."""
    return "/".join((tenant, deployment, host or "*", source))


async def store(
    conn: Connection,
    tenant_id: int,
    name: str,
    found: Sequence[Mute],
    by: str,
    now: datetime,
    *,
    keep_missing: bool,
    dry_run: bool = False,
) -> Imported:
    """Put a calendar's windows in force, inside the caller's transaction. ``name``: its ``scope``."""
    await conn.execute(Q.lock_calendar, {"tenant_id": tenant_id, "source": name})
    rows = await (await conn.execute(Q.calendar_mutes, {"tenant_id": tenant_id, "source": name})).fetchall()
    in_force = {row[0]: tuple(row[1:]) for row in rows}
    added = [mute for mute in found if mute.mute_id not in in_force]
    same = [mute for mute in found if in_force.get(mute.mute_id) == _said(mute)]
    wanted = {mute.mute_id for mute in found}
    missing = [key for key, said in in_force.items() if key not in wanted and not _over(said, now)]
    missing = [] if keep_missing else missing
    if not dry_run:
        for mute in found:
            if mute not in same:
                await conn.execute(Q.import_mute, _row(mute) | {"tenant_id": tenant_id, "source": name})
        given = {"tenant_id": tenant_id, "mute_ids": missing, "by": by, "now": now}
        await conn.execute(Q.cancel_mutes, given)
    return Imported(len(added), len(found) - len(added) - len(same), len(same), len(missing))


def _said(mute: Mute) -> tuple[Any, ...]:
    matchers = [[m.label, m.op, m.pattern] for m in mute.matchers]
    return (matchers, mute.title, mute.starts_at, mute.ends_at, mute.recurrence, mute.zone)


def _over(said: tuple[Any, ...], now: datetime) -> bool:
    """Not recurring, and past: nothing is left to cancel."""
    _, _, _, ends_at, recurrence, _ = said
    return not recurrence and bool(ends_at <= now)


def _row(mute: Mute) -> dict[str, Any]:
    matchers = [[m.label, m.op, m.pattern] for m in mute.matchers]
    return msgspec.structs.asdict(mute) | {"matchers": Jsonb(matchers)}
