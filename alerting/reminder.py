"""A reminder before a silence ends: once, to its author's address and to the receivers of its tenant.

Written as notices in the transaction that marks the silence as reminded: killed anywhere, it is written once.
A silence that recurs is reminded of before its last end; one shorter than the lead is not worth a word.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from alerting.mute import Mute, last_end
from alerting.mutes import read_mute
from alerting.notices.plan import ENDING
from alerting.settings import Settings
from storage.sql import Queries

Q = Queries.load("alerting")
N = Queries.load("alerting.notices")
Connection = AsyncConnection[tuple[Any, ...]]
MAIL = "mailto:"
"""Begins the name of a receiver that is an address, not one of the settings'."""


async def write(conn: Connection, settings: Settings, now: datetime) -> int:
    """Write what is due inside the caller's transaction; returns how many silences it tells of."""
    lead = timedelta(seconds=settings.silence_reminder_s)
    if not lead:
        return 0
    rows = await (await conn.execute(Q.ending_silences, {"now": now, "until": now + lead})).fetchall()
    done = 0
    for tenant_id, tenant, remind, *values in rows:
        mute = read_mute(tuple(values))
        ends = last_end(mute, now)
        if ends is None or ends - now > lead:
            continue
        done += 1
        await conn.execute(Q.reminded, {"tenant_id": tenant_id, "mute_id": mute.mute_id, "now": now})
        if mute.ends_at - mute.starts_at > lead:
            said = document(mute, tenant, ends, await _firing(conn, tenant_id, mute), now)
            for receiver in _receivers(settings, tenant, remind):
                given = {"notice_id": uuid4(), "receiver": receiver, "document": Jsonb(said), "now": now}
                await conn.execute(N.add_notice, given)
    return done


async def _firing(conn: Connection, tenant_id: int, mute: Mute) -> int:
    rows = await (await conn.execute(Q.firing_labels, {"tenant_id": tenant_id})).fetchall()
    return sum(mute.matches(labels) for (labels,) in rows)


def _receivers(settings: Settings, tenant: str, remind: str | None) -> list[str]:
    names = [r.name for r in settings.notice_receivers if r.tenant in ("", tenant)]
    return names + ([MAIL + remind] if remind else [])


def document(mute: Mute, tenant: str, ends: datetime, firing: int, now: datetime) -> dict[str, Any]:
    """What a reminder says."""
    return {
        "type": ENDING,
        "timestamp": now.isoformat(),
        "data": {
            "silence": str(mute.mute_id),
            "tenant": tenant,
            "title": mute.title,
            "author": mute.author,
            "ends_at": ends.isoformat(),
            "matchers": [f"{m.label}{m.op}{m.pattern}" for m in mute.matchers],
            "firing": firing,
        },
    }
