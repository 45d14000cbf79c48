"""HTTP routes of silences and maintenance windows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID, uuid4

from fastapi import APIRouter, Path, Query, Request
from psycopg import AsyncConnection
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from alerting import mutes
from alerting.access import caller
from alerting.mute import Matcher, Mute, faults, occurrence_at
from storage.pool import Pool
from storage.sql import Queries
from wire.access import Principal, Role
from wire.clock import Clock
from wire.problem import FieldError, Forbidden, NotFound, Unprocessable

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
_KEY = r"^[a-z0-9][a-z0-9-]{0,62}$"
_PLAIN = r"^[^\x00-\x1f]*$"


def _in_range(at: datetime) -> datetime:
    if not 2000 <= at.year < 2100:
        raise ValueError("must lie between the years 2000 and 2100")
    return at.astimezone(UTC)


Time = Annotated[AwareDatetime, AfterValidator(_in_range)]
Title = Annotated[str, Field(min_length=3, max_length=500, pattern=_PLAIN)]
Label = Annotated[str, Field(min_length=1, max_length=100, pattern=_PLAIN)]
Pattern = Annotated[str, Field(max_length=1000, pattern=_PLAIN)]
Recurrence = Annotated[str, Field(default="", max_length=300, pattern=r"^[A-Za-z0-9=;,:+-]*$")]
Address = Annotated[str | None, Field(max_length=320, pattern=f"^{mutes.ADDRESS.pattern}$")]
Zone = Annotated[str | None, Field(default=None, max_length=64, pattern=r"^[A-Za-z0-9_+/-]*$")]


class MatcherBody(BaseModel):
    """One condition on an alert's label: deployment, host, rule, component, instance, priority ..."""

    model_config = ConfigDict(extra="forbid")

    label: Label
    op: Literal["=", "!=", "==", "!==", "=~", "!~"] = "="
    pattern: Pattern


class SilenceBody(BaseModel):
    """What is silenced, when, and why."""

    model_config = ConfigDict(extra="forbid")

    tenant: str = Field(pattern=_KEY)
    matchers: list[MatcherBody] = Field(min_length=1, max_length=20)
    reason: Title
    starts_at: Time | None = Field(default=None, description="Default: now.")
    ends_at: Time
    recurrence: Recurrence
    zone: Zone
    remind: Address = Field(
        default=None,
        description="Mail address that is told before it ends. Default: the author's, if it is one.",
    )


class MaintenanceBody(BaseModel):
    """When a deployment, or a host of it, is worked on."""

    model_config = ConfigDict(extra="forbid")

    tenant: str = Field(pattern=_KEY)
    deployment: str = Field(pattern=_KEY)
    host: str | None = Field(default=None, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f*]+$")
    title: Title
    starts_at: Time
    ends_at: Time
    recurrence: Recurrence
    zone: Zone = Field(default=None, description="Default: the deployment's.")


@dataclass(frozen=True, slots=True)
class MuteView:
    """A silence or a maintenance window."""

    id: UUID
    tenant: str
    kind: str
    matchers: list[MatcherBody]
    title: str
    author: str
    starts_at: datetime
    ends_at: datetime
    recurrence: str
    zone: str
    active_until: datetime | None
    """End of the occurrence that is on now; null: none is."""


