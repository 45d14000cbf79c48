"""HTTP of test calls: what the provider asks and tells us of one, each request signed."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from oncall.callbacks import authenticate
from oncall.drill import phones, result, settle
from oncall.settings import Settings
from oncall.voice import twiml
from oncall.voice.signature import HEADER
from storage.pool import Pool
from wire.access import Principal, Role
from wire.clock import Clock
from wire.problem import BadRequest, Forbidden, NotFound, TooLarge

MAX_FORM_BYTES = 65_536
Via = Annotated[str, Query(max_length=64)]
Turn = Annotated[int, Query(ge=1, le=1000)]
TEXT = "Hello {name}. This is a test of your on-call phone. Nothing is wrong."
WORDS = twiml.Wording("Press 4 to confirm.", "No key was pressed: this test does not count. Good bye.")


def router(pool: Pool, settings: Settings, clock: Clock) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/oncall", tags=["on-call"])

    @routes.post("/drill/{test_id}/twiml", summary="A test call was picked up")
    async def picked_up(request: Request, test_id: UUID, via: Via, turn: Turn = 1) -> Response:
        await _signed_form(request, settings, via)
        async with pool.connection() as conn:
            test = await result(conn, test_id)
        if test is None:
            raise NotFound("There is no such test call.")
        base = f"{settings.public_url}/v1/oncall/drill/{test_id}"
        again = f"{base}/twiml?via={via}&turn={turn + 1}" if turn < settings.menu_repeats else None
        return _xml(twiml.menu(TEXT.format(name=test.name), f"{base}/key?via={via}", again, WORDS))

    @routes.post("/drill/{test_id}/key", summary="A key was pressed on a test call")
    async def key(request: Request, test_id: UUID, via: Via) -> Response:
        form = await _signed_form(request, settings, via)
        if form.get("Digits") != "4":
            return _xml(twiml.goodbye("That was not key 4: this test does not count. Good bye."))
        async with pool.connection() as conn:
            if await result(conn, test_id) is None:
                raise NotFound("There is no such test call.")
            await settle(conn, test_id, "confirmed", "key 4", clock())
        return _xml(twiml.goodbye("Thank you. Your phone works. Good bye."))

    @routes.post("/drill/{test_id}/status", status_code=204, summary="What became of a test call")
    async def status(request: Request, test_id: UUID, via: Via) -> Response:
        await _signed_form(request, settings, via)  # the maker of the call asks for its end itself
        return Response(status_code=204)

    @routes.get("/test-calls", summary="Whose phone was confirmed when, and whose is overdue")
    async def tests(request: Request) -> dict[str, Any]:
        principal: Principal = request.state.principal
        principal.require(Role.READER)
        if principal.tenant_id is not None:
            raise Forbidden("Only the vendor's staff see who is on call.")
        now = clock()
        async with pool.connection() as conn:
            found = await phones(conn, now)
        return {"phones": [{**_shown(phone), "overdue": phone.overdue(now)} for phone in found]}

    return routes


def _shown(phone: Any) -> dict[str, Any]:
    names = ("key", "name", "number", "asked_at", "outcome", "detail", "confirmed_at")
    return {name: getattr(phone, name) for name in names}


async def _signed_form(request: Request, settings: Settings, via: str) -> dict[str, str]:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise TooLarge(f"A callback has at most {MAX_FORM_BYTES} bytes.")
    try:
        fields = parse_qsl(bytes(body).decode("ascii"), keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise BadRequest("The body is not a form (application/x-www-form-urlencoded).") from error
    query = f"?{request.url.query}" if request.url.query else ""
    authenticate(settings, request.url.path + query, fields, request.headers.get(HEADER), via)
    return dict(fields)


def _xml(document: str) -> Response:
    return Response(document, media_type="text/xml; charset=utf-8")
