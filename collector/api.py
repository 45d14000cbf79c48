"""The collector's HTTP API for agents' enrolment, for people and for services.

Batches and layouts are not here: collector/route.py answers them beside the framework.
"""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Request, Response

from collector import agents, enrolment, keys, reading, rotation
from collector.directory import Directory
from collector.enrolment import Enrolment
from collector.rate import RateLimit
from collector.rollup import finest
from collector.settings import CollectorSettings
from collector.shapes import (
    MAX_ID,
    AgentIdText,
    EnrolBody,
    EnrolledBody,
    FactsBody,
    FactsStored,
    HostParameter,
    Id,
    Key,
    KeyBody,
    KeyMade,
    KeyReplacementBody,
    Limit,
    Replaced,
    Revoked,
    Text,
    Time,
    TokenBody,
    TokenMade,
)
from storage.pool import Pool
from storage.replica import ReadPool
from wire.access import Principal, Role
from wire.batch import Severity
from wire.clock import Clock
from wire.problem import FieldError, Forbidden, NotFound, TooBusy, Unprocessable

ENROL = "/v1/enrol"
"""The one address of this router that needs no credential: its token is in the body."""
DAY = timedelta(days=1)


AS_OF = "UCX-As-Of"
"""Header of what may come from a replica: everything committed until this time is in the answer."""


def router(
    pool: Pool, settings: CollectorSettings, clock: Clock, directory: Directory, reads: ReadPool
) -> APIRouter:
    """All routes of this module, ready to be included; ``reads``: where charts and events are read."""
    routes = APIRouter(tags=["collector"])
    _add_agent_routes(routes, pool, settings, clock, directory)
    _add_host_routes(routes, pool, settings, clock, reads)
    _add_chart_route(routes, pool, settings, clock, reads)
    _add_event_route(routes, pool, reads, clock)
    _add_key_routes(routes, pool, clock, directory)
    _add_admin_routes(routes, pool, clock, directory)
    return routes


def caller(request: Request, role: Role) -> Principal:
    """The authenticated caller, who must have ``role``."""
    principal: Principal = request.state.principal
    principal.require(role)
    return principal


def _add_agent_routes(
    routes: APIRouter, pool: Pool, settings: CollectorSettings, clock: Clock, directory: Directory
) -> None:
    limit = RateLimit(burst=settings.enrol_burst, per_s=settings.enrol_per_s)

    @routes.post(ENROL, status_code=201)
    async def enrol(request: Request, body: EnrolBody) -> EnrolledBody:
        """Turn an enrolment token into an agent (again, with the same key, for a reply that was lost)."""
        wait = limit.take(request.client.host if request.client else "", time.monotonic())
        if wait:
            raise TooBusy("Too many enrolments from this address.", retry_after_s=wait)
        asked = Enrolment(body.token, body.host_name, body.key_bytes(), dict(body.facts))
        made = await enrolment.enrol(pool, asked, clock())
        for agent_id in (made.agent_id, *made.superseded):
            directory.forget_agent(agent_id)
        return EnrolledBody(
            agent_id=made.agent_id.hex,
            tenant=made.tenant,
            deployment=made.deployment,
            host=made.host,
            predecessors=[agent_id.hex for agent_id in made.predecessors],
        )

    @routes.post("/v1/agent/key")
    async def replace_key(request: Request, body: KeyReplacementBody) -> Replaced:
        """Replace the calling agent's key; the old one is accepted for an overlap. Repeatable."""
        agent = await directory.agent(request.headers.get("authorization"))
        overlap = timedelta(days=settings.key_overlap_days)
        done = await rotation.replace_key(pool, agent.agent_id, body.decoded(), clock(), overlap)
        directory.forget_agent(agent.agent_id)
        return Replaced(key_since=done.key_since, retires_at=done.retires_at)

    @routes.get("/v1/agent")
    async def get_own(request: Request) -> agents.OwnRow:
        """What the collector knows of the calling agent: for its own diagnosis."""
        agent = await directory.agent(request.headers.get("authorization"))
        async with pool.connection() as conn:
            return await agents.own(conn, agent)

    @routes.put("/v1/agent/facts")
    async def put_facts(request: Request, body: FactsBody) -> FactsStored:
        """Merge what the calling agent reports of its platform into its host's facts."""
        principal: Principal = request.state.principal
        if principal.tenant_id is None or principal.host_id is None:
            raise Forbidden("Facts are reported by agents about their own host.")
        async with pool.connection() as conn:
            merged = await agents.update_facts(conn, principal.tenant_id, principal.host_id, dict(body.facts))
        return FactsStored(facts=merged)


