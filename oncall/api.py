"""On-call's HTTP routes: the providers' callbacks, the timelines, and acknowledgement by the API."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from oncall import published, store
from oncall.answers import Answers
from oncall.callbacks import Callbacks
from oncall.forms import signed_form, xml
from oncall.settings import Settings
from storage.pool import Pool
from wire.access import Principal, Role
from wire.clock import Clock
from wire.problem import Forbidden, NotFound

TenantId = Annotated[int, Path(ge=1, le=2**31 - 1)]
RequestId = Annotated[int, Path(ge=1, le=2**63 - 1)]
Number = Annotated[str, Path(pattern=r"^[A-Z0-9]{1,12}-[0-9]{4}-[0-9]{6,12}$", description="UCX-2026-000123")]
Via = Annotated[str, Query(max_length=64)]
Token = Annotated[str, Query(max_length=128)]
Turn = Annotated[int, Query(ge=1, le=1000)]


class Acknowledge(BaseModel):
    """Who takes the ticket in charge."""

    model_config = ConfigDict(extra="forbid")

    person: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Key of the person who answers.")
    note: str = Field(default="", max_length=500, pattern=r"^[^\x00]*$")


def router(pool: Pool, settings: Settings, clock: Clock) -> APIRouter:
    """All routes of the room."""
    routes = APIRouter(prefix="/v1/oncall", tags=["on-call"])
    _voice_routes(routes, Callbacks(pool, settings), settings, clock)
    _written_routes(routes, Answers(pool, settings), settings, clock)
    _page_routes(routes, pool, clock)
    return routes


def _voice_routes(routes: APIRouter, callbacks: Callbacks, settings: Settings, clock: Clock) -> None:
    @routes.post("/voice/{tenant_id}/{page_id}/twiml", summary="A page's call was picked up")
    async def twiml(
        request: Request, tenant_id: TenantId, page_id: UUID, via: Via, turn: Turn = 1
    ) -> Response:
        form = await signed_form(request, settings, via)
        return xml(await callbacks.answered(tenant_id, page_id, form, turn, via, clock()))

    @routes.post("/voice/{tenant_id}/{page_id}/gather", summary="A key was pressed")
    async def gather(
        request: Request, tenant_id: TenantId, page_id: UUID, via: Via, turn: Turn = 1
    ) -> Response:
        form = await signed_form(request, settings, via)
        return xml(await callbacks.key(tenant_id, page_id, form, turn, via, clock()))

    @routes.post("/voice/{tenant_id}/{page_id}/status", status_code=204, summary="What became of a call")
    async def status(request: Request, tenant_id: TenantId, page_id: UUID, via: Via) -> Response:
        form = await signed_form(request, settings, via)
        await callbacks.status(tenant_id, page_id, form, clock())
        return Response(status_code=204)


def _written_routes(routes: APIRouter, answers: Answers, settings: Settings, clock: Clock) -> None:
    @routes.post("/sms/inbound", summary="Somebody answered a message")
    async def sms_reply(request: Request, via: Via) -> Response:
        return xml(await answers.sms_reply(await signed_form(request, settings, via), clock()))

    @routes.post("/sms/{tenant_id}/{page_id}/status", status_code=204, summary="What became of a message")
    async def sms_status(request: Request, tenant_id: TenantId, page_id: UUID, via: Via) -> Response:
        await answers.sms_status(tenant_id, page_id, await signed_form(request, settings, via), clock())
        return Response(status_code=204)

    @routes.get("/answer/{tenant_id}/{page_id}", summary="The question behind the link of an email")
    async def question(tenant_id: TenantId, page_id: UUID, token: Token) -> Response:
        return _html(await answers.question(tenant_id, page_id, token))

    @routes.post("/answer/{tenant_id}/{page_id}", summary="The question was answered with yes")
    async def confirmed(tenant_id: TenantId, page_id: UUID, token: Token) -> Response:
        return _html(await answers.confirmed(tenant_id, page_id, token, clock()))


def _html(document: str) -> Response:
    headers = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"}
    return HTMLResponse(document, headers=headers)


def _page_routes(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    @routes.get("/pages", summary="Page requests and why somebody was (not) woken")
    async def pages(
        request: Request,
        tenant_id: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
        page_request_id: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
        state: Annotated[str | None, Query(pattern="^(active|acknowledged|ended)$")] = None,
        before: Annotated[int | None, Query(ge=1, le=2**63 - 1)] = None,
        limit: Annotated[int, Query(ge=1, le=100)] = 20,
    ) -> dict[str, Any]:
        _staff(request, Role.READER)
        wanted = published.Wanted(tenant_id, page_request_id, state, before, limit)
        async with pool.connection() as conn:
            return {"pages": await published.stories(conn, wanted)}

    @routes.get("/timelines/{number}", summary="Why somebody was (not) woken for a ticket, step by step")
    async def timeline(request: Request, number: Number) -> dict[str, Any]:
        """Staff see all of it. A customer's key sees its own tickets: what happened and when, never who."""
        principal: Principal = request.state.principal
        principal.require(Role.READER)
        scope = principal.scope(None)
        async with pool.connection() as conn:
            if not await published.known(conn, number, scope, principal.deployment_id):
                raise NotFound(f"There is no ticket {number}.")
            found = await published.stories(conn, published.Wanted(scope, ticket=number))
        return {"ticket": number, "pages": found if scope is None else [published.told(s) for s in found]}

    @routes.post("/page-requests/{tenant_id}/{page_request_id}/acknowledge", summary="Take it in charge")
    async def acknowledge(
        request: Request, tenant_id: TenantId, page_request_id: RequestId, body: Acknowledge
    ) -> dict[str, Any]:
        principal = _staff(request, Role.SUPPORT)
        return await _acknowledge(pool, tenant_id, page_request_id, body, principal, clock())


def _staff(request: Request, role: Role) -> Principal:
    """The caller, one of the vendor's own: timelines hold our people's numbers; only they answer pages."""
    principal: Principal = request.state.principal
    principal.require(role)
    if principal.tenant_id is not None:
        raise Forbidden("Pages are for the vendor's own staff; the ticket says who took it in charge.")
    return principal


async def _acknowledge(
    pool: Pool, tenant_id: int, page_request_id: int, body: Acknowledge, by: Principal, now: datetime
) -> dict[str, Any]:
    async with pool.connection() as conn, conn.transaction():
        person = await store.person_by_key(conn, body.person)
        if person is None:
            raise NotFound(f"There is no active person '{body.person}'.")
        proof = {"by": by.name, "note": body.note}
        found = await store.acknowledge_by_api(conn, tenant_id, page_request_id, person, now, proof)
    if not found:
        raise NotFound("There is no such page request.")
    return {"acknowledged_by": person[1], "at": now.isoformat()}
