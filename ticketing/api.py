"""The ticketing API: tickets, people's acts, what got no ticket, the desk's parked items, the registry.

A customer's key sees and touches its own tenant only (what it may not see does not exist for it).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from storage.pool import Pool
from storage.sql import Queries
from ticketing import actions, booking, reading, reports
from ticketing.actions import Actor
from ticketing.errors import (
    Conflicting,
    ContractError,
    NoSuchTicket,
    NotAllowed,
    NotEntitled,
    TicketingError,
    Unexplained,
)
from ticketing.lifecycle import State
from ticketing.published import TicketFilter
from ticketing.registry import Language
from ticketing.registry_api import add_registry_routes
from ticketing.settings import Settings
from ticketing.shapes import (
    MAX_ID,
    AnyAct,
    BookingBody,
    Id,
    KeyParameter,
    NewTicketBody,
    Number,
    PriorityNumber,
    RetryBody,
)
from wire.access import Principal, Role
from wire.clock import Clock
from wire.problem import Conflict, Forbidden, NotFound, Problem, Unprocessable

Q = Queries.load("ticketing")
Document = dict[str, Any]
Limit = Annotated[int, Query(ge=1, le=500, description="Most rows in the answer")]
Before = Annotated[
    int | None, Query(ge=1, le=MAX_ID, description="Continue below: 'before' of the last page")
]
_RETRIES = {
    "alert": Q.retry_alert,
    "ticket": Q.retry_ticket,
    "acknowledgement": Q.retry_acknowledgement,
    "report": Q.retry_report,
}


def router(pool: Pool, settings: Settings, clock: Clock) -> APIRouter:
    """All routes of the room."""
    routes = APIRouter(prefix="/v1")
    _add_ticket_routes(routes, pool, settings, clock)
    _add_booking_routes(routes, pool, clock)
    _add_desk_routes(routes, pool, clock)
    add_registry_routes(routes, pool, clock)
    return routes


def caller(request: Request, role: Role) -> Principal:
    """The authenticated caller, who must have ``role``."""
    principal: Principal = request.state.principal
    principal.require(role)
    return principal


def actor_of(request: Request, principal: Principal) -> Actor:
    """Who acts, and from where, for the audit trail."""
    origin = request.client.host if request.client else ""
    staff = principal.tenant_id is None
    return Actor(principal.name, origin, staff, principal.tenant_id, principal.deployment_id)


@contextmanager
def refusals() -> Iterator[None]:
    """The room's errors as problems."""
    try:
        yield
    except TicketingError as error:
        raise problem_of(error) from None


def problem_of(error: TicketingError) -> Problem:
    """What one of the room's errors means for the caller."""
    match error:
        case NoSuchTicket():
            return NotFound(str(error))
        case NotEntitled():
            return Conflict(str(error), slug="not-entitled", reasons=list(error.reasons))
        case NotAllowed():
            return Conflict(str(error), slug="not-allowed")
        case Conflicting():
            return Conflict(str(error), slug="changed")
        case Unexplained() | ContractError():
            return Unprocessable(str(error))
    raise error


def _add_ticket_routes(routes: APIRouter, pool: Pool, settings: Settings, clock: Clock) -> None:
    @routes.get("/tickets", tags=["tickets"])
    async def list_tickets(
        request: Request,
        tenant: KeyParameter = None,
        deployment: KeyParameter = None,
        state: Annotated[list[State] | None, Query()] = None,
        priority: Annotated[PriorityNumber | None, Query()] = None,
        before: Before = None,
        limit: Limit = 50,
    ) -> Document:
        """Tickets, newest first."""
        who = caller(request, Role.READER)
        wanted = TicketFilter(
            tenant_id=who.scope(None),
            deployment_id=who.deployment_id,
            tenant=tenant,
            deployment=deployment,
            states=None if state is None else tuple(map(str, state)),
            priority=priority,
            before_id=before,
            limit=limit,
        )
        async with pool.connection() as conn:
            return await reading.ticket_page(conn, wanted)

    @routes.post("/tickets", status_code=201, tags=["tickets"])
    async def open_ticket(request: Request, response: Response, body: NewTicketBody) -> Document:
        """Open a ticket for a person who reports a problem; 200 when this report had opened it before."""
        who = caller(request, Role.SUPPORT)
        async with pool.connection() as conn:
            with refusals():
                case, new = await reports.report(conn, settings, clock(), actor_of(request, who), body)
                response.status_code = 201 if new else 200
                return await _in_full(conn, who, case.number, clock())

    @routes.get("/tickets/{number}", tags=["tickets"])
    async def get_ticket(
        request: Request, number: Number, language: Annotated[Language, Query()] = "en"
    ) -> Document:
        """One ticket with its history, clock and decision record; the reasons in ``language``."""
        who = caller(request, Role.READER)
        async with pool.connection() as conn:
            with refusals():
                return reading.in_words(await _in_full(conn, who, number, clock()), language)

    @routes.post("/tickets/{number}/acts", tags=["tickets"])
    async def act(request: Request, number: Number, body: AnyAct) -> Document:
        """Do something to a ticket; it is recorded with who, when, from where and why."""
        who = caller(request, Role.SUPPORT)
        async with pool.connection() as conn:
            with refusals():
                await _in_full(conn, who, number, clock())  # refuses what this key may not see
                await actions.act(conn, settings, clock(), actor_of(request, who), number, body)
                return await _in_full(conn, who, number, clock())


