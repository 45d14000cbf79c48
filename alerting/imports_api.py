"""HTTP route of calendars of maintenance windows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Request
from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict, Field

from alerting import ical, imports
from alerting.access import caller
from alerting.errors import BadCalendar
from alerting.mutes_api import deployment_zone, mutes_tenant
from storage.pool import Pool
from wire.access import Principal, Role
from wire.clock import Clock
from wire.ical import MAX_BYTES
from wire.problem import FieldError, Unprocessable

Connection = AsyncConnection[tuple[Any, ...]]
Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class CalendarBody(BaseModel):
    """A calendar of a deployment's maintenance windows."""

    model_config = ConfigDict(extra="forbid")

    tenant: Key
    deployment: Key
    host: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f*]+$")
    calendar: str = Field(max_length=MAX_BYTES, description="An iCalendar document (RFC 5545).")
    source: Key = Field(default="calendar", description="Name of this calendar among the deployment's.")
    keep_missing: bool = Field(
        default=False, description="Do not end windows of this calendar that it no longer has."
    )
    dry_run: bool = Field(default=False, description="Only say what would change.")


@dataclass(frozen=True, slots=True)
class ImportView:
    """What an import changed (or, dry, would change)."""

    added: int
    changed: int
    unchanged: int
    cancelled: int


def add_routes(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    """Add this module's route."""

    @routes.post("/v1/maintenance/import")
    async def import_calendar(request: Request, body: CalendarBody) -> ImportView:
        """Take a calendar's events for maintenance windows; read again, it changes what has changed."""
        who, now = caller(request, Role.SUPPORT), clock()
        async with pool.connection() as conn:
            tenant_id = await mutes_tenant(conn, who, body.tenant)
            zone = await deployment_zone(conn, body.tenant, body.deployment)
        return await imported(pool, tenant_id, zone, body, who, now)


async def imported(
    pool: Pool, tenant_id: int, zone: str, body: CalendarBody, who: Principal, now: datetime
) -> ImportView:
    """Read the calendar and store its windows. Raises Unprocessable with every fault."""
    name = imports.scope(body.tenant, body.deployment, body.host, body.source)
    matchers = [("deployment", "=", body.deployment)] + ([("host", "=", body.host)] if body.host else [])
    task = ical.Task(body.calendar, name, tuple(matchers), who.name, zone, now)
    try:
        found = await ical.read(task)
    except BadCalendar as error:
        wrong = [FieldError("calendar", f"{event}: {message}") for event, message in error.faults[:100]]
        raise Unprocessable("The calendar cannot be accepted; nothing was changed.", errors=wrong) from None
    async with pool.connection() as conn, conn.transaction():
        done = await imports.store(
            conn,
            tenant_id,
            name,
            found,
            who.name,
            now,
            keep_missing=body.keep_missing,
            dry_run=body.dry_run,
        )
    return ImportView(done.added, done.changed, done.unchanged, done.cancelled)
