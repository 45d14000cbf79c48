"""HTTP of the on-call line: the provider's signed webhooks, and the PINs for our own administrators."""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from oncall import alarm, metrics, pins
from oncall.alarm import Conn
from oncall.errors import PinRefused
from oncall.forms import signed_form, xml
from oncall.inbound import Inbound, ringing
from oncall.pin import shown
from oncall.settings import Settings
from oncall.voice import twiml
from oncall.voice.caller import BROKEN
from storage.pool import Pool
from wire.access import Principal, Role
from wire.clock import Clock
from wire.problem import Conflict, Forbidden

log = logging.getLogger(__name__)
Via = Annotated[str, Query(max_length=64)]
Turn = Annotated[int, Query(ge=1, le=1000)]
Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class PinOf(BaseModel):
    """Whose PIN."""

    model_config = ConfigDict(extra="forbid")

    tenant: Key
    deployment: Key


def router(pool: Pool, settings: Settings, clock: Clock) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/oncall", tags=["on-call"])
    _add_line(routes, pool, settings, clock)
    _add_pins(routes, pool, settings, clock)
    return routes


def _add_line(routes: APIRouter, pool: Pool, settings: Settings, clock: Clock) -> None:
    line = Inbound(pool, settings)

    @routes.post("/inbound/call", summary="A customer rings the on-call line")
    async def call(request: Request, via: Via, turn: Turn = 1) -> Response:
        form = await signed_form(request, settings, via)
        return await _spoken(line.begin(ringing(form, via), turn, clock()), pool, clock)

    @routes.post("/inbound/pin", summary="A PIN was entered")
    async def pin(request: Request, via: Via, turn: Turn) -> Response:
        form = await signed_form(request, settings, via)
        work = line.entered(ringing(form, via), form.get("Digits", ""), turn, clock())
        return await _spoken(work, pool, clock)

    @routes.post("/inbound/confirm", summary="The caller says that it cannot wait")
    async def confirm(request: Request, via: Via, turn: Turn = 1) -> Response:
        form = await signed_form(request, settings, via)
        work = line.confirmed(ringing(form, via), form.get("Digits", ""), turn, clock())
        return await _spoken(work, pool, clock)


async def _spoken(work: Awaitable[str], pool: Pool, clock: Clock) -> Response:
    """The document, or words for a person who has nobody else to call: an error would only play a tone."""
    try:
        return xml(await work)
    except Exception as error:
        metrics.INBOUND.labels("broken").inc()
        log.exception("a call to the on-call line could not be served")
        await _alarm(pool, clock, error)
        return xml(twiml.goodbye(BROKEN))


async def _alarm(pool: Pool, clock: Clock, error: Exception) -> None:
    """Somebody must know that a customer was sent away; an absent database the auditor sees itself."""
    detail = f"A customer rang the on-call line and could not be served ({type(error).__name__})."
    try:
        async with pool.connection(timeout=2.0) as conn:
            await alarm.sound(conn, "line_broken", detail, clock(), urgent=True)
    except Exception:  # the caller is told in any case
        log.exception("nor could operations be told of it")


def _add_pins(routes: APIRouter, pool: Pool, settings: Settings, clock: Clock) -> None:
    @routes.get("/pins", summary="Who has a PIN, since when, and when it was last used")
    async def listed(request: Request) -> dict[str, Any]:
        _admin(request)
        async with pool.connection() as conn:
            return {"pins": await pins.listed(conn)}

    @routes.post("/pins", status_code=201, summary="Issue a deployment's first PIN; it is shown once")
    async def issue(request: Request, body: PinOf) -> dict[str, str]:
        by = _admin(request).name
        async with pool.connection() as conn:
            return await _shown_once(pins.issue, conn, settings, body, by, clock())

    @routes.post("/pins/rotate", status_code=201, summary="Replace a PIN; the new one is shown once")
    async def rotate(request: Request, body: PinOf) -> dict[str, str]:
        by = _admin(request).name
        async with pool.connection() as conn:
            return await _shown_once(pins.rotate, conn, settings, body, by, clock())

    @routes.post("/pins/revoke", status_code=204, summary="End a PIN")
    async def revoke(request: Request, body: PinOf) -> None:
        by = _admin(request).name
        async with pool.connection() as conn:
            try:
                place = await pins.place_of(conn, body.tenant, body.deployment)
                await pins.revoke(conn, place, by, clock())
            except PinRefused as refusal:
                raise Conflict(str(refusal)) from None


async def _shown_once(
    make: Any, conn: Conn, settings: Settings, body: PinOf, by: str, now: datetime
) -> dict[str, str]:
    try:
        place = await pins.place_of(conn, body.tenant, body.deployment)
        pin: str = await make(conn, settings, place, by, now)
    except PinRefused as refusal:
        raise Conflict(str(refusal)) from None
    return {"pin": pin, "shown": shown(pin)}


def _admin(request: Request) -> Principal:
    principal: Principal = request.state.principal
    principal.require(Role.ADMIN)
    if principal.tenant_id is not None:
        raise Forbidden("PINs are issued by the vendor's own staff.")
    return principal
