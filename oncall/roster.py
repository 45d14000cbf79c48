"""The rota in the database: the saved document, what people changed since, and the looks for gaps.

The newest saved document is in force. Overrides made through the API and absences imported from calendars
lie on top of it (made later, so they win). People's zones, languages, roles and addresses are those of the
``person`` table; from the document's own ``people`` only quiet hours are taken.

    OncallError
    |- RefusedRota   a document that reads well but must not be put in force; ``reasons`` says why
    `- OtherRota     another document was put in force meanwhile
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Any
from uuid import UUID

import msgspec
from psycopg import AsyncConnection

from oncall.errors import OncallError
from oncall.policy import Callee, PagingPolicy, RoleHeld, Selector, Transport, WhoIsOn
from oncall.policy_check import refusals
from oncall.rota_file import Rota, parse, with_absences
from oncall.schedule import Absence, Override, people_of, who
from oncall.settings import is_e164
from storage.sql import Queries
from storage.sql import parse as parse_sql
from ticketing.published import Person, people

R = Queries(
    parse_sql(files("oncall").joinpath("rota.sql").read_text("utf-8"), "oncall/rota.sql"), "oncall/rota.sql"
)
Conn = AsyncConnection[tuple[Any, ...]]
KEPT = timedelta(days=400)
"""Overrides and absences are loaded until so long after their end, for looks into the past."""


class RefusedRota(OncallError):
    """The document must not be put in force."""

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__("\n".join(reasons))


class OtherRota(OncallError):
    """Another document was put in force meanwhile."""


class Stored(msgspec.Struct, frozen=True):
    """The rota in force."""

    rota_id: int
    rota: Rota
    changed_at: datetime
    """When the document, an override or an absence was last changed."""
    saved_by: str


async def load(conn: Conn, now: datetime) -> Stored | None:
    """The rota in force with everything that lies on top of it; None: none was ever saved.

    Raises BadRota when the stored document cannot be read by this program."""
    row = await (await conn.execute(R.newest_document)).fetchone()
    if row is None:
        return None
    rota_id, document, saved_at, saved_by = row
    since = {"since": now - KEPT}
    overrides = await (await conn.execute(R.live_overrides, since)).fetchall()
    absences = await (await conn.execute(R.live_absences, since)).fetchall()
    changed = await (await conn.execute(R.last_change)).fetchone()
    rota = with_people(_parsed(document), await people(conn))
    rota = with_absences(_with_overrides(rota, overrides), (Absence(*absence[:4]) for absence in absences))
    return Stored(rota_id, rota, changed[0] if changed else saved_at, saved_by)


async def save(
    conn: Conn, document: str, now: datetime, actor: str, limit_s: int, *, instead_of: int | None = None
) -> int:
    """Put ``document`` in force and return its id. ``limit_s``: the contract's time to reach a person.

    ``instead_of``: only if that one is in force still, so that nobody undoes a change they have not seen.
    Raises BadRota, RefusedRota or OtherRota; then nothing is changed."""
    rota = parse(document)
    reasons = [reason for policy in rota.policies.values() for reason in refusals(policy, limit_s)]
    reasons += _strangers(rota, await people(conn))
    if rota.calendars:
        reasons.append("absences: 'calendar' names a file; import the calendar through the API instead")
    if reasons:
        raise RefusedRota(reasons)
    async with conn.transaction():
        await _still(conn, instead_of)
        row = await (
            await conn.execute(R.save_document, {"document": document, "now": now, "actor": actor})
        ).fetchone()
    assert row is not None
    return int(row[0])


async def _still(conn: Conn, expected: int | None) -> None:
    """Raise OtherRota unless ``expected`` is in force; holds off other savers until the commit."""
    await conn.execute(R.one_saves)
    row = await (await conn.execute(R.newest_document)).fetchone()
    if expected is not None and (row is None or row[0] != expected):
        raise OtherRota(f"rota {expected} is no longer in force; read the new one and change that")


@lru_cache(maxsize=4)
def _parsed(document: str) -> Rota:
    """The document is the same for months and is asked for at every step of every page."""
    return parse(document)


def with_people(rota: Rota, staff: Iterable[Person]) -> Rota:
    """The rota with the people of the database instead of its own."""
    callees = {person.key: _callee(person, rota.people) for person in staff if person.active}
    names = {person.key: person.name for person in staff}
    return msgspec.structs.replace(rota, people=callees, names=names)


def who_is_on(rota: Rota, now: datetime) -> WhoIsOn:
    """The rota at ``now``, as the paging policies ask for it."""
    on_call = {
        name: tuple(one.person_key for one in who(schedule, now)) for name, schedule in rota.schedules.items()
    }
    return WhoIsOn(on_call, rota.people)


def policy_named(rota: Rota, name: str) -> PagingPolicy | None:
    """The paging policy of that name; None: the rota has none (ring by the settings' list, and say so)."""
    return rota.policies.get(name)


def named_people(rota: Rota) -> frozenset[str]:
    """Everybody that schedules, overrides and policies name."""
    scheduled = (people_of(schedule) for schedule in rota.schedules.values())
    selectors: Iterable[Selector] = (w for p in rota.policies.values() for s in p.steps for w in s.who)
    return frozenset().union(*scheduled, (one.name for one in selectors if one.kind == "person"))


async def add_override(conn: Conn, schedule: str, override: Override, now: datetime, actor: str) -> None:
    """Add an override; adding the same id twice changes nothing."""
    values = {
        "override_id": UUID(override.override_id),
        "schedule": schedule,
        "person_key": override.person_key,
        "replaces": override.replaces,
        "starts": override.start,
        "ends": override.end,
        "reason": override.reason,
    }
    await conn.execute(R.add_override, values | {"now": now, "actor": actor})


async def delete_override(conn: Conn, override_id: UUID, now: datetime, actor: str) -> bool:
    """Take an override back; False: there is no such live override."""
    values = {"override_id": override_id, "now": now, "actor": actor}
    return await (await conn.execute(R.delete_override, values)).fetchone() is not None


async def replace_absences(
    conn: Conn, person_key: str, source: str, absences: Iterable[Absence], now: datetime, actor: str
) -> None:
    """Put the absences of one calendar in the place of those of its earlier import, all or nothing."""
    whose = {"person_key": person_key, "source": source}
    async with conn.transaction():
        await conn.execute(R.forget_absences, whose)
        for one in absences:
            span = {"starts": one.start, "ends": one.end, "reason": one.reason}
            await conn.execute(R.add_absence, {**whose, **span, "now": now, "actor": actor})


def _with_overrides(rota: Rota, rows: Iterable[tuple[Any, ...]]) -> Rota:
    made: dict[str, list[Override]] = {}
    for override_id, schedule, person_key, replaces, starts, ends, reason, *_ in rows:
        made.setdefault(schedule, []).append(
            Override(str(override_id), person_key, starts, ends, replaces, reason)
        )
    schedules = {
        name: msgspec.structs.replace(one, overrides=(*one.overrides, *made.get(name, ())))
        for name, one in rota.schedules.items()
    }
    return msgspec.structs.replace(rota, schedules=schedules)


def _callee(person: Person, declared: Mapping[str, Callee]) -> Callee:
    quiet = declared[person.key].quiet if person.key in declared else ()
    roles = tuple(RoleHeld(held.role, held.theatre) for held in person.roles)
    return Callee(person.key, person.zone, person.languages, roles, _transports(person), quiet)


def _transports(person: Person) -> frozenset[Transport]:
    found: set[Transport] = {"webhook"}
    if person.phone is not None and is_e164(person.phone):
        found |= {"voice", "sms"}
    if person.email:
        found.add("email")
    return frozenset(found)


def _strangers(rota: Rota, staff: Iterable[Person]) -> list[str]:
    """Names that are nobody's, or of people who left or cannot be rung: a typo here is a silent phone."""
    callees = with_people(rota, staff).people
    missing = sorted(key for key in named_people(rota) if key not in callees)
    silent = sorted(
        key for key in named_people(rota) if key in callees and "voice" not in callees[key].transports
    )
    return [f"'{key}' is not an active person of the registry" for key in missing] + [
        f"'{key}' has no phone number in the registry and cannot be rung" for key in silent
    ]
