"""Everything that is known about a deployment when something must be decided about it: one read."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from storage.sql import Queries
from ticketing.registry import Contact, Contract, Deployment, Product

Q = Queries.load("ticketing")
Row = tuple[Any, ...]


class Circumstances(msgspec.Struct, frozen=True):
    """What the registry and the agents say about one deployment, now."""

    tenant_id: int
    deployment_id: int
    tenant: str
    """The customer's name."""
    deployment: Deployment
    contract: Contract | None
    """The one in force in the registry; None: none was ever recorded."""
    contacts: tuple[Contact, ...]
    """Those who answer for this deployment."""
    products: dict[str, Product]
    """What is installed, by key."""
    enrolled: bool
    """An agent of this deployment was enrolled at some time: it is connected, silence never clears that."""
    reported_version: str | None
    """Platform version as an agent reports it; None: none does."""
    reported_at: datetime | None
    """When that agent was last heard."""
    booking: str | None = None
    """On-call assistance agreed for this very time: by whom, until when, why; None: none."""


async def circumstances(
    conn: AsyncConnection[Row], tenant_id: int, deployment_id: int, host_id: int | None = None
) -> Circumstances:
    """Read them. ``host_id``: this host's report of the version comes first, then the newest of any."""
    key = {"tenant_id": tenant_id, "deployment_id": deployment_id, "host_id": host_id}
    row = await (await conn.execute(Q.deployment_facts, key)).fetchone()
    if row is None:
        raise LookupError(f"deployment {deployment_id} of tenant {tenant_id} is not in the registry")
    tenant, name, licence, theatre, zone, country, facts, contract, enrolled, version, heard = row
    columns = {"name": name, "licence": licence, "theatre": theatre, "zone": zone, "country": country}
    deployment = Deployment.model_validate(columns | facts, strict=False)
    return Circumstances(
        tenant_id=tenant_id,
        deployment_id=deployment_id,
        tenant=tenant,
        deployment=deployment,
        contract=None if contract is None else Contract.model_validate(contract, strict=False),
        contacts=await _contacts(conn, tenant_id, deployment_id),
        products=await _products(conn, deployment.products),
        enrolled=enrolled,
        reported_version=version,
        reported_at=heard,
    )


async def _contacts(conn: AsyncConnection[Row], tenant_id: int, deployment_id: int) -> tuple[Contact, ...]:
    key = {"tenant_id": tenant_id, "deployment_id": deployment_id}
    rows = await (await conn.execute(Q.contacts_of_deployment, key)).fetchall()
    names = ("name", "email", "phone", "languages", "reachable_24h")
    return tuple(Contact.model_validate(dict(zip(names, row, strict=True)), strict=False) for row in rows)


async def _products(conn: AsyncConnection[Row], keys: tuple[str, ...]) -> dict[str, Product]:
    rows = await (await conn.execute(Q.products_named, {"keys": list(keys)})).fetchall()
    names = ("name", "end_of_life", "end_of_support", "newest_version")
    return {key: Product(**dict(zip(names, row, strict=True))) for key, *row in rows}


async def with_booking(conn: AsyncConnection[Row], known: Circumstances, now: datetime) -> Circumstances:
    """The same, with the on-call assistance that was agreed for ``now``."""
    values = {"tenant_id": known.tenant_id, "deployment_id": known.deployment_id, "now": now}
    row = await (await conn.execute(Q.booking_now, values)).fetchone()
    if row is None:
        return known
    text = f"on-call assistance was agreed by {row[3]} until {row[1]:%Y-%m-%d %H:%M} UTC: {row[2]}"
    return msgspec.structs.replace(known, booking=text)