async def _in_full(conn: Any, who: Principal, number: str, now: datetime) -> Document:
    found = await reading.ticket_in_full(conn, number, who.scope(None), who.deployment_id, now)
    return found if who.tenant_id is None else reading.for_customer(found)


def _add_booking_routes(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    @routes.get("/bookings", tags=["bookings"])
    async def list_bookings(request: Request) -> list[Document]:
        """On-call assistance that was agreed and is not over, the next first."""
        who = caller(request, Role.READER)
        async with pool.connection() as conn:
            return await reading.bookings(conn, who.scope(None), who.deployment_id, clock())

    @routes.post("/bookings", status_code=201, tags=["bookings"])
    async def book(request: Request, body: BookingBody) -> Document:
        """Agree on on-call assistance: while it lasts, reports ring whatever their priority."""
        who = caller(request, Role.SUPPORT)
        async with pool.connection() as conn:
            with refusals():
                return {"booking_id": await booking.book(conn, clock(), actor_of(request, who), body)}

    @routes.post("/bookings/{booking_id}/cancel", status_code=204, tags=["bookings"])
    async def cancel(request: Request, booking_id: Id) -> None:
        """Call an agreement off."""
        who = caller(request, Role.SUPPORT)
        scope = {"tenant_id": who.scope(None), "deployment_id": who.deployment_id}
        values = scope | {"booking_id": booking_id, "now": clock(), "by": who.name}
        async with pool.connection() as conn:
            row = await (await conn.execute(Q.cancel_booking, values)).fetchone()
        if row is None:
            raise NotFound(f"There is no booking {booking_id} to cancel.")


def _staff(request: Request) -> None:
    """Refuse everybody but support staff of ours."""
    if caller(request, Role.SUPPORT).tenant_id is not None:
        raise Forbidden("The desk belongs to the vendor's staff.")


def _add_desk_routes(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    @routes.get("/no-tickets", tags=["tickets"])
    async def list_no_tickets(
        request: Request,
        tenant: KeyParameter = None,
        alert: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
        limit: Limit = 50,
    ) -> list[Document]:
        """Alerts that got no ticket, and why, newest first."""
        who = caller(request, Role.READER)
        scope = {"tenant_id": who.scope(None), "deployment_id": who.deployment_id}
        values = {"tenant": tenant, "alert_id": alert, "before": None, "limit": limit}
        async with pool.connection() as conn:
            return await reading.no_tickets(conn, scope | values)

    @routes.get("/desk", tags=["desk"])
    async def get_desk(request: Request) -> Document:
        """What the desk has parked after failing again and again."""
        _staff(request)
        async with pool.connection() as conn:
            return {"parked": await reading.parked(conn)}

    @routes.post("/desk/retry", status_code=204, tags=["desk"])
    async def retry(request: Request, body: RetryBody) -> None:
        """Try a parked item again."""
        _staff(request)
        values = {"tenant_id": body.tenant_id, "id": body.id, "now": clock()}
        async with pool.connection() as conn:
            row = await (await conn.execute(_RETRIES[body.kind], values)).fetchone()
        if row is None:
            raise NotFound(f"There is no parked {body.kind} {body.id}.")
