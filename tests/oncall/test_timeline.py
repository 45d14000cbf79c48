"""Why was I (not) woken: for people of ours everything, for a customer what happened and when, never who."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from typer.testing import CliRunner

from oncall import published
from oncall.settings import Settings
from storage.pool import Pool
from tests.oncall.lab import lab
from tests.oncall.world import ANNA, BEN, Registry, web
from tests.ticketing.desk_world import World
from tests.ticketing.desk_world import registry as customers
from ucx_proactive.commands.oncall import app
from wire.access import Principal, Role


async def night(pool: Pool, registry: Registry) -> None:
    """The first provider fails, Anna lets it ring, Ben answers."""
    registry.request("Disk exhausted")
    async with lab(pool, providers=2, persons=("anna", "ben"), calls_per_step=1) as here:
        here.script(phones=[{"number": ANNA, "behaviour": "voicemail", "after_s": 1}])
        here.script(phones=[{"number": BEN, "behaviour": "auto", "after_s": 1}], faults=[{"kind": "5xx"}])
        await here.pager().sync()
        await here.look_until("SELECT true FROM acknowledgement")


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["timeline", *words])
    return result.exit_code, result.output


async def test_the_command_tells_the_night_by_ticket_request_and_page(pool: Pool, registry: Registry) -> None:
    """All three names lead to the same story, on one clock that is named; JSON holds it all."""
    await night(pool, registry)
    number = registry.value("SELECT number FROM ticket")
    page = str(registry.value("SELECT page_id FROM page ORDER BY created_at DESC LIMIT 1"))
    request = str(registry.value("SELECT page_request_id FROM paging"))
    told = [
        await asyncio.to_thread(run, what, "--database-url", registry.url, "--zone", "Europe/Rome")
        for what in (number, number.lower(), page, request)
    ]
    assert {code for code, _ in told} == {0}
    assert len({text for _, text in told}) == 1
    text = told[0][1]
    for piece in (
        "decision",
        "calling Anna",
        "could not be placed",
        "voicemail",
        "calling Ben",
        "Ben pressed 4",
    ):
        assert piece in text
    assert "answered by Ben (voice)" in text
    assert text.endswith("(times in Europe/Rome)\n")
    _, machine = await asyncio.to_thread(run, number, "--json", "--database-url", registry.url)
    assert json.loads(machine)["pages"][0]["ticket"] == number


async def test_a_ticket_that_rang_nobody_says_why_and_nonsense_says_so(pool: Pool, database_url: str) -> None:
    """Gold's P1: the decision at its opening; unknown names end with 1, an unknown zone with 2."""
    world = World(pool)
    await world.registry(customers({"gold-co": "plan: gold, start: 2024-01-01, autorenew: true"}))
    await world.fires("gold-co")
    await world.round()
    number = (await world.ticket("gold-co"))["number"]
    code, text = await asyncio.to_thread(run, number, "--database-url", database_url)
    assert code == 0
    assert "nobody was rung for it" in text
    assert "gold" in text.lower()
    for what in ("UCX-2026-999999", "77", "nonsense", "9" * 40, "6f9619ff-8b86-d011-b42d-00cf4fc964ff"):
        code, text = await asyncio.to_thread(run, what, "--database-url", database_url)
        assert (code, f"no ticket or page {what}" in text) == (1, True)
    assert (await asyncio.to_thread(run, number, "--zone", "Europe/Pisa"))[0] == 2


async def asked(pool: Pool, who: Principal, path: str) -> httpx.Response:
    """One request with that key."""
    transport = httpx.ASGITransport(web(pool, Settings(), who))
    async with httpx.AsyncClient(transport=transport, base_url="http://ours") as http:
        return await http.get(f"/v1/oncall/timelines/{path}")


async def test_a_customers_key_sees_its_own_ticket_and_nobody_of_ours(pool: Pool, registry: Registry) -> None:
    """The same night for the customer: each step and time, no name, number, provider or reason; another
    customer's key, another deployment's and an agent's see nothing.

    Broken twin: telling the stored texts shows Anna's name and number (seen to fail)."""
    await night(pool, registry)
    number = registry.value("SELECT number FROM ticket")
    tenant, deployment = registry.rows("SELECT tenant_id, deployment_id FROM ticket")[0]
    staff = await asked(pool, Principal("sofia", Role.READER), number)
    assert "Anna" in staff.text
    answer = await asked(pool, Principal("customer", Role.READER, tenant), number)
    assert answer.status_code == 200
    [story] = answer.json()["pages"]
    kinds = [line["kind"] for line in story["timeline"]]
    assert kinds[0] == "decision"
    assert {"call", "failed", "voicemail", "acknowledged"} <= set(kinds)
    for secret in ("Anna", "Ben", ANNA, BEN, "p1", "p2", "anna", "CA", "Platinum customer"):
        assert secret not in answer.text, secret
    for who, code in (
        (Principal("other", Role.READER, tenant + 1), 404),
        (Principal("site", Role.READER, tenant, deployment + 1), 404),
        (Principal("agent", Role.AGENT, tenant), 403),
    ):
        assert (await asked(pool, who, number)).status_code == code
    assert (await asked(pool, Principal("customer", Role.READER, tenant), "nonsense")).status_code == 422


def test_kinds_that_a_customer_is_not_told_are_left_out() -> None:
    """Fail closed: what has no words of its own is not shown."""
    line = {"at": "now", "kind": "invented", "text": "Anna", "detail": {}}
    story = dict.fromkeys(("ticket", "title", "priority", "state", "created_at", "next_look_at"), "")
    assert published.told(story | {"timeline": [line]})["timeline"] == []


@pytest.mark.parametrize("words", [(), ("a", "b")])
def test_bad_words_are_usage_errors(words: tuple[str, ...]) -> None:
    """Exit code 2, as everywhere."""
    assert run(*words)[0] == 2
