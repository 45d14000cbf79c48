"""The registry over HTTP: read it, see what a document would change, apply it, look into its history."""

from __future__ import annotations

import json
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query, Request
from pydantic import ValidationError

from storage.pool import Pool
from storage.sql import Queries
from ticketing import reading, registry_store
from ticketing.circumstances import circumstances
from ticketing.entitlement import decide
from ticketing.opening import contract_of, facts_of, release_of
from ticketing.reason import to_documents
from ticketing.registry import Registry, RegistryError, field_path, plain
from ticketing.registry_plan import Change, Flat, without_secrets
from ticketing.shapes import MAX_ID
from wire.access import Principal, Role
from wire.clock import Clock
from wire.problem import FieldError, Forbidden, NotFound, Unprocessable

Q = Queries.load("ticketing")
Document = dict[str, Any]
KeyPath = Annotated[str, "a key"]


def add_registry_routes(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    """Add the registry's routes."""
    _add_document_routes(routes, pool, clock)
    _add_reading_routes(routes, pool, clock)


def _staff(request: Request, role: Role) -> Principal:
    """One of ours, with this role."""
    principal: Principal = request.state.principal
    principal.require(role)
    if principal.tenant_id is not None:
        raise Forbidden("The registry belongs to the vendor's staff.")
    return principal


def _add_document_routes(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    @routes.get("/registry", tags=["registry"])
    async def get_registry(request: Request) -> Document:
        """The whole registry as a document; secrets are blotted out."""
        _staff(request, Role.ADMIN)
        async with pool.connection() as conn:
            return nested(await registry_store.load(conn))

    @routes.post("/registry/plan", tags=["registry"], openapi_extra=_BODY)
    async def plan(request: Request) -> Document:
        """What applying this document would change."""
        _staff(request, Role.ADMIN)
        wanted = document_of(await request.body())
        async with pool.connection() as conn:
            try:
                return {"changes": _shown(await registry_store.plan(conn, wanted))}
            except RegistryError as error:
                raise _refused(error) from None

    @routes.post("/registry/apply", tags=["registry"], openapi_extra=_BODY)
    async def apply(request: Request) -> Document:
        """Apply this document, all or nothing; answers with what was changed."""
        who = _staff(request, Role.ADMIN)
        wanted = document_of(await request.body())
        origin = request.client.host if request.client else ""
        async with pool.connection() as conn:
            try:
                done = await registry_store.apply(conn, wanted, now=clock(), actor=who.name, origin=origin)
            except RegistryError as error:
                raise _refused(error) from None
        return {"changes": _shown(done)}

    @routes.get("/registry/changes", tags=["registry"])
    async def changes(
        request: Request,
        before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> list[Document]:
        """Who changed what, when and from where, newest first."""
        _staff(request, Role.ADMIN)
        async with pool.connection() as conn:
            return await reading.registry_changes(conn, before, limit)


_BODY = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": {"type": "object", "title": "Registry"}}},
    }
}


def _add_reading_routes(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    @routes.get("/registry/tenants/{tenant}/deployments/{deployment}", tags=["registry"])
    async def get_deployment(request: Request, tenant: str, deployment: str) -> Document:
        """What a deployment is entitled to now, with every reason, and its contract's history."""
        who: Principal = request.state.principal
        who.require(Role.READER)
        keys = {"tenant": tenant, "deployment": deployment, "tenant_id": who.scope(None)}
        async with pool.connection() as conn:
            row = await (await conn.execute(Q.deployment_ids, keys)).fetchone()
            if row is None or who.deployment_id not in (None, row[1]):
                raise NotFound("There is no such deployment.")
            known = await circumstances(conn, row[0], row[1])
            history = await reading.contract_history(conn, row[0], row[1])
        facts, contract, now = facts_of(known), contract_of(known), clock()
        found = decide(facts, contract, now, release_of(contract, facts, now))
        names = ("monitored", "ticket", "sla", "page_technician", "phone_customer")
        return {
            "tenant": known.tenant,
            "deployment": known.deployment.model_dump(mode="json", exclude={"contract"}),
            "plan": found.plan,
            "flags": list(found.flags),
            "entitlement": {name: _decision(getattr(found, name)) for name in names},
            "contracts": history,
        }


def _decision(decision: Any) -> Document:
    return {"value": decision.value, "reasons": to_documents(decision.reasons)}


def document_of(body: bytes) -> Registry:
    """The document in a request's body. Raises Unprocessable with every fault."""
    try:
        return Registry.model_validate_json(body)
    except ValidationError as error:
        faults = [FieldError(_text(field_path(e["loc"])), _text(plain(e["msg"]))) for e in error.errors()]
        raise Unprocessable("The document cannot be applied; nothing was changed.", errors=faults) from None


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _refused(error: RegistryError) -> Unprocessable:
    faults = [FieldError(fault.field, fault.message) for fault in error.faults]
    return Unprocessable("The document cannot be applied; nothing was changed.", errors=faults)


def _shown(changes: list[Change]) -> list[Document]:
    return [
        {
            "act": change.act,
            "path": change.where,
            "old": None if change.old is None else without_secrets(change.old),
            "new": None if change.new is None else without_secrets(change.new),
        }
        for change in changes
    ]


def nested(flat: Flat) -> Document:
    """The flattened registry as the document it came from, without secrets."""
    root: Document = {"products": {}, "people": {}, "tenants": {}}
    for path, document in flat.items():
        place = root
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place.setdefault(path[-1], {}).update(without_secrets(document))
    return json.loads(msgspec.json.encode(root))  # type: ignore[no-any-return]