def add_routes(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    """Add this module's routes."""
    for kind, path in (("silence", "/v1/silences"), ("maintenance", "/v1/maintenance")):
        _add_list(routes, pool, clock, kind, path)
        _add_cancel(routes, pool, clock, path)
    _add_make(routes, pool, clock)


def _add_list(routes: APIRouter, pool: Pool, clock: Clock, kind: str, path: str) -> None:
    @routes.get(path, name=f"list_{kind}")
    async def listed(
        request: Request,
        tenant: Annotated[str | None, Query(pattern=_KEY)] = None,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[MuteView]:
        """Those that are not over, by their start."""
        who, now = caller(request, Role.READER), clock()
        scope = {"tenant_id": who.tenant_id, "deployment_id": who.deployment_id}
        given = scope | {"kind": kind, "tenant": tenant, "now": now, "limit": limit}
        async with pool.connection() as conn:
            rows = await (await conn.execute(Q.list_mutes, given)).fetchall()
        return [_view(row[0], mutes.read_mute(row[1:]), now) for row in rows]


def _add_cancel(routes: APIRouter, pool: Pool, clock: Clock, path: str) -> None:
    @routes.delete(path + "/{tenant}/{mute_id}", status_code=204, name=f"cancel{path.replace('/', '_')}")
    async def cancel(request: Request, tenant: Annotated[str, Path(pattern=_KEY)], mute_id: UUID) -> None:
        """End it now; what still fires is told by the next sweep."""
        who = caller(request, Role.SUPPORT)
        async with pool.connection() as conn:
            tenant_id = await mutes_tenant(conn, who, tenant)
            if not await mutes.cancel(conn, tenant_id, mute_id, who.name, clock()):
                raise NotFound("There is no such silence or window in force.")


def _add_make(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    @routes.post("/v1/silences", status_code=201)
    async def silence(request: Request, body: SilenceBody) -> MuteView:
        """Silence alerts by their labels, with a reason and an end."""
        who, now = caller(request, Role.SUPPORT), clock()
        matchers = tuple(Matcher(m.label, m.op, m.pattern) for m in body.matchers)
        start, zone = body.starts_at or now, body.zone or "UTC"
        mute = Mute(
            uuid4(), "silence", matchers, body.reason, who.name, start, body.ends_at, body.recurrence, zone
        )
        async with pool.connection() as conn:
            tenant_id = await mutes_tenant(conn, who, body.tenant)
            return await _made(conn, tenant_id, body.tenant, mute, now, body.remind)

    @routes.post("/v1/maintenance", status_code=201)
    async def maintenance(request: Request, body: MaintenanceBody) -> MuteView:
        """Declare a maintenance window of a deployment, once or recurring in its own wall time."""
        who, now = caller(request, Role.SUPPORT), clock()
        async with pool.connection() as conn:
            # First whose it is: any other refusal would tell a stranger that the deployment exists.
            tenant_id = await mutes_tenant(conn, who, body.tenant)
            zone = body.zone or await deployment_zone(conn, body.tenant, body.deployment)
            return await _made(conn, tenant_id, body.tenant, _window(body, who.name, zone), now)


def _window(body: MaintenanceBody, author: str, zone: str) -> Mute:
    matchers = [Matcher("deployment", "=", body.deployment)]
    if body.host:
        matchers.append(Matcher("host", "=", body.host))
    start, end = body.starts_at, body.ends_at
    return Mute(
        uuid4(), "maintenance", tuple(matchers), body.title, author, start, end, body.recurrence, zone
    )


async def _made(
    conn: Connection, tenant_id: int, tenant: str, mute: Mute, now: datetime, remind: str | None = None
) -> MuteView:
    wrong = faults(mute)
    if mute.ends_at <= now and not mute.recurrence:
        wrong.append(("ends_at", "must lie in the future"))
    if wrong:
        raise Unprocessable("It cannot be accepted.", errors=[FieldError(*fault) for fault in wrong])
    await mutes.store(conn, tenant_id, mute, remind)
    return _view(tenant, mute, now)


async def mutes_tenant(conn: Connection, who: Principal, key: str) -> int:
    """The tenant's id. Raises NotFound, also for a tenant that is not the caller's, and Forbidden for a key
    of one site: what mutes may reach the customer's other sites."""
    if who.deployment_id is not None:
        raise Forbidden(
            "This key belongs to one deployment; silences and windows need one of the customer's."
        )
    row = await (await conn.execute(Q.tenant_id_of, {"tenant": key})).fetchone()
    if row is None or who.tenant_id not in (None, row[0]):
        raise NotFound(f"There is no tenant '{key}' for this key.")
    tenant_id: int = row[0]
    return tenant_id


async def deployment_zone(conn: Connection, tenant: str, deployment: str) -> str:
    """The IANA zone of a deployment. Raises NotFound."""
    given = {"tenant": tenant, "deployment": deployment}
    row = await (await conn.execute(Q.deployment_zone, given)).fetchone()
    if row is None:
        raise NotFound(f"There is no deployment '{tenant}/{deployment}'.")
    zone: str = row[2]
    return zone


def _view(tenant: str, mute: Mute, now: datetime) -> MuteView:
    active = occurrence_at(mute, now)
    return MuteView(
        mute.mute_id,
        tenant,
        mute.kind,
        [MatcherBody(label=m.label, op=m.op, pattern=m.pattern) for m in mute.matchers],
        mute.title,
        mute.author,
        mute.starts_at,
        mute.ends_at,
        mute.recurrence,
        mute.zone,
        active.end if active else None,
    )
