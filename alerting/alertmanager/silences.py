"""Silences in the Alertmanager's terms: the same silences as /v1/silences, seen and made another way.

A silence belongs to one tenant: the key's, or for the vendor's staff the one that a matcher
``tenant="..."`` names. A key of one deployment makes and sees silences of that deployment alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
from psycopg import AsyncConnection

from alerting import mutes
from alerting.alertmanager.matcher import made, parts
from alerting.alertmanager.shapes import PostableSilence, stamp
from alerting.mute import Matcher, Mute, faults, occurrence_at
from storage.sql import Queries
from wire.access import Principal
from wire.problem import BadRequest, NotFound

Q = Queries.load("alerting.alertmanager")
ROOM = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
Document = dict[str, Any]
KEPT = timedelta(days=5)
"""Silences that are over are listed for so long."""
LIMIT = 5000


class Kept(msgspec.Struct, frozen=True):
    """A silence with what its row says beside it."""

    tenant_key: str
    tenant_id: int
    cancelled_at: datetime | None
    created_at: datetime
    updated_at: datetime | None
    mute: Mute

    def state(self, now: datetime) -> str:
        """``pending``, ``active`` or ``expired``."""
        if self.cancelled_at is not None or (not self.mute.recurrence and self.mute.ends_at <= now):
            return "expired"
        return "active" if occurrence_at(self.mute, now) else "pending"


async def find(conn: Connection, who: Principal, now: datetime, mute_id: UUID | None = None) -> list[Kept]:
    """Those the caller may see; of one id, or all that are not long over."""
    given = {"tenant_id": who.tenant_id, "mute_id": mute_id, "since": now - KEPT, "limit": LIMIT}
    rows = await (await conn.execute(Q.silences, given)).fetchall()
    kept = [_kept(row) for row in rows]
    if who.deployment_id is None:
        return kept
    key = await _deployment(conn, who)
    return [k for k in kept if key and any(_pins(m, "deployment", key) for m in k.mute.matchers)]


def _kept(row: tuple[Any, ...]) -> Kept:
    tenant_key, tenant_id, cancelled_at, created_at, updated_at, *rest = row
    mute = mutes.read_mute(tuple(rest))
    return Kept(tenant_key, tenant_id, cancelled_at, created_at, updated_at, mute)


def _pins(matcher: Matcher, label: str, value: str) -> bool:
    return matcher.label == label and matcher.op in ("=", "==") and matcher.pattern == value


async def _deployment(conn: Connection, who: Principal) -> str:
    given = {"tenant_id": who.tenant_id, "deployment_id": who.deployment_id}
    row = await (await conn.execute(Q.scope_of_deployment, given)).fetchone()
    return row[3] if row else ""


async def one(conn: Connection, who: Principal, now: datetime, text: str) -> Kept:
    """The silence of an id. Raises NotFound, also for another tenant's."""
    found = await find(conn, who, now, _uuid(text))
    if not found:
        raise NotFound(f"There is no silence {text[:60]}.")
    return found[0]


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFound(f"There is no silence {text[:60]}.") from None


def document(kept: Kept, now: datetime) -> Document:
    """As the Alertmanager shows it; a recurring one by its occurrence that is on, or its first."""
    mute = kept.mute
    current = occurrence_at(mute, now)
    start, end = (current.start, current.end) if current else (mute.starts_at, mute.ends_at)
    return {
        "id": str(mute.mute_id),
        "status": {"state": kept.state(now)},
        "updatedAt": stamp(kept.cancelled_at or kept.updated_at or kept.created_at),
        "comment": mute.title,
        "createdBy": mute.author,
        "startsAt": stamp(start),
        "endsAt": stamp(min(end, kept.cancelled_at) if kept.cancelled_at else end),
        "matchers": [_shape(m) for m in mute.matchers],
    }


def _shape(matcher: Matcher) -> Document:
    value, is_regex, is_equal = parts(matcher)
    return {"name": matcher.label, "value": value, "isRegex": is_regex, "isEqual": is_equal}


def seen_as(kept: Kept) -> dict[str, str]:
    """Labels by which filters find a silence: its own matchers that ask for an exact value."""
    return {m.label: m.pattern for m in kept.mute.matchers if not m.op.startswith("!")}


