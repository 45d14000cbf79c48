"""HTTP of test calls: what the provider asks and tells us of one, each request signed."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response

from oncall.drill import phones, result, settle
from oncall.forms import signed_form, xml
from oncall.settings import Settings
from oncall.voice import twiml
from storage.pool import Pool
from wire.access import Principal, Role
from wire.clock import Clock
from wire.problem import Forbidden, NotFound

Via = Annotated[str, Query(max_length=64)]
Turn = Annotated[int, Query(ge=1, le=1000)]
TEXT = "Hello {name}. This is a test of your on-call phone. Nothing is wrong."
WORDS = twiml.Wording("Press 4 to confirm.", "No key was pressed: this test does not count. Good bye.")


def router(pool: Pool, settings: Settings, clock: Clock) -> APIRouter:
    """The routes."""
    routes = APIRouter(prefix="/v1/oncall", tags=["on-call"])

    @routes.post("/drill/{test_id}/twiml", summary="A test call was picked up")
    async def picked_up(request: Request, test_id: UUID, via: Via, turn: Turn = 1) -> Response:
        await signed_form(request, settings, via)
        async with pool.connection() as conn:
            test = await result(conn, test_id)
        if test is None:
            raise NotFound("There is no such test call.")
        base = f"{settings.public_url}/v1/oncall/drill/{test_id}"
        again = f"{base}/twiml?via={via}&turn={turn + 1}" if turn < settings.menu_repeats else None
        return xml(twiml.menu(TEXT.format(name=test.name), f"{base}/key?via={via}", again, WORDS))

    @routes.post("/drill/{test_id}/key", summary="A key was pressed on a test call")
    async def key(request: Request, test_id: UUID, via: Via) -> Response:
        form = await signed_form(request, settings, via)
        if form.get("Digits") != "4":
            return xml(twiml.goodbye("That was not key 4: this test does not count. Good bye."))
        async with pool.connection() as conn:
            if await result(conn, test_id) is None:
                raise NotFound("There is no such test call.")
            await settle(conn, test_id, "confirmed", "key 4", clock())
        return xml(twiml.goodbye("Thank you. Your phone works. Good bye."))

    @routes.post("/drill/{test_id}/status", status_code=204, summary="What became of a test call")
    async def status(request: Request, test_id: UUID, via: Via) -> Response:
        await signed_form(request, settings, via)  # the maker of the call asks for its end itself
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
