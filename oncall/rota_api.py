"""HTTP routes for rotas: who is on call, shifts, gaps, overrides, absences, the document, calendar feeds.

Rotas are the vendor's own affair: a customer's key reads none of this.
"""

from __future__ import annotations

import asyncio
from datetime import date, timedelta
from typing import Annotated, Any
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from oncall import rota_feeds
from oncall import rota_view as view
from oncall.document import MAX_BYTES
from oncall.fairness import burdens
from oncall.gaps import rota_gaps
from oncall.ical_import import BadCalendar, Task, read
from oncall.roster import (
    Conn,
    OtherRota,
    R,
    RefusedRota,
    Stored,
    add_override,
    delete_override,
    replace_absences,
    save,
)
from oncall.rota_desk import (
    LONGEST,
    TEXT,
    Desk,
    End,
    Key,
    KeyPath,
    Moment,
    Start,
    Wanted,
    bounded,
    chosen,
    staff,
    text_of,
)
from oncall.rota_file import BadRota
from oncall.rota_terms import holidays_of
from oncall.schedule import Absence, Override, Schedule, shifts
from oncall.settings import Settings
from oncall.watch import Alarm, newest, shout
from storage.pool import Pool
from wire.access import Role
from wire.clock import Clock
from wire.problem import Conflict, FieldError, NotFound, Unprocessable

CONTRACT_LIMIT_S = 3600
"""Time to reach a person, where composition gives none from the support policy."""
MAX_OVERRIDES = 2_000


class NewOverride(BaseModel):
    """Somebody takes (part of) a schedule for a while."""

    model_config = ConfigDict(extra="forbid")

    schedule: Key
    person: Key
    instead_of: Key | None = Field(default=None, description="Only for this person; without: for everybody.")
    start: Moment
    end: Moment
    reason: str = Field(default="", max_length=500, pattern=TEXT)


def router(
    pool: Pool,
    settings: Settings,
    clock: Clock,
    *,
    limit_s: int = CONTRACT_LIMIT_S,
    alarm: Alarm = shout,
) -> APIRouter:
    """All routes of the rotas. ``limit_s``: the contract's seconds to reach a person (policies are refused
    that cannot); ``alarm`` is called with what a look for gaps finds."""
    routes = APIRouter(prefix="/v1/oncall", tags=["on-call rotas"])
    desk = Desk(pool, settings, clock, limit_s, alarm)
    _document_routes(routes, desk)
    _schedule_routes(routes, desk)
    _looking_routes(routes, desk)
    _changing_routes(routes, desk)
    rota_feeds.add_routes(routes, desk)
    return routes


