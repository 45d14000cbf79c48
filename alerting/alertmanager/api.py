"""The routes under /api/v2, as the Alertmanager's own specification has them.

They are not in our OpenAPI document: their document is the Alertmanager's, refusals included (a JSON text).
Beyond it: 403 and 429, where a key may not do it or too much is open.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Coroutine
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from alerting.access import caller
from alerting.alertmanager import listing, push, silences
from alerting.alertmanager.listing import DESK, Asked
from alerting.alertmanager.matcher import parse
from alerting.alertmanager.pushed import Pushed, read
from alerting.alertmanager.shapes import MAX_ALERTS, PostableAlert, PostableSilence, stamp
from alerting.mute import Matcher
from alerting.settings import Settings
from storage.pool import Pool
from wire.access import Principal, Role
from wire.clock import Clock
from wire.problem import BadRequest, Forbidden, Problem, TooBusy

Filter = Annotated[list[str] | None, Query(max_length=50)]
Receiver = Annotated[str, Query(max_length=1000)]
_CONFIG = f"route:\n  receiver: {DESK}\nreceivers:\n- name: {DESK}\n"
_UNREADABLE = 422


class _Route(APIRoute):
    """A route whose refusals are what the Alertmanager's clients can read: a status and a JSON text."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answered(request: Request) -> Response:
            try:
                return await handle(request)
            except RequestValidationError as error:
                said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:10])
                return JSONResponse(said.encode("utf-8", "replace").decode(), 400)
            except HTTPException as error:  # a body that no parser gets through
                return JSONResponse(str(error.detail), error.status_code)
            except Problem as problem:
                status = 400 if problem.status == _UNREADABLE else problem.status
                return JSONResponse(problem.detail, status, problem.headers())

        return answered


def router(pool: Pool, settings: Settings, clock: Clock) -> APIRouter:
    """All routes of the Alertmanager's API."""
    routes = APIRouter(prefix="/api/v2", route_class=_Route, include_in_schema=False)
    started = clock()
    _add_status_routes(routes, started)
    _add_alert_routes(routes, pool, settings, clock)
    _add_push_route(routes, pool, settings, clock)
    _add_silence_routes(routes, pool, clock)
    return routes


def _add_status_routes(routes: APIRouter, started: datetime) -> None:
    @routes.get("/status")
    async def status(request: Request) -> dict[str, Any]:
        caller(request, Role.READER)
        unknown = dict.fromkeys(("revision", "branch", "buildUser", "buildDate", "goVersion"), "")
        return {
            "cluster": {"name": "", "status": "disabled", "peers": []},
            "config": {"original": _CONFIG},
            "uptime": stamp(started),
            "versionInfo": unknown | {"version": importlib.metadata.version("ucx-proactive")},
        }

    @routes.get("/receivers")
    async def receivers(request: Request) -> list[dict[str, str]]:
        caller(request, Role.READER)
        return [{"name": DESK}]


def _add_alert_routes(routes: APIRouter, pool: Pool, settings: Settings, clock: Clock) -> None:
    async def listed(who: Principal, asked: Asked) -> list[dict[str, Any]]:
        async with pool.connection() as conn:
            return await listing.alerts(conn, who, asked, settings, clock())

    @routes.get("/alerts")
    async def alerts(
        request: Request,
        filter: Filter = None,
        active: bool = True,
        silenced: bool = True,
        inhibited: bool = True,
        unprocessed: bool = True,  # none of ours ever is
        receiver: Receiver = "",
    ) -> list[dict[str, Any]]:
        who = caller(request, Role.READER)
        return await listed(who, Asked(_matchers(filter), active, silenced, inhibited, receiver))

    @routes.get("/alerts/groups")
    async def groups(
        request: Request,
        filter: Filter = None,
        active: bool = True,
        silenced: bool = True,
        inhibited: bool = True,
        receiver: Receiver = "",
    ) -> list[dict[str, Any]]:
        who = caller(request, Role.READER)
        found = await listed(who, Asked(_matchers(filter), active, silenced, inhibited, receiver))
        return listing.groups(found)


def _matchers(texts: list[str] | None) -> tuple[Matcher, ...]:
    try:
        return tuple(parse(text) for text in texts or ())
    except ValueError as error:
        raise BadRequest(str(error)) from None


def _add_push_route(routes: APIRouter, pool: Pool, settings: Settings, clock: Clock) -> None:
    @routes.post("/alerts")
    async def post(
        request: Request, posted: Annotated[list[PostableAlert], Body(max_length=MAX_ALERTS)]
    ) -> Response:
        tenant_id, deployment_id, by = _pusher(request)
        now = clock()
        pushed, wrong = _read_all(posted, settings, now)
        async with pool.connection() as conn, conn.transaction():
            gate = await push.Gate.lock(conn, tenant_id, deployment_id, now)
            if gate is None:
                raise Forbidden("The key's deployment is gone.")
            refused = sum([not await gate.take(one, by, settings.pushed_limit) for one in pushed])
        push.count_refused(refused, by)
        if refused:
            raise TooBusy(
                f"{refused} new alert(s) refused: {settings.pushed_limit} are open already.", retry_after_s=60
            )
        if wrong:
            raise BadRequest("; ".join(wrong[:10]))
        return Response(status_code=200)


def _pusher(request: Request) -> tuple[int, int, str]:
    """Whose alerts these are. Raises Forbidden for a key that is not a deployment's own."""
    who: Principal = request.state.principal
    if who.role is not Role.INTEGRATION:
        who.require(Role.SUPPORT)
    if who.tenant_id is None or who.deployment_id is None:
        raise Forbidden("Alerts are pushed with a deployment's own key: make one with the role integration.")
    return who.tenant_id, who.deployment_id, who.name


def _read_all(
    posted: list[PostableAlert], settings: Settings, now: datetime
) -> tuple[list[Pushed], list[str]]:
    """Those that are good, the last of each, and what is wrong with the others."""
    good: dict[tuple[str, str], Pushed] = {}
    wrong = []
    for alert in posted:
        try:
            pushed = read(alert, settings, now)
        except ValueError as error:
            wrong.append(str(error))
        else:
            good[(pushed.rule_id, pushed.instance)] = pushed
    return list(good.values()), wrong


def _add_silence_routes(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    @routes.get("/silences")
    async def listed(request: Request, filter: Filter = None, creator: Filter = None) -> list[dict[str, Any]]:
        who, now, wanted = caller(request, Role.READER), clock(), _matchers(filter)
        async with pool.connection() as conn:
            found = await silences.find(conn, who, now)
        kept = [k for k in found if all(m.matches(silences.seen_as(k)) for m in wanted)]
        return [silences.document(k, now) for k in kept if not creator or k.mute.author in creator]

    @routes.post("/silences")
    async def post(request: Request, posted: PostableSilence) -> dict[str, str]:
        who = caller(request, Role.SUPPORT)
        async with pool.connection() as conn, conn.transaction():
            return {"silenceID": str(await silences.post(conn, who, posted, clock()))}

    @routes.get("/silence/{silence_id}")
    async def one(request: Request, silence_id: str) -> dict[str, Any]:
        who, now = caller(request, Role.READER), clock()
        async with pool.connection() as conn:
            return silences.document(await silences.one(conn, who, now, silence_id), now)

    @routes.delete("/silence/{silence_id}")
    async def expire(request: Request, silence_id: str) -> Response:
        who = caller(request, Role.SUPPORT)
        async with pool.connection() as conn:
            await silences.expire(conn, who, silence_id, clock())
        return Response(status_code=200)
