"""HTTP routes about rules: what is in force, loading a pack, overrides. For the vendor's own staff."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from alerting import rulebook
from alerting.access import staff
from alerting.errors import PackError
from alerting.ruletext import level_text, watched
from storage.pool import Pool
from storage.sql import Queries
from wire.access import Role
from wire.problem import FieldError, NotFound, Unprocessable

Q = Queries.load("alerting")
_KEY = r"^[a-z0-9][a-z0-9-]{0,62}$"
_DOCUMENT = r"^[^\x00]*$"
KeyQuery = Annotated[str, Query(pattern=_KEY)]
HostQuery = Annotated[str | None, Query(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")]


class PackBody(BaseModel):
    """A rule pack to put in force."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")
    document: str = Field(max_length=500_000, pattern=_DOCUMENT, description="The pack, YAML.")


class OverrideBody(BaseModel):
    """Another threshold for one tenant, deployment or host."""

    model_config = ConfigDict(extra="forbid")

    tenant: str = Field(pattern=_KEY)
    deployment: str | None = Field(default=None, pattern=_KEY, description="Default: every deployment.")
    host: str | None = Field(default=None, min_length=1, max_length=255, pattern=r"^[^\x00-\x1f]+$")
    document: str = Field(max_length=20_000, pattern=_DOCUMENT, description="The override, YAML.")


@dataclass(frozen=True, slots=True)
class RuleView:
    """A rule of the pack in force, in words."""

    rule: str
    name: str
    component: str
    watches: str
    levels: dict[str, str]
    hidden_by: tuple[str, ...]
    rationale: str
    runbook: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class OverrideView:
    """An override in force."""

    override_id: int
    tenant: str
    deployment: str | None
    host: str | None
    rule: str
    document: str
    author: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class InForce:
    """The version of the rules after a change."""

    version: int


def add_routes(routes: APIRouter, pool: Pool) -> None:
    """Add this module's routes."""
    _add_pack_routes(routes, pool)
    _add_override_routes(routes, pool)


def _add_pack_routes(routes: APIRouter, pool: Pool) -> None:
    @routes.get("/v1/rules")
    async def list_rules(request: Request) -> list[RuleView]:
        """The rules in force, before overrides."""
        staff(request, Role.READER)
        async with pool.connection() as conn:
            evaluator = await rulebook.load_evaluator(conn)
        return [
            RuleView(
                r.id,
                r.name,
                r.component,
                watched(r),
                {f"P{level.priority}": level_text(r, level) for level in r.source.levels},
                r.hidden_by,
                r.rationale,
                r.runbook,
                r.enabled,
            )
            for r in evaluator.rules
        ]

    @routes.put("/v1/rules")
    async def put_rules(request: Request, body: PackBody) -> InForce:
        """Put a pack in force. State of unchanged rules is kept."""
        who = staff(request, Role.ADMIN)
        async with pool.connection() as conn:
            try:
                return InForce(await rulebook.store_pack(conn, body.document, body.name, who.name))
            except PackError as error:
                raise _refused(error) from None


def _add_override_routes(routes: APIRouter, pool: Pool) -> None:
    @routes.get("/v1/rule-overrides")
    async def list_overrides(request: Request, tenant: KeyQuery) -> list[OverrideView]:
        """A tenant's overrides."""
        staff(request, Role.READER)
        async with pool.connection() as conn:
            rows = await (await conn.execute(Q.overrides_of, {"tenant": tenant})).fetchall()
        return [OverrideView(*row) for row in rows]

    @routes.put("/v1/rule-overrides")
    async def put_override(request: Request, body: OverrideBody) -> InForce:
        """Put an override in force, in place of the one for the same rule and scope."""
        who = staff(request, Role.ADMIN)
        async with pool.connection() as conn:
            ids = await rulebook.scope_ids(conn, body.tenant, body.deployment, body.host)
            try:
                return InForce(await rulebook.set_override(conn, *ids, body.document, who.name))
            except PackError as error:
                raise _refused(error) from None

    @routes.delete("/v1/rule-overrides", status_code=204)
    async def delete_override(
        request: Request,
        tenant: KeyQuery,
        rule: Annotated[str, Query(pattern=r"^[a-z0-9._-]{1,100}$")],
        deployment: Annotated[str | None, Query(pattern=_KEY)] = None,
        host: HostQuery = None,
    ) -> None:
        """Take an override out of force."""
        staff(request, Role.ADMIN)
        async with pool.connection() as conn:
            ids = await rulebook.scope_ids(conn, tenant, deployment, host)
            if not await rulebook.remove_override(conn, *ids, rule):
                raise NotFound(f"There is no such override of '{rule}'.")


def _refused(error: PackError) -> Unprocessable:
    faults = [FieldError(f"document:{f.line}:{f.field}", f.message) for f in error.faults]
    return Unprocessable(f"The document has {len(faults)} fault(s).", errors=faults)