def _add_host_routes(
    routes: APIRouter, pool: Pool, settings: CollectorSettings, clock: Clock, reads: ReadPool
) -> None:
    @routes.get("/v1/hosts")
    async def list_hosts(
        request: Request,
        tenant: Annotated[Key | None, Query()] = None,
        deployment: Annotated[Key | None, Query()] = None,
        after: Annotated[int, Query(ge=0, le=MAX_ID, description="Continue after this host id")] = 0,
        limit: Limit = 100,
    ) -> list[reading.Host]:
        """Hosts by id."""
        who = caller(request, Role.READER)
        async with pool.connection() as conn:
            return await reading.hosts(
                conn, who, tenant=tenant, deployment=deployment, after=after, limit=limit
            )

    @routes.get("/v1/hosts/{host_id}")
    async def get_host(request: Request, host_id: Id) -> reading.Host:
        """One host."""
        who = caller(request, Role.READER)
        async with pool.connection() as conn:
            found = await reading.hosts(conn, who, host_id=host_id)
        if not found:
            raise NotFound(f"There is no host {host_id}.")
        return found[0]

    @routes.get("/v1/hosts/{host_id}/latest")
    async def get_latest(request: Request, response: Response, host_id: Id) -> list[reading.Latest]:
        """The newest reading of each of the host's series."""
        who = caller(request, Role.READER)
        since = clock() - timedelta(days=settings.frame_retention_days)
        async with pool.connection() as conn:
            tenant_id = await reading.tenant_of(conn, who, host_id)
        async with reads.view() as view:
            response.headers[AS_OF] = view.as_of.isoformat()
            return await reading.latest(view.conn, tenant_id, host_id, since)


def _add_chart_route(
    routes: APIRouter, pool: Pool, settings: CollectorSettings, clock: Clock, reads: ReadPool
) -> None:
    frames_kept = timedelta(days=settings.frame_retention_days)

    @routes.get("/v1/series", response_model=list[reading.Chart])
    async def get_series(
        request: Request,
        host: HostParameter,
        metric: Annotated[list[Text], Query(min_length=1, max_length=100, description="One or more")],
        attributes: Annotated[
            str, Query(max_length=4096, description="JSON object of names and values")
        ] = "{}",
        from_: Annotated[Time | None, Query(alias="from", description="Default: an hour before 'to'")] = None,
        to: Annotated[Time | None, Query(description="Default: now")] = None,
        points: Annotated[int, Query(ge=1, le=5000, description="Most steps per series")] = 500,
    ) -> Response:
        """The host's series of the metrics that have the attributes, in equal steps, with their holes."""
        who = caller(request, Role.READER)
        now = clock()
        start, end = _span(from_, to, now, timedelta(hours=1))
        kept = finest(start, now, frames_kept, settings.fives_kept)
        where = set(metric), _attributes(attributes), start, end, points
        async with pool.connection() as conn:
            tenant_id = await reading.tenant_of(conn, who, host)
        async with reads.view() as view:
            found = await reading.charts(view.conn, tenant_id, host, *where, finest=kept)
            headers = {AS_OF: view.as_of.isoformat()}
        # Encoded at once: to check so many points a second time would cost more than to read them.
        return Response(msgspec.json.encode(found), headers=headers, media_type="application/json")


def _add_event_route(routes: APIRouter, pool: Pool, reads: ReadPool, clock: Clock) -> None:
    @routes.get("/v1/events")
    async def list_events(
        request: Request,
        response: Response,
        host: HostParameter,
        from_: Annotated[Time | None, Query(alias="from", description="Default: a day before 'to'")] = None,
        to: Annotated[Time | None, Query(description="Default: now")] = None,
        severity: Severity | None = None,
        source: Annotated[Text | None, Query()] = None,
        before_time: Annotated[Time | None, Query(description="'time' of the last event seen")] = None,
        before_key: Annotated[int, Query(ge=0, le=MAX_ID, description="Its 'event_key'")] = 0,
        limit: Limit = 100,
    ) -> list[reading.StoredEvent]:
        """Events of a host, newest first."""
        who = caller(request, Role.READER)
        start, end = _span(from_, to, clock(), DAY)
        before = (before_time, before_key) if before_time else None
        async with pool.connection() as conn:
            tenant_id = await reading.tenant_of(conn, who, host)
        async with reads.view() as view:
            response.headers[AS_OF] = view.as_of.isoformat()
            return await reading.events(
                view.conn,
                tenant_id,
                host,
                start,
                end,
                severity=severity,
                source=source,
                before=before,
                limit=limit,
            )


