"""The pager against a phone company in another process: a page request becomes a person's keypress."""

from __future__ import annotations

from typing import Any

from storage.pool import Pool
from tests.oncall.world import ANNA, BEN, Company, Registry, paging, settings_for, until


async def acknowledged(registry: Registry) -> bool | None:
    return registry.value("SELECT true FROM acknowledgement")


async def test_a_ringing_phone_and_key_4_become_one_acknowledgement(
    pool: Pool, company: Company, registry: Registry, public_url: str
) -> None:
    """Ring, pick up, hear the ticket, press 4: one acknowledgement, nobody else is rung."""
    tenant_id, request_id = registry.request("Disk R&D <full>")
    async with paging(pool, settings_for(company, public_url)):
        sid = await company.ringing(ANNA)
        await company.do(sid, "answer")
        await until(lambda: _heard(company, "Press 4"))
        await company.do(sid, "press", digits="4")
        await until(lambda: acknowledged(registry))
        await until(lambda: _heard(company, "Acknowledged."))
    rows = registry.rows("SELECT tenant_id, page_request_id, channel, proof->>'Digits' FROM acknowledgement")
    assert rows == [(tenant_id, request_id, "voice", "4")]
    assert registry.value("SELECT state FROM paging") == "acknowledged"
    assert registry.value("SELECT state FROM page") == "acknowledged"
    assert [call["to"] for call in company.journal("placed")] == [ANNA]
    assert await _heard(company, "Acme & Sons <Ltd>: Disk R&D <full>")


async def _heard(company: Company, text: str) -> dict[str, Any] | None:
    return next((c for c in await company.calls() if any(text in line for line in c["heard"])), None)


async def test_key_5_rings_the_next_person(
    pool: Pool, company: Company, registry: Registry, public_url: str
) -> None:
    """Anna presses 5: Ben is rung, at once and without a second call to Anna."""
    registry.request()
    await company.script(phones=[{"number": ANNA, "behaviour": "auto", "key": "5", "after_s": 0.5}])
    async with paging(pool, settings_for(company, public_url)):
        await company.ringing(BEN)
    assert [call["to"] for call in company.journal("placed")] == [ANNA, BEN]
    assert registry.value("SELECT state FROM page ORDER BY created_at LIMIT 1") == "declined"
