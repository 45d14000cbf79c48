"""Enrolment: a single-use token becomes an agent with a key of its own.

Decisions:
- A token makes exactly one agent, however many callers race. When the reply was lost, the same token with the
  same public key (and host name) gets the same answer again, as long as the token lives; with another key
  it is spent.
- A host name that is already known in the deployment is the same host set up anew: it keeps its id and its
  history, the new agent replaces the old one, whose credential is revoked in the same commit. A host
  therefore has one voice, and a clone that enrols under the same name is noticed: the other one falls silent
  with "revoked".
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from collector.directory import Q, hash_secret, new_secret
from storage.pool import Pool
from wire.problem import Conflict, NotFound, Unauthorised

TOKEN_PREFIX = "ucxe_"  # noqa: S105 - the public prefix of tokens, no secret
Connection = AsyncConnection[tuple[Any, ...]]


class Enrolment(msgspec.Struct, frozen=True):
    """What an agent sends to be enrolled, already validated."""

    token: str
    host_name: str
    public_key: bytes
    """Ed25519, 32 bytes."""
    facts: dict[str, str]


class Enrolled(msgspec.Struct, frozen=True):
    """The answer: who the agent is from now on."""

    agent_id: UUID
    tenant: str
    deployment: str
    host: str
    superseded: tuple[UUID, ...] = ()
    """Agents that spoke for this host until now."""
    predecessors: tuple[UUID, ...] = ()
    """All agents that ever spoke for this host: what their spools still hold may come from the new one."""


async def issue_token(
    conn: Connection,
    tenant: str,
    deployment: str,
    *,
    ttl: timedelta,
    by: str,
    now: datetime,
    only_tenant_id: int | None = None,
    only_deployment_id: int | None = None,
) -> tuple[str, datetime]:
    """A new token and the time it expires. ``only_...``: what the caller's key is bound to.

    Raises NotFound for an unknown tenant or deployment, or one that is not the caller's."""
    ids = await (
        await conn.execute(Q.deployment_by_key, {"tenant": tenant, "deployment": deployment})
    ).fetchone()
    if ids is None or only_tenant_id not in (None, ids[0]) or only_deployment_id not in (None, ids[1]):
        raise NotFound(f"There is no deployment '{deployment}' of a tenant '{tenant}'.")
    token = new_secret(TOKEN_PREFIX)
    row = {
        "tenant_id": ids[0],
        "deployment_id": ids[1],
        "token_hash": hash_secret(token),
        "created_by": by,
        "now": now,
        "expires_at": now + ttl,
    }
    await conn.execute(Q.token_insert, row)
    return token, now + ttl


async def enrol(pool: Pool, request: Enrolment, now: datetime) -> Enrolled:
    """Turn the token into an agent. Raises Unauthorised (unknown, expired) or Conflict (already used)."""
    token_hash = hash_secret(request.token)
    agent_id = uuid4()
    async with pool.connection() as conn, conn.transaction():
        taken = await (
            await conn.execute(Q.token_use, {"token_hash": token_hash, "agent_id": agent_id, "now": now})
        ).fetchone()
        if taken is None:
            return await _again(conn, token_hash, request, now)
        superseded = await _admit(conn, taken[0], taken[1], agent_id, request, now)
        return await _answer(conn, agent_id, superseded)


async def _admit(
    conn: Connection, tenant_id: int, deployment_id: int, agent_id: UUID, request: Enrolment, now: datetime
) -> tuple[UUID, ...]:
    """Make or find the host, silence its former agents, store the new one's key."""
    host = {
        "tenant_id": tenant_id,
        "deployment_id": deployment_id,
        "name": request.host_name,
        "facts": Jsonb(request.facts),
        "now": now,
    }
    found = await (await conn.execute(Q.host_upsert, host)).fetchone()
    assert found is not None
    scope = {"tenant_id": tenant_id, "host_id": found[0], "now": now}
    why = f"re-enrolled as {agent_id.hex}"
    former = await (await conn.execute(Q.agents_supersede, {**scope, "why": why})).fetchall()
    key = {"agent_id": agent_id, "public_key": request.public_key}
    await conn.execute(Q.agent_insert, {**scope, **key})
    return tuple(row[0] for row in former)


async def _again(conn: Connection, token_hash: bytes, request: Enrolment, now: datetime) -> Enrolled:
    """The token could not be taken: either it is our own lost reply, or it is refused with the reason."""
    row = await (await conn.execute(Q.token_state, {"token_hash": token_hash})).fetchone()
    if row is None:
        raise Unauthorised(
            "The enrolment token is unknown: check that it was copied whole.", slug="token-unknown"
        )
    used_at, expires_at, agent_id, public_key, revoked_at, host_name = row
    if expires_at <= now:
        raise Unauthorised("The enrolment token has expired: ask for a new one.", slug="token-expired")
    same = used_at is not None and public_key == request.public_key and host_name == request.host_name
    if not same or revoked_at is not None:
        raise Conflict("The enrolment token was used already: ask for a new one.", slug="token-used")
    return await _answer(conn, agent_id, ())


async def _answer(conn: Connection, agent_id: UUID, superseded: tuple[UUID, ...]) -> Enrolled:
    row = await (await conn.execute(Q.agents_by_id, {"agent_ids": [agent_id]})).fetchone()
    assert row is not None
    return Enrolled(
        agent_id,
        tenant=row[1],
        deployment=row[3],
        host=row[5],
        superseded=superseded,
        predecessors=tuple(row[10]),
    )