def _span(
    start: datetime | None, end: datetime | None, now: datetime, default: timedelta
) -> tuple[datetime, datetime]:
    end = end or now
    start = start or end - default
    if start >= end:
        raise Unprocessable(
            "'from' must lie before 'to'.", errors=[FieldError("from", "must lie before 'to'")]
        )
    return start, end


def _attributes(text: str) -> dict[str, str]:
    try:
        wanted = json.loads(text)
    except (ValueError, RecursionError):
        wanted = None
    if not isinstance(wanted, dict) or not all(isinstance(value, str) for value in wanted.values()):
        fault = FieldError("attributes", 'must be a JSON object of texts, as in {"system.device": "sda"}')
        raise Unprocessable("'attributes' cannot be read.", errors=[fault])
    return wanted


def _add_key_routes(routes: APIRouter, pool: Pool, clock: Clock, directory: Directory) -> None:
    @routes.get("/v1/api-keys")
    async def list_keys(request: Request) -> list[keys.KeyRow]:
        """API keys, without the keys themselves."""
        who = caller(request, Role.ADMIN)
        async with pool.connection() as conn:
            return await keys.listed(conn, who.tenant_id, deployment_id=who.deployment_id)

    @routes.post("/v1/api-keys", status_code=201)
    async def create_key(request: Request, body: KeyBody) -> KeyMade:
        """Make an API key."""
        who = caller(request, Role.ADMIN)
        async with pool.connection() as conn:
            made_id, key = await keys.create(
                conn,
                body.name,
                body.role,
                tenant=body.tenant,
                deployment=body.deployment,
                by=who.name,
                now=clock(),
                only_tenant_id=who.tenant_id,
                only_deployment_id=who.deployment_id,
            )
        return KeyMade(api_key_id=made_id, key=key)

    @routes.delete("/v1/api-keys/{api_key_id}", status_code=204)
    async def revoke_key(request: Request, api_key_id: Id) -> None:
        """Revoke an API key: other collectors notice within a minute."""
        who = caller(request, Role.ADMIN)
        async with pool.connection() as conn:
            scope = {"tenant_id": who.tenant_id, "deployment_id": who.deployment_id}
            key_hash = await keys.revoke(conn, api_key_id, clock(), **scope)
        directory.forget_key(key_hash)


def _add_admin_routes(routes: APIRouter, pool: Pool, clock: Clock, directory: Directory) -> None:
    @routes.get("/v1/enrolment-tokens")
    async def list_tokens(request: Request, limit: Limit = 100) -> list[agents.TokenRow]:
        """Enrolment tokens, without the tokens themselves."""
        who = caller(request, Role.ADMIN)
        async with pool.connection() as conn:
            return await agents.tokens(conn, who.tenant_id, limit, deployment_id=who.deployment_id)

    @routes.post("/v1/enrolment-tokens", status_code=201)
    async def create_token(request: Request, body: TokenBody) -> TokenMade:
        """Make a single-use enrolment token for one deployment."""
        who = caller(request, Role.ADMIN)
        async with pool.connection() as conn:
            token, expires_at = await enrolment.issue_token(
                conn,
                body.tenant,
                body.deployment,
                ttl=timedelta(seconds=body.ttl_s),
                by=who.name,
                now=clock(),
                only_tenant_id=who.tenant_id,
                only_deployment_id=who.deployment_id,
            )
        return TokenMade(token=token, expires_at=expires_at)

    @routes.get("/v1/agents")
    async def list_agents(request: Request, limit: Limit = 100) -> list[agents.AgentRow]:
        """Agents, newest first."""
        who = caller(request, Role.READER)
        async with pool.connection() as conn:
            return await agents.listed(conn, who.tenant_id, limit, deployment_id=who.deployment_id)

    @routes.post("/v1/agents/{agent_id}/revoke")
    async def revoke_agent(request: Request, agent_id: AgentIdText) -> Revoked:
        """Revoke an agent's credential: every collector refuses it within a minute."""
        who = caller(request, Role.ADMIN)
        named = UUID(hex=agent_id)
        async with pool.connection() as conn:
            scope = {"tenant_id": who.tenant_id, "deployment_id": who.deployment_id}
            since = await agents.revoke(conn, named, clock(), by=who.name, **scope)
        directory.forget_agent(named)
        return Revoked(revoked_at=since)
