"""API keys: made once, shown once, stored as hashes, revoked by id."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from collector.directory import API_KEY_PREFIX, Q, hash_secret, new_secret
from wire.access import Role
from wire.problem import Conflict, NotFound, Unprocessable

Connection = AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as people see it: everything but the key."""

    api_key_id: int
    name: str
    role: str
    tenant: str | None
    """None: the vendor's staff, all tenants."""
    deployment: str | None
    """None: all of the tenant's deployments."""
    created_by: str
    created_at: datetime
    revoked_at: datetime | None


async def create(
    conn: Connection,
    name: str,
    role: Role,
    *,
    tenant: str | None,
    deployment: str | None,
    by: str,
    now: datetime,
    only_tenant_id: int | None = None,
    only_deployment_id: int | None = None,
) -> tuple[int, str]:
    """A new key: (id, key). ``only_...``: what the caller's own key is bound to; it gives away no more.

    Raises Unprocessable, NotFound (tenant, deployment) or Conflict (the name is taken)."""
    if not name.strip():
        raise Unprocessable("A key needs a name: audit trails show it.", slug="no-name")
    if role is Role.AGENT:
        raise Unprocessable("Agents get no API keys: they enrol and sign their requests.", slug="role-agent")
    if role is Role.INTEGRATION and deployment is None:
        raise Unprocessable("An integration's key belongs to one deployment: name it.", slug="no-deployment")
    tenant_id, deployment_id = await _bounds(conn, tenant, deployment)
    foreign = only_tenant_id is not None and tenant_id != only_tenant_id
    if foreign or (only_deployment_id is not None and deployment_id != only_deployment_id):
        raise _nothing_there(tenant, deployment)
    key = new_secret(API_KEY_PREFIX)
    row = {
        "name": name,
        "role": role.value,
        "tenant_id": tenant_id,
        "deployment_id": deployment_id,
        "key_hash": hash_secret(key),
        "created_by": by,
        "now": now,
    }
    made = await (await conn.execute(Q.api_key_insert, row)).fetchone()
    if made is None:
        raise Conflict(f"There is (or was) a key named '{name}': choose another name.", slug="name-taken")
    return made[0], key


async def _bounds(
    conn: Connection, tenant: str | None, deployment: str | None
) -> tuple[int | None, int | None]:
    if tenant is None:
        if deployment is not None:
            raise Unprocessable("A deployment is named without its tenant.", slug="no-tenant")
        return None, None
    if deployment is None:
        row = await (await conn.execute(Q.tenant_by_key, {"tenant": tenant})).fetchone()
        found = (row[0], None) if row else None
    else:
        names = {"tenant": tenant, "deployment": deployment}
        row = await (await conn.execute(Q.deployment_by_key, names)).fetchone()
        found = (row[0], row[1]) if row else None
    if found is None:
        raise _nothing_there(tenant, deployment)
    return found


def _nothing_there(tenant: str | None, deployment: str | None) -> NotFound:
    """One answer for what is not there and what is not the caller's: it must not tell which."""
    site = f" with a deployment '{deployment}'" if deployment else ""
    named = f"tenant '{tenant}'{site}" if tenant else "such tenant"
    return NotFound(f"There is no {named} for this key.")


async def listed(
    conn: Connection, tenant_id: int | None, *, deployment_id: int | None = None
) -> list[KeyRow]:
    """All keys of one tenant (and one deployment of it); None = of everybody."""
    row = {"tenant_id": tenant_id, "deployment_id": deployment_id}
    rows = await (await conn.execute(Q.api_keys, row)).fetchall()
    return [KeyRow(*row) for row in rows]


async def revoke(
    conn: Connection,
    api_key_id: int,
    now: datetime,
    *,
    tenant_id: int | None,
    deployment_id: int | None = None,
) -> bytes:
    """Revoke a key (again changes nothing); returns its hash for the caches. Raises NotFound, also for one
    beyond the caller's tenant or deployment."""
    scope = {"tenant_id": tenant_id, "deployment_id": deployment_id}
    row = scope | {"api_key_id": api_key_id, "now": now}
    found = await (await conn.execute(Q.api_key_revoke, row)).fetchone()
    if found is None:
        raise NotFound(f"There is no API key {api_key_id}.")
    key_hash: bytes = found[0]
    return key_hash
