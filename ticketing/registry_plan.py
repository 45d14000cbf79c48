"""What applying a registry document would change: a pure comparison of two documents.

Both sides are flattened to one small JSON object per thing (``Entry``); a contract is a thing of its own,
because a changed contract supersedes the old one while a changed name just changes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from ticketing import contract
from ticketing.registry import Fault, Registry, Tenant, document_of
from ticketing.releases import load_releases

Act = Literal["add", "change", "supersede", "remove"]
Path = tuple[str, ...]
Document = dict[str, Any]
Flat = dict[Path, Document]
CONTRACT_DEPTH = len(("tenants", "<key>", "deployments", "<key>", "contract"))
"""Only contracts lie this deep."""


class Change(msgspec.Struct, frozen=True):
    """One difference between what is stored and what is wanted."""

    act: Act
    path: Path
    """As ``("tenants", "acme", "deployments", "main", "contract")``."""
    old: Document | None
    new: Document | None

    @property
    def where(self) -> str:
        """The path as people read it."""
        return ".".join(self.path)


def flatten(registry: Registry) -> Flat:
    """One entry per thing the document mentions, in the order in which they can be written."""
    flat: Flat = {("products", key): document_of(product) for key, product in registry.products.items()}
    flat |= {("people", key): document_of(person) for key, person in registry.people.items()}
    for key, tenant in registry.tenants.items():
        flat |= dict(_tenant(key, tenant))
    return flat


def _tenant(key: str, tenant: Tenant) -> Iterator[tuple[Path, Document]]:
    path = ("tenants", key)
    yield path, {k: v for k, v in document_of(tenant).items() if k not in ("contacts", "deployments")}
    for name, deployment in tenant.deployments.items():
        at = (*path, "deployments", name)
        yield at, {k: v for k, v in document_of(deployment).items() if k != "contract"}
        if deployment.contract is not None:
            yield (*at, "contract"), document_of(deployment.contract)
    for name, contact in (tenant.contacts or {}).items():
        yield (*path, "contacts", name), document_of(contact)


def differences(stored: Flat, wanted: Registry) -> list[Change]:
    """What must be written so that the store says what the document says. Empty: nothing to do."""
    return [*_written(stored, flatten(wanted)), *_removed(stored, wanted)]


def _written(stored: Flat, wanted: Flat) -> Iterator[Change]:
    for path, new in wanted.items():
        old = stored.get(path)
        if old is None:
            yield Change("add", path, None, new)
        elif old != new:
            yield Change("supersede" if len(path) == CONTRACT_DEPTH else "change", path, old, new)


def _removed(stored: Flat, wanted: Registry) -> Iterator[Change]:
    for key, tenant in wanted.tenants.items():
        if tenant.contacts is None:
            continue
        for path, old in stored.items():
            if path[:3] == ("tenants", key, "contacts") and path[3] not in tenant.contacts:
                yield Change("remove", path, old, None)


def dangling(stored: Flat, wanted: Registry) -> list[Fault]:
    """References to things that neither the document nor the store knows."""
    known = {*stored, *flatten(wanted)}
    return [*_unknown_products(known, wanted), *_unknown_deployments(known, wanted)]


def _unknown_products(known: set[Path], wanted: Registry) -> Iterator[Fault]:
    for tenant_key, tenant in wanted.tenants.items():
        for key, deployment in tenant.deployments.items():
            for n, product in enumerate(deployment.products):
                if ("products", product) not in known:
                    field = f"tenants.{tenant_key}.deployments.{key}.products[{n}]"
                    yield Fault(field=field, message=f"there is no product '{product}'; add it to 'products'")


def _unknown_deployments(known: set[Path], wanted: Registry) -> Iterator[Fault]:
    for tenant_key, tenant in wanted.tenants.items():
        for key, contact in (tenant.contacts or {}).items():
            for n, deployment in enumerate(contact.deployments):
                if ("tenants", tenant_key, "deployments", deployment) not in known:
                    field = f"tenants.{tenant_key}.contacts.{key}.deployments[{n}]"
                    yield Fault(field=field, message=f"this tenant has no deployment '{deployment}'")


def doubts(wanted: Registry) -> Iterator[str]:
    """What a person should look at before it is applied; none of it refuses the document."""
    for tenant_key, tenant in wanted.tenants.items():
        for key, deployment in tenant.deployments.items():
            if deployment.contract is None:
                continue
            rules = contract.licence_rules(load_releases()[-1], deployment.licence)
            bought = msgspec.convert(deployment.contract.model_dump(), contract.Contract)
            for doubt in contract.doubts(bought, rules):
                yield f"tenants.{tenant_key}.deployments.{key}.contract.{doubt}"


_SIGNS: Mapping[Act, str] = {"add": "+", "change": "~", "supersede": "~", "remove": "-"}


def readable(change: Change) -> str:
    """A change as lines for people: what it is, then each field with its old and new value."""
    head = f"{_SIGNS[change.act]} {change.where}"
    if change.act == "supersede":
        head += "  (the contract before it stays in the history)"
    return "\n".join([head, *(f"    {line}" for line in _fields(change.old or {}, change.new or {}))])


def _fields(old: Document, new: Document) -> Iterator[str]:
    for name in sorted({*old, *new}):
        before, after = _shown(name, old.get(name)), _shown(name, new.get(name))
        if name not in old:
            yield f"{name}: {after}"
        elif name not in new:
            yield f"{name}: {before} -> (default)"
        elif old[name] != new[name]:
            yield f"{name}: {before} -> {after}"


def _shown(name: str, value: Any) -> str:
    return json.dumps(without_secrets({name: value})[name], ensure_ascii=False)


def without_secrets(document: Document) -> Document:
    """The document as it may be shown and kept in the audit trail: webhook secrets blotted out."""
    hooks = document.get("webhooks")
    if not hooks:
        return document
    return document | {"webhooks": [hook | {"secret": "(secret)"} for hook in hooks]}
