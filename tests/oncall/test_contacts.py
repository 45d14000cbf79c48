"""The customer's contact is called too: own message, own language, a confirmation of its own."""

from __future__ import annotations

import pytest

from oncall.voice.languages import LANGUAGES, notice
from storage.pool import Pool
from tests.oncall.lab import lab
from tests.oncall.voice.test_twiml import briefing
from tests.oncall.world import Registry

MARIO = "+390584000077"


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_every_language_says_customer_problem_and_number(language: str) -> None:
    """No placeholder is left, and the facts are there."""
    text = notice("Mario", briefing(), language)
    assert "{" not in text
    for fact in ("Mario", "Acme & Sons", "CPU saturated", "srv1", "0 0 0 1 2 3"):
        assert fact in text
    assert "4" in LANGUAGES[language].menu


def customer_request(registry: Registry, *, reachable: bool = True) -> None:
    """A page request for the customer, who has one Italian contact."""
    tenant_id, request_id = registry.request("Disk full")
    registry.run(f"UPDATE page_request SET audience = 'customer' WHERE page_request_id = {request_id}")
    registry.run(
        "INSERT INTO contact (tenant_id, key, name, phone, languages, reachable_24h)"
        f" VALUES ({tenant_id}, 'mario', 'Mario', '{MARIO}', '{{it,en}}', {reachable})"
    )


async def test_the_contact_hears_its_language_and_confirms(pool: Pool, registry: Registry) -> None:
    """Mario hears Italian and presses 4: a confirmation of a contact, not of one of our people."""
    customer_request(registry)
    async with lab(pool) as here:
        here.script(phones=[{"number": MARIO, "behaviour": "auto", "after_s": 1}])
        await here.pager().sync()
        await here.look_until("SELECT true FROM acknowledgement")
        await here.look_until("SELECT next_look_at IS NULL FROM paging")
        [call] = here.exchange.calls.values()
    assert "avviso automatico" in call.lines[0]
    assert "conferma è stata registrata" in call.lines[-1]
    [(person, contact, by)] = registry.rows("SELECT person_id, contact_id, proof->>'by' FROM acknowledgement")
    assert (person, by) == (None, "Mario")
    assert contact is not None


async def test_a_notice_nobody_takes_ends_and_says_so(pool: Pool, registry: Registry) -> None:
    """Unlike what wakes our own people, it is given up after two rounds - and nobody else is called."""
    customer_request(registry)
    async with lab(pool) as here:
        here.script(phones=[{"number": MARIO, "behaviour": "busy"}])
        await here.pager().sync()
        await here.look_until("SELECT state = 'ended' FROM paging")
        assert set(here.called()) == {MARIO}
        assert len(here.called()) == 4
    reason = registry.value("SELECT end_reason FROM paging")
    assert reason == "no contact of the customer confirmed the notice"


async def test_without_a_contact_for_any_hour_nobody_is_called(pool: Pool, registry: Registry) -> None:
    """A contact for working hours only is not rung."""
    customer_request(registry, reachable=False)
    async with lab(pool) as here:
        await here.pager().sync()
        await here.look_until("SELECT state = 'ended' FROM paging")
        assert here.called() == []