async def post(conn: Connection, who: Principal, posted: PostableSilence, now: datetime) -> UUID:
    """Make a silence or change one; the id it has now. Raises BadRequest or NotFound."""
    before = await one(conn, who, now, posted.id) if posted.id else None
    if before is not None and before.mute.kind != "silence":
        raise NotFound("A maintenance window is changed by /v1/maintenance.")
    matchers = await _matchers(conn, who, posted)
    tenant_id = before.tenant_id if before else await _tenant(conn, who, matchers)
    mute = _mute(posted, matchers)
    if before is not None and _may_change(before, mute, now):
        return await _change(conn, who, before, mute, now)
    if before is not None and before.state(now) != "expired":
        await mutes.cancel(conn, tenant_id, before.mute.mute_id, who.name, now)
    mute = msgspec.structs.replace(mute, starts_at=max(mute.starts_at, now))
    _check(mute, now)
    await mutes.store(conn, tenant_id, mute)
    await conn.execute(Q.note_maker, {"tenant_id": tenant_id, "mute_id": mute.mute_id, "by": who.name})
    return mute.mute_id


def _mute(posted: PostableSilence, matchers: tuple[Matcher, ...]) -> Mute:
    start, end = posted.startsAt, posted.endsAt
    return Mute(uuid4(), "silence", matchers, posted.comment, posted.createdBy, start, end, "", "UTC")


async def _matchers(conn: Connection, who: Principal, posted: PostableSilence) -> tuple[Matcher, ...]:
    try:
        found = [made(m.name, m.value, is_regex=m.isRegex, is_equal=m.isEqual) for m in posted.matchers]
    except ValueError as error:
        raise BadRequest(str(error)) from None
    if who.deployment_id is not None:
        key = await _deployment(conn, who)
        if not any(_pins(m, "deployment", key) for m in found):
            found.append(Matcher("deployment", "==", key))
    return tuple(found)


async def _tenant(conn: Connection, who: Principal, matchers: tuple[Matcher, ...]) -> int:
    if who.tenant_id is not None:
        return who.tenant_id
    keys = [m.pattern for m in matchers if m.label == "tenant" and m.op == "=="]
    row = await (await conn.execute(ROOM.tenant_id_of, {"tenant": keys[0] if keys else ""})).fetchone()
    if row is None:
        raise BadRequest('Name the customer by a matcher, as in tenant="acme": a silence belongs to one.')
    tenant_id: int = row[0]
    return tenant_id


def _check(mute: Mute, now: datetime) -> None:
    wrong = [f"{field} {message}" for field, message in faults(mute)]
    if mute.ends_at <= now:
        wrong.append("invalid silence: end time can't be in the past")
    if wrong:
        raise BadRequest("; ".join(wrong))


def _may_change(before: Kept, mute: Mute, now: datetime) -> bool:
    """As the Alertmanager has it: in place where the past stays as it was, else a new one takes over."""
    state = before.state(now)
    if state == "expired" or before.mute.recurrence:
        return False
    known = [_shape(m) for m in before.mute.matchers]
    if sorted(map(str, known)) != sorted(str(_shape(m)) for m in mute.matchers):
        return False
    if state == "active":
        return stamp(before.mute.starts_at) == stamp(mute.starts_at)
    return mute.starts_at >= now


async def _change(conn: Connection, who: Principal, before: Kept, mute: Mute, now: datetime) -> UUID:
    start = before.mute.starts_at if before.state(now) == "active" else mute.starts_at
    changed = msgspec.structs.replace(mute, mute_id=before.mute.mute_id, starts_at=start)
    _check(changed, now)
    given = {
        "tenant_id": before.tenant_id,
        "mute_id": changed.mute_id,
        "starts_at": changed.starts_at,
        "ends_at": changed.ends_at,
        "title": changed.title,
        "author": changed.author,
        "by": who.name,
        "now": now,
    }
    if (await conn.execute(Q.change_silence, given)).rowcount == 0:
        raise NotFound("The silence ended meanwhile.")
    return changed.mute_id


async def expire(conn: Connection, who: Principal, text: str, now: datetime) -> None:
    """End it now. Raises NotFound."""
    kept = await one(conn, who, now, text)
    if kept.mute.kind != "silence":
        raise NotFound("A maintenance window is ended by /v1/maintenance.")
    await mutes.cancel(conn, kept.tenant_id, kept.mute.mute_id, who.name, now)