def _document_routes(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/rota", summary="The rota in force, as it was saved")
    async def get_rota(request: Request) -> Response:
        staff(request, Role.READER)
        async with desk.pool.connection() as conn:
            row = await (await conn.execute(R.newest_document)).fetchone()
        if row is None:
            raise NotFound("No rota is in force yet: PUT one to /v1/oncall/rota.")
        return Response(row[1], media_type="application/yaml; charset=utf-8", headers={"ETag": f'"{row[0]}"'})

    @routes.put("/rota", summary="Put a rota in force (YAML), checked against contract and calendar")
    async def put_rota(request: Request) -> dict[str, Any]:
        principal = staff(request, Role.ADMIN)
        document, instead_of = await text_of(request, MAX_BYTES), _if_match(request)
        async with desk.pool.connection() as conn:
            rota_id = await _saved(conn, document, desk, principal.name, instead_of)
            return {"rota_id": rota_id} | await desk.look(conn, "save")


def _schedule_routes(routes: APIRouter, desk: Desk) -> None:
    """Who is on call, now and then."""

    @routes.get("/schedules", summary="The schedules in force")
    async def schedules(request: Request) -> dict[str, Any]:
        staff(request, Role.READER)
        stored = await desk.in_force()
        return {
            "rota_id": stored.rota_id,
            "schedules": [_schedule(s) for s in stored.rota.schedules.values()],
        }

    @routes.get("/who", summary="Who is on call at an instant")
    async def who(request: Request, at: Moment | None = None, schedule: Wanted = None) -> dict[str, Any]:
        staff(request, Role.READER)
        stored = await desk.in_force()
        wanted, when = chosen(stored, schedule), at or desk.clock()
        return await asyncio.to_thread(view.who_view, wanted, when, stored.rota.names)

    @routes.get("/shifts", summary="Shifts within a stretch of time")
    async def get_shifts(
        request: Request, start: Start, end: End, schedule: Wanted = None, person: Wanted = None
    ) -> dict[str, Any]:
        staff(request, Role.READER)
        bounded(start, end)
        stored = await desk.in_force()
        each = [await asyncio.to_thread(shifts, one, start, end) for one in chosen(stored, schedule)]
        found = [s for own in each for s in own if person in (None, s.person_key)]
        return {"shifts": [view.shift_view(shift, stored.rota.names) for shift in found]}


def _looking_routes(routes: APIRouter, desk: Desk) -> None:
    """What the schedules come to: gaps, and who carries how much."""

    @routes.get("/gaps", summary="Contracted time in which nobody can be reached")
    async def gaps(request: Request, start: Start, end: End) -> dict[str, Any]:
        staff(request, Role.READER)
        bounded(start, end)
        stored = await desk.in_force()
        found = await asyncio.to_thread(rota_gaps, stored.rota, start, end)
        return {"gaps": [view.gap_view(gap) for gap in found]}

    @routes.get("/fairness", summary="Who carries how many hours, nights, weekends and public holidays")
    async def fairness(
        request: Request,
        start: Start,
        end: End,
        schedule: Wanted = None,
        holidays: Annotated[str, Query(pattern="^[A-Za-z]{2}$", description="Whose holidays count")] = "IT",
    ) -> dict[str, Any]:
        staff(request, Role.READER)
        bounded(start, end)
        days = _holidays(holidays)
        stored = await desk.in_force()
        names, found = stored.rota.names, {}
        for one in chosen(stored, schedule):
            lines = await asyncio.to_thread(burdens, one, days, start, end)
            found[one.name] = [view.burden_view(line, names) for line in lines]
        return {"from": view.stamp(start), "to": view.stamp(end), "schedules": found}

    @routes.get("/gaps/newest", summary="What the newest look ahead found")
    async def newest_look(request: Request) -> dict[str, Any]:
        staff(request, Role.READER)
        async with desk.pool.connection() as conn:
            look = await newest(conn)
        if look is None:
            raise NotFound("Nobody has looked for gaps yet.")
        return view.look_view(look)


def _holidays(country: str) -> frozenset[date]:
    try:
        return holidays_of(country.upper())
    except ValueError as error:
        raise Unprocessable(str(error), errors=[FieldError("holidays", str(error))]) from None


def _changing_routes(routes: APIRouter, desk: Desk) -> None:
    @routes.get("/overrides", summary="Overrides made through the API")
    async def overrides(request: Request) -> dict[str, Any]:
        staff(request, Role.READER)
        since = {"since": desk.clock() - timedelta(days=7)}
        async with desk.pool.connection() as conn:
            rows = await (await conn.execute(R.live_overrides, since)).fetchall()
        return {"overrides": [_override(row) for row in rows]}

    @routes.post("/overrides", status_code=201, summary="Take (part of) a schedule for a while")
    async def make_override(request: Request, body: NewOverride) -> dict[str, Any]:
        principal = staff(request, Role.SUPPORT)
        made = Override(str(uuid4()), body.person, body.start, body.end, body.instead_of, body.reason)
        async with desk.pool.connection() as conn:
            async with conn.transaction():
                _check_override(body, await desk.stored(conn))
                await add_override(conn, body.schedule, made, desk.clock(), principal.name)
            return {"override_id": made.override_id} | await desk.look(conn)

    @routes.delete("/overrides/{override_id}", summary="Take an override back")
    async def drop_override(request: Request, override_id: UUID) -> dict[str, Any]:
        principal = staff(request, Role.SUPPORT)
        async with desk.pool.connection() as conn:
            if not await delete_override(conn, override_id, desk.clock(), principal.name):
                raise NotFound("There is no such override in force.")
            return await desk.look(conn)

    @routes.put("/absences/{person}/{source}", summary="Import absences from a person's calendar")
    async def import_absences(request: Request, person: KeyPath, source: KeyPath) -> dict[str, Any]:
        principal, now = staff(request, Role.SUPPORT), desk.clock()
        text = await text_of(request, MAX_BYTES * 2)
        callee = (await desk.in_force()).rota.people.get(person)
        if callee is None:
            raise NotFound(f"There is no active person '{person}'.")
        task = Task(text, person, callee.zone, now - timedelta(days=30), now + LONGEST)
        away = await _unfolded(task)
        async with desk.pool.connection() as conn:
            await replace_absences(conn, person, source, away, now, principal.name)
            return {"absences": len(away)} | await desk.look(conn)


def _if_match(request: Request) -> int | None:
    """The rota that the caller has seen (its ETag), if they say so."""
    text = request.headers.get("if-match", "*").strip()
    if text == "*":
        return None
    number = text.strip('"')
    if not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise Conflict("If-Match is not the ETag of a rota.")
    return int(number)


async def _saved(conn: Conn, document: str, desk: Desk, actor: str, instead_of: int | None) -> int:
    try:
        return await save(conn, document, desk.clock(), actor, desk.limit_s, instead_of=instead_of)
    except OtherRota as refusal:
        raise Conflict(str(refusal)) from None
    except BadRota as refusal:
        errors = [FieldError(f.field or "document", f"line {f.line}: {f.message}") for f in refusal.faults]
        raise Unprocessable("The rota cannot be read; nothing was changed.", errors=errors) from None
    except RefusedRota as refusal:
        errors = [FieldError("document", reason) for reason in refusal.reasons]
        raise Unprocessable("The rota is refused; nothing was changed.", errors=errors) from None


async def _unfolded(task: Task) -> tuple[Absence, ...]:
    try:
        return await read(task)
    except BadCalendar as refusal:
        raise Unprocessable(str(refusal), errors=[FieldError("body", str(refusal))]) from None


def _check_override(body: NewOverride, stored: Stored) -> None:
    rota, errors = stored.rota, []
    if body.schedule not in rota.schedules:
        errors.append(FieldError("schedule", f"there is no schedule '{body.schedule}'"))
    for field, key in (("person", body.person), ("instead_of", body.instead_of)):
        if key is not None and key not in rota.people:
            errors.append(FieldError(field, f"there is no active person '{key}'"))
    if body.person == body.instead_of:
        errors.append(FieldError("instead_of", "must be somebody else than 'person'"))
    if not body.start < body.end <= body.start + LONGEST:
        errors.append(FieldError("end", f"must be after 'start', by at most {LONGEST.days} days"))
    if sum(len(one.overrides) for one in rota.schedules.values()) >= MAX_OVERRIDES:
        errors.append(
            FieldError("body", f"there are {MAX_OVERRIDES} overrides already: change the rota instead")
        )
    if errors:
        raise Unprocessable("The override was not made.", errors=errors)


def _schedule(schedule: Schedule) -> dict[str, Any]:
    layers = [
        {
            "name": layer.name,
            "zone": layer.rotation.zone,
            "turns": layer.rotation.turns,
            "starts": layer.rotation.starts.isoformat(timespec="minutes"),
            "every_hours": layer.rotation.every_hours,
            "windows": [{"opens_minute": w.opens, "minutes": w.length} for w in layer.windows],
        }
        for layer in schedule.layers
    ]
    return {"name": schedule.name, "zone": schedule.zone, "layers": layers}


def _override(row: tuple[Any, ...]) -> dict[str, Any]:
    names = (
        "override_id",
        "schedule",
        "person",
        "instead_of",
        "start",
        "end",
        "reason",
        "made_at",
        "made_by",
    )
    return dict(zip(names, row, strict=True))
