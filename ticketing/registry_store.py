"""The registry in the database: loaded as a document, changed in one transaction, with its audit trail.

Appliers are serialised by an advisory lock, so that what was compared is what is changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from storage.sql import Queries
from ticketing.registry import (
    Contact,
    Deployment,
    Product,
    Registry,
    RegistryError,
    StaffMember,
    Tenant,
    document_of,
)
from ticketing.registry_plan import Change, Document, Flat, dangling, differences, without_secrets

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]
_COLUMNS = ("name", "licence", "theatre", "zone", "country")


async def plan(conn: Connection, wanted: Registry) -> list[Change]:
    """What ``apply`` would change. Raises RegistryError for references to unknown things."""
    stored = await load(conn)
    if faults := dangling(stored, wanted):
        raise RegistryError(faults)
    return differences(stored, wanted)


async def apply(
    conn: Connection, wanted: Registry, *, now: datetime, actor: str, origin: str = ""
) -> list[Change]:
    """Make the store say what the document says, all or nothing; returns what was changed.

    ``actor`` and ``origin`` (who, from where) go into the audit trail."""
    async with conn.transaction():
        await conn.execute(Q.lock_registry)
        changes = await plan(conn, wanted)
        for change in changes:
            await _WRITERS[_kind(change)](conn, change, now, actor)
            await _audit(conn, change, now, actor, origin)
        await _reconsider(conn, changes, now)
    return changes


async def _audit(conn: Connection, change: Change, now: datetime, actor: str, origin: str) -> None:
    old, new = (None if d is None else Jsonb(without_secrets(d)) for d in (change.old, change.new))
    values = {"at": now, "actor": actor, "origin": origin, "act": change.act, "path": change.where}
    await conn.execute(Q.record_registry_change, values | {"old": old, "new": new})


async def _reconsider(conn: Connection, changes: Sequence[Change], now: datetime) -> None:
    """What fires without a ticket is decided again when what the customer bought has changed."""
    if any(c.path[0] == "products" and c.act == "change" for c in changes):
        await conn.execute(Q.reconsider_alerts, {"tenants": None, "now": now})
    keys = sorted({c.path[1] for c in changes if len(c.path) > 3})
    if keys:
        await conn.execute(Q.reconsider_alerts, {"tenants": keys, "now": now})


# --- reading ---------------------------------------------------------------------------------------------


async def load(conn: Connection) -> Flat:
    """Everything stored, flattened as ``registry_plan.flatten`` does. Contracts: the ones in force."""
    flat: Flat = {}
    for loader in (_products, _people, _tenants, _deployments, _contacts):
        flat |= await loader(conn)
    return flat


async def _products(conn: Connection) -> Flat:
    rows = await (await conn.execute(Q.all_products)).fetchall()
    names = ("name", "end_of_life", "end_of_support", "newest_version")
    return {("products", key): _lenient(Product, _named(names, row)) for key, *row in rows}


async def _people(conn: Connection) -> Flat:
    rows = await (await conn.execute(Q.all_people)).fetchall()
    names = ("name", "email", "phone", "zone", "languages", "roles", "active")
    return {("people", key): _lenient(StaffMember, _named(names, row)) for _, key, *row in rows}


async def _tenants(conn: Connection) -> Flat:
    rows = await (await conn.execute(Q.all_tenants)).fetchall()
    return {("tenants", key): _lenient(Tenant, {"name": name, **facts}) for key, name, facts in rows}


async def _deployments(conn: Connection) -> Flat:
    flat: Flat = {}
    for tenant, key, *columns, facts, contract in await (await conn.execute(Q.all_deployments)).fetchall():
        path = ("tenants", tenant, "deployments", key)
        flat[path] = _lenient(Deployment, _named(_COLUMNS, columns) | facts)
        if contract is not None:
            flat[*path, "contract"] = contract
    return flat


async def _contacts(conn: Connection) -> Flat:
    rows = await (await conn.execute(Q.all_contacts)).fetchall()
    names = ("name", "email", "phone", "languages", "reachable_24h", "deployments")
    return {
        ("tenants", tenant, "contacts", key): _lenient(Contact, _named(names, row))
        for tenant, key, *row in rows
    }


def _named(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(names, row, strict=True))


def _lenient(model: Any, values: dict[str, Any]) -> Document:
    """JSON types (lists, ISO dates) into the strict model, and back with defaults left out."""
    return document_of(model.model_validate(values, strict=False))


# --- writing ---------------------------------------------------------------------------------------------

Writer = Callable[[Connection, Change, datetime, str], Awaitable[None]]


def _kind(change: Change) -> str:
    """``tenants.acme.deployments.main`` -> ``deployments``; contracts are their own kind."""
    match change.path:
        case ("tenants", _, "deployments", _, "contract"):
            return "contract"
        case ("tenants", _, kind, _):
            return f"{kind}-remove" if change.act == "remove" else kind
        case _:
            return change.path[0]


def _new(change: Change) -> Document:
    assert change.new is not None, "only a removal has no new value"
    return change.new


async def _write_product(conn: Connection, change: Change, _now: datetime, _actor: str) -> None:
    product = Product.model_validate(_new(change), strict=False)
    await conn.execute(Q.upsert_product, {"key": change.path[1], **product.model_dump()})


async def _write_person(conn: Connection, change: Change, _now: datetime, _actor: str) -> None:
    person = StaffMember.model_validate(_new(change), strict=False)
    values = person.model_dump(mode="json")
    await conn.execute(Q.upsert_person, values | {"key": change.path[1], "roles": Jsonb(values["roles"])})


async def _write_tenant(conn: Connection, change: Change, now: datetime, _actor: str) -> None:
    document = _new(change)
    facts = {k: v for k, v in document.items() if k != "name"}
    values = {"key": change.path[1], "name": document["name"], "facts": Jsonb(facts), "now": now}
    await conn.execute(Q.upsert_tenant, values)


async def _write_deployment(conn: Connection, change: Change, now: datetime, _actor: str) -> None:
    document = _new(change)
    facts = Jsonb({k: v for k, v in document.items() if k not in _COLUMNS})
    columns = {name: document[name] for name in _COLUMNS}
    keys = {"tenant": change.path[1], "key": change.path[3]}
    await conn.execute(Q.upsert_deployment, {**columns, **keys, "facts": facts, "now": now})


async def _write_contract(conn: Connection, change: Change, now: datetime, actor: str) -> None:
    keys = {"tenant": change.path[1], "key": change.path[3], "now": now}
    await conn.execute(Q.supersede_contract, keys)
    await conn.execute(Q.insert_contract, {**keys, "document": Jsonb(_new(change)), "actor": actor})


async def _write_contact(conn: Connection, change: Change, _now: datetime, _actor: str) -> None:
    contact = Contact.model_validate(_new(change), strict=False)
    keys = {"tenant": change.path[1], "key": change.path[3]}
    await conn.execute(Q.upsert_contact, {**contact.model_dump(mode="json"), **keys})


async def _remove_contact(conn: Connection, change: Change, _now: datetime, _actor: str) -> None:
    await conn.execute(Q.delete_contact, {"tenant": change.path[1], "key": change.path[3]})


_WRITERS: dict[str, Writer] = {
    "products": _write_product,
    "people": _write_person,
    "tenants": _write_tenant,
    "deployments": _write_deployment,
    "contract": _write_contract,
    "contacts": _write_contact,
    "contacts-remove": _remove_contact,
}
