"""The timeline that anyone can read, and acknowledgement without a phone."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from storage.pool import Pool
from tests.oncall.lab import lab
from tests.oncall.world import ANNA, Registry, web
from wire.access import Principal, Role

URL = "http://ours/v1/oncall"


async def test_the_timeline_tells_why_and_how_somebody_was_woken(pool: Pool, registry: Registry) -> None:
    """Decision, call and its step, the provider's answer, ringing, picked up, the key - in that order."""
    registry.request()
    async with lab(pool) as here:
        here.script(phones=[{"number": ANNA, "behaviour": "auto", "after_s": 1}])
        await here.pager().sync()
        await here.look_until("SELECT true FROM acknowledgement")
        [story] = (await here.http.get(f"{URL}/pages")).json()["pages"]
    kinds = list(dict.fromkeys(k for k in (line["kind"] for line in story["timeline"]) if k != "heard"))
    assert kinds[:5] == ["decision", "call", "placed", "ringing", "answered"]
    assert "no_answer" not in kinds  # the end of the call is heard after its answer and changes nothing
    assert "acknowledged" in kinds
    texts = " / ".join(line["text"] for line in story["timeline"])
    assert "paging begins: P1 of a Platinum customer" in texts
    assert "Anna is number 1 of 3 on the list" in texts
    assert "p1 accepted the call" in texts
    assert "Anna pressed 4: acknowledged" in texts
    assert story["acknowledgements"][0]["person"] == "Anna"
    assert story["state"] == "acknowledged"


async def test_a_person_acknowledges_through_the_api(pool: Pool, registry: Registry) -> None:
    """Support staff: once, however often it is sent; what rings is hung up."""
    tenant_id, request_id = registry.request()
    path = f"{URL}/page-requests/{tenant_id}/{request_id}/acknowledge"
    async with lab(pool, ring_s=600) as here:
        await here.pager().sync()
        await here.look_until("SELECT true FROM page WHERE state = 'ringing'")
        for _ in range(2):
            answer = await here.http.post(path, json={"person": "ben"})
            assert answer.json()["acknowledged_by"] == "Ben"
        await here.look_until("SELECT state = 'superseded' FROM page")
        await here.look_until("SELECT next_look_at IS NULL FROM paging")
        [call] = here.exchange.calls.values()
    assert call.status == "canceled"
    assert registry.rows("SELECT channel, page_id FROM acknowledgement") == [("api", None)]


async def test_who_answers_again_answers_what_rings_now(pool: Pool, registry: Registry) -> None:
    """Ben acknowledged, did nothing, and the ticket is rung for anew; he sends the same again, with the
    number of the first request that he has at hand: it is the second that he answers.

    Broken twin (tried): "acknowledged by Ben" was the answer, and the phones rang on."""
    tenant_id, request_id = registry.request()
    path = f"{URL}/page-requests/{tenant_id}/{request_id}/acknowledge"
    async with lab(pool, ring_s=600) as here:
        await here.pager().sync()
        await here.http.post(path, json={"person": "ben"})
        registry.end((tenant_id, request_id), "Ben answers for it")
        registry.run(
            "INSERT INTO page_request (tenant_id, ticket_id, audience, policy, requested_at, reason)"
            " SELECT tenant_id, ticket_id, 'technician', policy, now(), 'nobody acted' FROM page_request"
        )
        await here.pager().sync()
        assert (await here.http.post(path, json={"person": "ben"})).json()["acknowledged_by"] == "Ben"
    assert registry.value("SELECT count(*) FROM paging WHERE state = 'active'") == 0
    assert registry.value("SELECT count(*) FROM acknowledgement") == 2


async def test_recovery_before_an_answer_hangs_up(pool: Pool, registry: Registry) -> None:
    """Ticketing ends the page request: the ringing stops, the paging says why."""
    request = registry.request()
    async with lab(pool, ring_s=600) as here:
        await here.pager().sync()
        await here.look_until("SELECT true FROM page WHERE state = 'ringing'")
        registry.end(request, "the problem recovered before anybody answered")
        await here.pager().sync()
        await here.look_until("SELECT next_look_at IS NULL FROM paging")
        [call] = here.exchange.calls.values()
    assert call.status == "canceled"
    found = registry.rows("SELECT state, end_reason FROM paging")
    assert found == [("ended", "the problem recovered before anybody answered")]


@pytest.mark.parametrize("role", [Role.READER, Role.SUPPORT, Role.ADMIN])
async def test_pages_are_for_our_own_staff(pool: Pool, registry: Registry, role: Role) -> None:
    """No key of a customer reads a timeline (our people's numbers) or answers in a technician's name."""
    tenant_id, request_id = registry.request()
    async with lab(pool) as here:
        await here.pager().sync()
        customer = web(pool, here.settings, Principal("customer", role, tenant_id))
        transport = httpx.ASGITransport(customer)
        async with httpx.AsyncClient(transport=transport, base_url=URL) as http:
            seen = await http.get("/pages")
            taken = await http.post(f"/page-requests/{tenant_id}/{request_id}/acknowledge", json=BEN)
    assert (seen.status_code, taken.status_code) == (403, 403)
    assert registry.rows("SELECT state FROM paging") == [("active",)]


BEN: dict[str, Any] = {"person": "ben"}


async def test_faulty_requests_name_the_fault(pool: Pool, registry: Registry) -> None:
    """Unknown persons and requests, wrong types, ids past int8: 4xx, never 5xx."""
    tenant_id, request_id = registry.request()
    async with lab(pool) as here:
        await here.pager().sync()
        at = f"{URL}/page-requests/{tenant_id}"
        tries: list[tuple[str, Any, int]] = [
            (f"{at}/{request_id}/acknowledge", {"person": "nobody"}, 404),
            (f"{at}/{request_id + 1}/acknowledge", BEN, 404),
            (f"{at}/{2**80}/acknowledge", BEN, 422),
            (f"{at}/{request_id}/acknowledge", {"person": "ben", "note": "\x00"}, 422),
            (f"{at}/{request_id}/acknowledge", {"person": "BEN"}, 422),
            (f"{at}/{request_id}/acknowledge", {}, 422),
        ]
        for path, body, status in tries:
            assert (await here.http.post(path, json=body)).status_code == status, (path, body)
        for query in ("limit=0", "limit=1000", "state=odd", f"before={2**70}", "tenant_id=x"):
            assert (await here.http.get(f"{URL}/pages?{query}")).status_code == 422
