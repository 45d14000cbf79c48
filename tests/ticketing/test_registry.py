"""The registry: all faults at once with their lines, nothing half applied, history kept, twice is once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from storage.pool import Pool
from ticketing.contract import Contract as CoveringContract
from ticketing.contract import Renewal as CoveringRenewal
from ticketing.registry import Contract, Registry, RegistryError, Renewal
from ticketing.registry_file import apply_file, example_text, parse, plan_file
from ticketing.registry_plan import readable

from .desk_world import CONTRACTS, MONDAY, REGISTRY, registry

GOOD = """\
products:
  ucx: {name: UCX}
tenants:
  acme:
    name: ACME
    contacts:
      anna: {name: Anna, phone: "+39333123456", reachable_24h: true, deployments: [main]}
    deployments:
      main:
        name: Main
        licence: subscription
        theatre: europe
        zone: Europe/Rome
        country: IT
        products: [ucx]
        clusters: {db: [one, two]}
        contract: {plan: gold, start: 2026-01-01, end: 2027-12-31}
"""

FAULTS = {
    "misspelt-field": ("zone: Europe/Rome", "zoen: Europe/Rome", 13, "zoen"),
    "unknown-zone": ("Europe/Rome", "Europe/Roma", 13, "zone"),
    "country-as-boolean": ("country: IT", "country: NO", 14, "country"),
    "phone-as-number": ('"+39333123456"', "+39333123456", 7, "phone"),
    "24h-without-phone": ('phone: "+39333123456", ', "", 7, "contacts.anna"),
    "unknown-licence": ("licence: subscription", "licence: rented", 11, "licence"),
    "unknown-plan": ("plan: gold", "plan: silver", 17, "contract.plan"),
    "contract-backwards": ("end: 2027-12-31", "end: 2025-12-31", 9, "main"),
    "host-in-two-clusters": ("clusters: {db: [one, two]}", "clusters: {a: [x], b: [x]}", 9, "main"),
    "unknown-product": ("products: [ucx]", "products: [abc]", 15, "products[0]"),
    "unknown-deployment": ("deployments: [main]", "deployments: [other]", 7, "deployments[0]"),
    "key-with-capitals": ("  acme:", "  Acme:", 4, "tenants.Acme"),
    "impossible-date": ("2026-01-01", "2026-02-30", 17, "start"),
    "not-yaml": ("name: ACME", "name: [ACME", 6, "document"),
    "doubled-key": ("    name: ACME", "    name: ACME\n    name: Other", 6, "name"),
}

REFERENCES = ("unknown-product", "unknown-deployment")


async def _apply(pool: Pool, text: str, actor: str = "test") -> list[Any]:
    async with pool.connection() as conn:
        return await apply_file(conn, text, now=MONDAY, actor=actor, origin="file")


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in REFERENCES])
def test_each_fault_is_named_with_its_line(name: str) -> None:
    """A document with one fault is refused; the fault's line and field are told."""
    old, new, line, field = FAULTS[name]
    assert old in GOOD
    with pytest.raises(RegistryError) as caught:
        parse(GOOD.replace(old, new, 1))
    assert (line, True) in [(fault.line, field in fault.field) for fault in caught.value.faults]


async def test_references_need_the_store(pool: Pool) -> None:
    """What neither the file nor the store knows is a fault with its line; what the store knows is none."""
    await _apply(pool, GOOD)
    for name in REFERENCES:
        old, new, line, field = FAULTS[name]
        with pytest.raises(RegistryError) as caught:
            await _apply(pool, GOOD.replace(old, new, 1))
        [fault] = caught.value.faults
        assert fault.line == line
        assert fault.field.endswith(field)
    without_products = GOOD.replace("products:\n  ucx: {name: UCX}\n", "", 1)
    assert await _apply(pool, without_products) == []


def test_all_faults_are_told_at_once() -> None:
    """Five faults in five places: one refusal with all five, in the order of their lines."""
    text = GOOD
    for name in ("misspelt-field", "country-as-boolean", "phone-as-number", "unknown-licence"):
        text = text.replace(*FAULTS[name][:2], 1)
    with pytest.raises(RegistryError) as caught:
        parse(text)
    lines = [fault.line for fault in caught.value.faults]
    assert lines == sorted(lines, key=lambda line: line or 0)
    assert {7, 11, 13, 14} <= set(lines)


async def test_half_valid_files_change_nothing(pool: Pool) -> None:
    """A file with a good tenant and a bad one leaves neither."""
    with pytest.raises(RegistryError):
        await _apply(pool, GOOD + "  bad: {name: 7}\n")
    async with pool.connection() as conn:
        assert await (await conn.execute(b"SELECT 1 FROM tenant")).fetchall() == []


