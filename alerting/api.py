"""Alerting's HTTP routes: alerts and their histories, failing rules, alarms of our own operations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from alerting import imports_api, mutes_api, notes, reading, rules_api, stream
from alerting.access import caller, staff
from alerting.alertmanager import api as alertmanager_api
from alerting.links import Links, Tickets
from alerting.published import State
from alerting.reading import AlarmView, AlertDetail, AlertView, FailureView, TransitionView, Wanted
from alerting.settings import Settings
from storage.pool import Pool
from wire.access import Role
from wire.clock import Clock
from wire.language import Language, preferred

_MAX_ID = 2**63 - 1
Id = Annotated[int, Path(ge=1, le=_MAX_ID)]
Key = Annotated[str | None, Query(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
RuleId = Annotated[str | None, Query(pattern=r"^[A-Za-z0-9._-]{1,100}$", description="Id of the rule")]
Priorities = Annotated[list[Annotated[int, Query(ge=1, le=4)]] | None, Query(max_length=4)]
States = Annotated[list[State] | None, Query(max_length=5)]
LanguageQuery = Annotated[Language | None, Query(description="Language of summaries and runbooks")]
LanguageHeader = Annotated[str | None, Header(max_length=500)]
IdFilter = Annotated[int | None, Query(ge=1, le=_MAX_ID)]
Before = Annotated[
    int | None, Query(ge=1, le=_MAX_ID, description="Only alerts with a lower id: the next page")
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most rows in the answer")]


def router(pool: Pool, settings: Settings, clock: Clock, tickets: Tickets | None = None) -> APIRouter:
    """All routes of the room. ``tickets``: how to find the tickets of alerts."""
    links = Links(tickets)
    routes = APIRouter(tags=["alerts"])
    stream.add_routes(routes, pool, settings, links)  # before what takes "stream" for an id
    notes.add_routes(routes, pool, clock)
    _add_alert_routes(routes, pool, links)
    _add_operations_routes(routes, pool, clock)
    rules_api.add_routes(routes, pool)
    mutes_api.add_routes(routes, pool, clock)
    imports_api.add_routes(routes, pool, clock)
    routes.include_router(alertmanager_api.router(pool, settings, clock))
    return routes


def _add_alert_routes(routes: APIRouter, pool: Pool, links: Links) -> None:
    @routes.get("/v1/alerts")
    async def list_alerts(
        request: Request,
        tenant: Key = None,
        deployment: Key = None,
        host: IdFilter = None,
        rule: RuleId = None,
        state: States = None,
        priority: Priorities = None,
        open: bool | None = None,
        muted: bool | None = None,
        before: Before = None,
        limit: Limit = 100,
        language: LanguageQuery = None,
        accept_language: LanguageHeader = None,
    ) -> list[AlertView]:
        """Alerts, newest first; summaries in ``language``, else as ``Accept-Language`` says."""
        wanted = Wanted(
            tenant=tenant,
            deployment=deployment,
            host_id=host,
            rule=rule,
            states=state or (),
            priorities=priority or (),
            is_open=open,
            muted=muted,
            before=before,
            limit=limit,
        )
        who = caller(request, Role.READER)
        async with pool.connection() as conn:
            found = await links.added(conn, await reading.alerts(conn, who, wanted))
            return await reading.in_language(conn, found, language or preferred(accept_language))

    @routes.get("/v1/alerts/{alert_id}")
    async def get_alert(
        request: Request,
        response: Response,
        alert_id: Id,
        language: LanguageQuery = None,
        accept_language: LanguageHeader = None,
    ) -> AlertDetail:
        """One alert with its runbook, in ``language``, else as ``Accept-Language`` says."""
        who = caller(request, Role.READER)
        async with pool.connection() as conn:
            found = await reading.detail(conn, who, alert_id, language or preferred(accept_language))
            (found,) = await links.added(conn, [found])
        response.headers["Content-Language"] = found.language
        return found

    @routes.get("/v1/alerts/{alert_id}/transitions")
    async def list_transitions(
        request: Request,
        alert_id: Id,
        after: Annotated[int, Query(ge=0, le=2**31 - 1, description="Only those with a higher number")] = 0,
    ) -> list[TransitionView]:
        """What happened to an alert, in order, with the reasons."""
        who = caller(request, Role.READER)
        async with pool.connection() as conn:
            return await reading.transitions(conn, who, alert_id, after)


def _add_operations_routes(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    @routes.get("/v1/rules/failing")
    async def list_failing(request: Request) -> list[FailureView]:
        """Rules of the version in force that raised while judging, or could not be read."""
        staff(request, Role.SUPPORT)
        async with pool.connection() as conn:
            return await reading.failing(conn)

    @routes.get("/v1/operations-alarms")
    async def list_alarms(request: Request) -> list[AlarmView]:
        """What our own operations must know now."""
        staff(request, Role.SUPPORT)
        async with pool.connection() as conn:
            return await reading.alarms(conn)

    @routes.post("/v1/operations-alarms/{alarm_id}/release", status_code=204)
    async def release_alarm(request: Request, alarm_id: Annotated[int, Path(ge=1, le=2**31 - 1)]) -> None:
        """Let through what the alarm holds back: a person says that it is the customers' own."""
        who = staff(request, Role.SUPPORT)
        async with pool.connection() as conn:
            await reading.release(conn, alarm_id, who.name, clock())
