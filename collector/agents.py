"""The list of agents, and how one is silenced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from collector.directory import Agent, Q
from collector.runs import CERTAIN
from wire.problem import NotFound

Connection = AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class AgentRow:
    """An agent as people see it."""

    agent_id: UUID
    tenant: str
    deployment: str
    host_id: int
    host: str
    enrolled_at: datetime
    revoked_at: datetime | None
    revoked_why: str | None
    key_since: datetime
    """When its key was made known."""
    seen_twice_at: datetime | None
    """When two programs last spoke in turn under this identity: a cloned or restored machine. None: never."""


@dataclass(frozen=True, slots=True)
class OwnRow:
    """What an agent may know of itself."""

    agent: str
    host: str
    key_since: datetime
    """When its key was made known."""
    seen_twice_at: datetime | None
    """When another program last spoke under this identity, too. None: never."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """An enrolment token as people see it: everything but the token."""

    tenant: str
    deployment: str
    created_by: str
    created_at: datetime
    expires_at: datetime
    used_at: datetime | None
    used_by_agent: UUID | None


async def listed(
    conn: Connection, tenant_id: int | None, limit: int = 1000, *, deployment_id: int | None = None
) -> list[AgentRow]:
    """Agents of one tenant (and one deployment of it), newest first; None = of everybody."""
    row = {"tenant_id": tenant_id, "deployment_id": deployment_id, "limit": limit, "certain": CERTAIN}
    rows = await (await conn.execute(Q.agents, row)).fetchall()
    return [AgentRow(*row) for row in rows]


async def own(conn: Connection, agent: Agent) -> OwnRow:
    """What an agent is told of itself."""
    row = {"tenant_id": agent.scope.tenant_id, "agent_id": agent.agent_id}
    found = await (await conn.execute(Q.agent_self, row)).fetchone()
    if found is None:
        raise NotFound(f"There is no agent {agent.agent_id.hex}.")
    key_since, returned_at, returns = found
    twice = returned_at if returns >= CERTAIN else None
    return OwnRow(agent.agent_id.hex, agent.scope.host_name, key_since, twice)


async def revoke(
    conn: Connection,
    agent_id: UUID,
    now: datetime,
    *,
    by: str,
    tenant_id: int | None,
    deployment_id: int | None = None,
) -> datetime:
    """Revoke an agent's credential; returns since when it is revoked. Raises NotFound, also for one beyond
    the caller's tenant or deployment."""
    scope = {"tenant_id": tenant_id, "deployment_id": deployment_id}
    row = scope | {"agent_id": agent_id, "now": now, "why": f"revoked by {by}"}
    found = await (await conn.execute(Q.agent_revoke, row)).fetchone()
    if found is None:
        raise NotFound(f"There is no agent {agent_id.hex}.")
    since: datetime = found[0]
    return since


async def tokens(
    conn: Connection, tenant_id: int | None, limit: int = 1000, *, deployment_id: int | None = None
) -> list[TokenRow]:
    """Enrolment tokens of one tenant (and one deployment of it), newest first; None = of everybody."""
    row = {"tenant_id": tenant_id, "deployment_id": deployment_id, "limit": limit}
    rows = await (await conn.execute(Q.tokens, row)).fetchall()
    return [TokenRow(*row) for row in rows]


async def update_facts(
    conn: Connection, tenant_id: int, host_id: int, facts: dict[str, str]
) -> dict[str, Any]:
    """Merge what an agent reports of its platform into its host's facts; returns all of them."""
    row = {"tenant_id": tenant_id, "host_id": host_id, "facts": Jsonb(facts)}
    found = await (await conn.execute(Q.facts_update, row)).fetchone()
    if found is None:
        raise NotFound(f"There is no host {host_id}.")
    merged: dict[str, Any] = found[0]
    return merged