async def test_applying_twice_changes_once(pool: Pool) -> None:
    """What is stored reads back as exactly what was applied: a second plan is empty."""
    async with pool.connection() as conn:
        assert await plan_file(conn, REGISTRY)
        await apply_file(conn, REGISTRY, now=MONDAY, actor="test", origin="file")
        assert await plan_file(conn, REGISTRY) == []


async def test_a_contract_is_superseded_never_overwritten(pool: Pool) -> None:
    """Every document a contract ever had stays, with the time and the person of its end."""
    await _apply(pool, REGISTRY)
    upgraded = registry(CONTRACTS | {"gold-co": CONTRACTS["gold-co"].replace("gold", "platinum")})
    [change] = await _apply(pool, upgraded, actor="carla")
    assert change.act == "supersede"
    assert 'plan: "gold" -> "platinum"' in readable(change)
    query = b"SELECT document ->> 'plan', superseded_at IS NULL, recorded_by FROM contract c JOIN tenant t"
    async with pool.connection() as conn:
        found = await conn.execute(query + b" USING (tenant_id) WHERE key = 'gold-co' ORDER BY contract_id")
        assert await found.fetchall() == [("gold", False, "test"), ("platinum", True, "carla")]


async def test_only_listed_contacts_remain_and_everything_else_stays(pool: Pool) -> None:
    """The list of contacts is whole; what a file does not mention is left alone."""
    await _apply(pool, REGISTRY)
    changes = await _apply(pool, "tenants: {gold-co: {name: Gold-Co, contacts: {zoe: {name: Zoe}}}}")
    assert {(c.act, c.path[-1]) for c in changes} == {("remove", "anna"), ("add", "zoe")}
    async with pool.connection() as conn:
        assert len(await (await conn.execute(b"SELECT 1 FROM deployment")).fetchall()) == len(CONTRACTS)


async def test_secrets_are_stored_but_never_shown(pool: Pool) -> None:
    """A webhook's secret stands neither in the shown difference nor in the audit trail."""
    secret = "whsec_" + "A" * 32
    text = f"tenants: {{acme: {{name: A, webhooks: [{{url: 'https://a.example/h', secret: {secret}}}]}}}}"
    [change] = await _apply(pool, text)
    assert secret not in readable(change)
    async with pool.connection() as conn:
        [(trail,)] = await (await conn.execute(b"SELECT new::text FROM registry_change")).fetchall()
        [(facts,)] = await (await conn.execute(b"SELECT facts::text FROM tenant")).fetchall()
    assert secret not in trail
    assert secret in facts


async def test_two_appliers_at_once_agree(pool: Pool) -> None:
    """Eight appliers of one file at once: one of them changes, the others find nothing to do."""
    done = await asyncio.gather(*(_apply(pool, REGISTRY) for _ in range(8)))
    assert sorted(bool(changes) for changes in done) == [False] * 7 + [True]


def test_the_document_has_the_fields_that_cover_reads() -> None:
    """Nothing can be written into a contract that the entitlement does not know, and the other way round."""
    assert set(Contract.model_fields) == set(CoveringContract.__struct_fields__)
    assert set(Renewal.model_fields) == set(CoveringRenewal.__struct_fields__)


BOMBS = [
    "a: &x [1]\nb: *x",
    "[" * 5000,
    "\x00",
    "\ud800",
    "!!python/object/apply:os.system ['true']",
    "- 1",
    "7",
]


@pytest.mark.parametrize("text", BOMBS)
def test_hostile_files_are_refused_quickly(text: str) -> None:
    """Aliases, deep nesting, tags, control characters and wrong shapes are faults, not crashes."""
    with pytest.raises(RegistryError):
        parse(text)


def _fields_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield f"{path}{name}"
        for inner in _models_in(field.annotation):
            yield from _fields_of(inner, f"{path}{name}.")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)


def _given(model: BaseModel, path: str = "") -> Iterator[str]:
    for name in model.model_fields_set:
        yield f"{path}{name}"
        for inner in _parts(getattr(model, name)):
            yield from _given(inner, f"{path}{name}.")


def _parts(value: Any) -> Iterable[BaseModel]:
    if isinstance(value, BaseModel):
        return [value]
    held = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return [part for part in held if isinstance(part, BaseModel)]


async def test_the_example_shows_every_field_and_can_be_applied(pool: Pool) -> None:
    """A field that is added without an explanation in the example is found here."""
    document, _ = parse(example_text())
    assert sorted(set(_given(document))) == sorted(set(_fields_of(Registry)))
    assert await _apply(pool, example_text())
    assert not await _apply(pool, example_text())


def test_the_schema_describes_the_fields() -> None:
    """Editors show what a field means: its docstring is its description."""
    contract = Registry.model_json_schema()["$defs"]["Contract"]["properties"]
    assert "first period" in contract["end"]["description"]
