"""What the HTTP routes of rotas share: types of their fields, who may ask, what is in force."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import Path, Query, Request
from pydantic import AfterValidator, AwareDatetime, Field

from oncall import rota_view as view
from oncall.roster import Conn, Stored, load
from oncall.schedule import Schedule
from oncall.settings import Settings
from oncall.wall import EARLIEST, LATEST
from oncall.watch import Alarm, Occasion, gap_check
from storage.pool import Pool
from wire.access import Principal, Role
from wire.clock import Clock
from wire.problem import FieldError, Forbidden, NotFound, TooLarge, Unprocessable

LONGEST = timedelta(days=400)
"""Longest stretch of time that one request may ask for."""
KEY = r"^[a-z0-9][a-z0-9-]{0,62}$"
TEXT = r"^[^\x00]*$"


def _in_range(at: datetime) -> datetime:
    if not EARLIEST + timedelta(days=500) <= at <= LATEST - timedelta(days=5000):
        raise ValueError("out of range: years 2002 to 2186")
    return at.astimezone(UTC)


Moment = Annotated[AwareDatetime, AfterValidator(_in_range)]
Key = Annotated[str, Field(pattern=KEY)]
KeyPath = Annotated[str, Path(pattern=KEY)]
Wanted = Annotated[str | None, Query(pattern=KEY)]
Start = Annotated[Moment, Query(alias="from")]
End = Annotated[Moment, Query(alias="to")]
Token = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{43}$")]


class Desk:
    """What every route needs."""

    def __init__(self, pool: Pool, settings: Settings, clock: Clock, limit_s: int, alarm: Alarm) -> None:
        self.pool = pool
        self.settings = settings
        self.clock = clock
        self.limit_s = limit_s
        self.alarm = alarm

    async def stored(self, conn: Conn) -> Stored:
        """The rota in force. Raises NotFound."""
        found = await load(conn, self.clock())
        if found is None:
            raise NotFound("No rota is in force yet: PUT one to /v1/oncall/rota.")
        return found

    async def in_force(self) -> Stored:
        """The same over a connection that is given back before anything is worked out. Raises NotFound."""
        async with self.pool.connection() as conn:
            return await self.stored(conn)

    async def look(self, conn: Conn, occasion: Occasion = "change") -> dict[str, Any]:
        """Look for gaps after a change, and say what was found."""
        found = await gap_check(conn, self.clock, occasion, alarm=self.alarm)
        return {"check_id": found.check_id, "gaps": [view.gap_view(gap) for gap in found.gaps]}


def staff(request: Request, role: Role) -> Principal:
    """The caller, who must be of the vendor's staff: rotas name our own people."""
    principal: Principal = request.state.principal
    principal.require(role)
    if principal.tenant_id is not None:
        raise Forbidden("Rotas are for the vendor's own staff.")
    return principal


async def text_of(request: Request, limit: int) -> str:
    """The body as text. Raises TooLarge, Unprocessable."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"At most {limit} bytes.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Unprocessable("The body is not UTF-8.", errors=[FieldError("body", "not UTF-8")]) from None
    if "\x00" in text:
        raise Unprocessable("The body holds NUL characters.", errors=[FieldError("body", "NUL characters")])
    return text


def chosen(stored: Stored, wanted: str | None) -> list[Schedule]:
    """The schedule wanted, or all. Raises NotFound."""
    if wanted is None:
        return list(stored.rota.schedules.values())
    if wanted not in stored.rota.schedules:
        raise NotFound(f"There is no schedule '{wanted}'.")
    return [stored.rota.schedules[wanted]]


def bounded(start: datetime, end: datetime) -> None:
    """Raise Unprocessable unless the stretch runs forward and is not too long."""
    if not start < end <= start + LONGEST:
        text = f"must be after 'from', by at most {LONGEST.days} days"
        raise Unprocessable("The stretch of time is not acceptable.", errors=[FieldError("to", text)])
