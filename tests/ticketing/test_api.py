"""The ticketing API as called: people's acts, reports, tenants kept apart, bad input refused."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from storage.pool import Pool
from tests.mounted import mounted
from ticketing.api import router
from wire.access import Principal, Role

from .desk_world import CONTRACTS, World, registry

ADMIN = Principal("root", Role.ADMIN)
SUPPORT = Principal("carla", Role.SUPPORT)


class Desk:
    """The API as somebody calls it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.principal = SUPPORT
        app = mounted(router(world.pool, world.settings, world.clock), lambda: self.principal)
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://desk")

    async def get(self, path: str, **query: Any) -> httpx.Response:
        return await self.http.get(f"/v1{path}", params=query)

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self.http.post(f"/v1{path}", json=body)

    async def survives(self, path: str, body: Any) -> None:
        """Whatever is sent there, it is not our fault."""
        answer = await self.http.post(f"/v1{path}", content=json.dumps(body).encode())
        assert answer.status_code < 500, answer.text

    async def act(self, number: str, act: str, **body: Any) -> httpx.Response:
        return await self.post(f"/tickets/{number}/acts", act=act, **body)

    async def report(self, tenant: str = "gold-co", **body: Any) -> httpx.Response:
        fields = {
            "tenant": tenant,
            "deployment": "main",
            "channel": "phone",
            "priority": 2,
            "title": "No calls",
        }
        return await self.post("/tickets", **fields | body)


@pytest.fixture
async def desk(pool: Pool) -> AsyncIterator[Desk]:
    world = World(pool)
    await world.registry()
    made = Desk(world)
    yield made
    await made.http.aclose()


async def test_a_reported_ticket_lives_on_the_same_clock(desk: Desk) -> None:
    """A person's ticket has number, deadline and record; the same report again is the same ticket."""
    first = await desk.report(problem="case-7")
    assert first.status_code == 201
    body = first.json()
    assert body["due_at"] == "2026-03-02T12:00:00Z"
    assert body["history"][0]["actor"] == "carla"
    assert any("working hours" in reason["text"] for reason in body["decision"])
    again = await desk.report(problem="case-7")
    assert (again.status_code, again.json()["number"]) == (200, body["number"])


async def test_the_record_is_told_in_the_language_asked_for(desk: Desk) -> None:
    """The same reasons in Italian and Arabic; an unknown language is refused."""
    number = (await desk.report()).json()["number"]
    italian = (await desk.get(f"/tickets/{number}", language="it")).json()
    assert any("ore lavorative da lun 2 mar 2026" in reason["text"] for reason in italian["decision"])
    arabic = (await desk.get(f"/tickets/{number}", language="ar")).json()
    assert any("ساعات عمل" in reason["text"] for reason in arabic["clock"]["reasons"])
    assert (await desk.get(f"/tickets/{number}", language="xx")).status_code == 422


async def test_reports_of_those_without_cover_are_refused_with_reasons(desk: Desk) -> None:
    """A lapsed customer's report is refused, and the refusal says why."""
    refused = await desk.report("lapsed-co")
    assert refused.status_code == 409
    assert refused.json()["type"].endswith("not-entitled")
    assert any("entitlement expired" in reason["text"] for reason in refused.json()["reasons"])


async def test_email_has_no_sla(desk: Desk) -> None:
    """A ticket by email has no deadline."""
    assert (await desk.report(channel="email")).json()["due_at"] is None


async def test_a_platinum_p1_by_phone_rings_on_call(desk: Desk) -> None:
    """A person's P1 under Platinum asks for the technician as an alert's does."""
    made = await desk.report("platinum-co", priority=1)
    assert [page["audience"] for page in made.json()["pages"]] == ["technician"]


async def test_the_whole_life_with_its_audit_trail(desk: Desk) -> None:
    """Take, wait, resume, raise, resolve, reopen, close: each is recorded with who, from where and why."""
    number = (await desk.report()).json()["number"]
    for act, more in (
        ("start", {}),
        ("wait", {"waiting_for": "customer", "reason": "asked for a log"}),
        ("resume", {}),
        ("priority", {"to": 1, "reason": "nobody can call"}),
        ("resolve", {"reason": "restarted"}),
        ("reopen", {"reason": "not yet"}),
        ("resolve", {"reason": "patched"}),
        ("close", {"reason": "confirmed"}),
    ):
        done = await desk.act(number, act, **more)
        assert done.status_code == 200, done.text
        desk.world.now = desk.world.now.replace(minute=desk.world.now.minute + 1)
    body = done.json()
    assert body["state"] == "closed"
    kinds = ["opened", "taken", "started", "paused", "resumed", "priority", "resolved", "reopened"]
    assert [entry["kind"] for entry in body["history"]] == [*kinds, "resolved", "closed"]
    raised = body["history"][5]
    assert (raised["actor"], raised["origin"]) == ("carla", "127.0.0.1")
    assert raised["detail"] == {"from": 2, "to": 1}
    assert raised["reason"] == "nobody can call"


async def test_what_the_state_forbids_is_refused_and_changes_nothing(desk: Desk) -> None:
    """A resolved ticket cannot wait; the refusal names what it allows."""
    number = (await desk.report()).json()["number"]
    await desk.act(number, "resolve", reason="done")
    refused = await desk.act(number, "wait", waiting_for="customer", reason="x")
    assert refused.status_code == 409
    assert "reopened" in refused.json()["detail"]
    assert len((await desk.get(f"/tickets/{number}")).json()["history"]) == 2


async def test_reasons_are_required(desk: Desk) -> None:
    """A priority is never changed without saying why."""
    number = (await desk.report()).json()["number"]
    assert (await desk.act(number, "priority", to=1)).status_code == 422
    assert (await desk.act(number, "priority", to="P9", reason="worse")).status_code == 422
    assert (await desk.act(number, "priority", to=1, reason="  ")).status_code == 422


async def test_a_priority_may_be_written_as_it_is_said(desk: Desk) -> None:
    """P1 and 1 are the same, in bodies and in filters."""
    number = (await desk.report(priority="P3")).json()["number"]
    assert (await desk.act(number, "priority", to="P2", reason="worse")).status_code == 200
    listed = (await desk.get("/tickets", priority="P2")).json()["tickets"]
    assert [ticket["number"] for ticket in listed] == [number]
    assert (await desk.get("/tickets", priority="urgent")).status_code == 422


async def test_a_stale_view_is_refused(desk: Desk) -> None:
    """Who acts on an older history than the stored one is told so."""
    number = (await desk.report()).json()["number"]
    await desk.act(number, "note", reason="one")
    assert (await desk.act(number, "take", seen=1)).json()["type"].endswith("changed")
    assert (await desk.act(number, "take", seen=2)).status_code == 200


async def test_waiting_stops_the_clock(desk: Desk) -> None:
    """While it waits there is no deadline; afterwards it has moved by the time waited."""
    number = (await desk.report()).json()["number"]
    waiting = await desk.act(number, "wait", waiting_for="third_party", reason="carrier")
    assert (waiting.json()["due_at"], waiting.json()["clock"]["state"]) == (None, "paused")
    await desk.world.wind(hours=1)
    assert (await desk.act(number, "resume")).json()["due_at"] == "2026-03-02T13:00:00Z"


async def test_a_held_ticket_starts_its_clock_at_release(desk: Desk) -> None:
    """An unpaid customer's ticket has no clock until a person releases it; then it also rings."""
    number = (await desk.report("unpaid-co", priority=1)).json()["number"]
    assert (await desk.get(f"/tickets/{number}")).json()["clock"] is None
    await desk.world.wind(hours=1)
    released = await desk.act(number, "release", reason="paid today")
    assert released.json()["due_at"] == "2026-03-02T12:00:00Z"
    assert [page["audience"] for page in released.json()["pages"]] == ["technician"]


async def test_an_upgrade_in_the_middle_changes_clock_and_page(desk: Desk) -> None:
    """Gold to Platinum while a P1 is open: from then on it rings."""
    number = (await desk.report(priority=1)).json()["number"]
    changed = await desk.act(number, "plan", plan="platinum", reason="upgraded by order 17")
    assert changed.status_code == 200
    assert [page["audience"] for page in changed.json()["pages"]] == ["technician"]


async def test_customers_see_and_touch_only_their_own(desk: Desk) -> None:
    """A customer's key does not find another's tickets, and may not lower what the vendor decides."""
    number = (await desk.report()).json()["number"]
    tenant_id, _ = await desk.world.ids("gold-co")
    other, _ = await desk.world.ids("platinum-co")
    desk.principal = Principal("spy", Role.SUPPORT, tenant_id=other)
    assert (await desk.get(f"/tickets/{number}")).status_code == 404
    assert (await desk.act(number, "note", reason="hello")).status_code == 404
    assert (await desk.get("/tickets")).json()["tickets"] == []
    assert (await desk.report()).status_code == 404
    desk.principal = Principal("customer", Role.SUPPORT, tenant_id=tenant_id)
    assert (await desk.act(number, "note", reason="hello")).status_code == 200
    assert (await desk.act(number, "priority", to=1, reason="now")).status_code == 409
    assert (await desk.get("/registry")).status_code == 403
    assert (await desk.get("/desk")).status_code == 403
    desk.principal = Principal("other site", Role.SUPPORT, tenant_id=tenant_id, deployment_id=999)
    assert (await desk.report()).status_code == 404
    assert (await desk.get(f"/tickets/{number}")).status_code == 404


async def test_a_booking_lets_any_report_ring_while_it_lasts(desk: Desk) -> None:
    """A Platinum customer's P3 by phone rings during agreed maintenance, not once it is called off."""
    times = {"from_at": "2026-03-02T09:00:00Z", "until_at": "2026-03-02T20:00:00Z"}
    body = {"tenant": "platinum-co", "deployment": "main", "reason": "migration night", **times}
    booked = await desk.post("/bookings", **body)
    assert booked.status_code == 201, booked.text
    during = (await desk.report("platinum-co", priority=3)).json()
    assert [page["audience"] for page in during["pages"]] == ["technician"]
    assert any("migration night" in reason["text"] for reason in during["decision"])
    assert len((await desk.get("/bookings")).json()) == 1
    assert (await desk.post(f"/bookings/{booked.json()['booking_id']}/cancel")).status_code == 204
    assert (await desk.report("platinum-co", priority=3)).json()["pages"] == []


async def test_bookings_are_for_those_whom_on_call_serves(desk: Desk) -> None:
    """Gold has no on-call: the refusal says so. Times that make no sense are refused too."""
    times = {"from_at": "2026-03-02T09:00:00Z", "until_at": "2026-03-02T20:00:00Z"}
    body = {"tenant": "gold-co", "deployment": "main", "reason": "x", **times}
    refused = await desk.post("/bookings", **body)
    assert refused.json()["type"].endswith("not-entitled")
    for wrong in (
        "2026-03-02T08:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "x",
        None,
    ):
        assert (await desk.post("/bookings", **body | {"until_at": wrong})).status_code in (409, 422)


async def test_pages_of_tickets_join_without_gaps(desk: Desk) -> None:
    """Paging through the list shows each ticket once, newest first."""
    for _ in range(5):
        await desk.report()
    seen: list[str] = []
    before = None
    while True:
        page = (await desk.get("/tickets", limit=2, **({"before": before} if before else {}))).json()
        seen += [ticket["number"] for ticket in page["tickets"]]
        before = page["before"]
        if before is None:
            break
    assert seen == sorted(seen, reverse=True)
    assert len(seen) == 5


async def test_registry_over_http(desk: Desk) -> None:
    """Plan shows, apply changes once, the trail tells who; a deployment explains its entitlement."""
    desk.principal = ADMIN
    document = (await desk.get("/registry")).json()
    document["tenants"]["gold-co"]["name"] = "Golden"
    planned = await desk.http.post("/v1/registry/plan", json=document)
    assert [c["path"] for c in planned.json()["changes"]] == ["tenants.gold-co"]
    assert (await desk.http.post("/v1/registry/apply", json=document)).status_code == 200
    assert (await desk.http.post("/v1/registry/apply", json=document)).json() == {"changes": []}
    newest = (await desk.get("/registry/changes", limit=1)).json()[0]
    assert (newest["actor"], newest["path"]) == ("root", "tenants.gold-co")
    view = (await desk.get("/registry/tenants/lapsed-co/deployments/main")).json()
    assert view["flags"] == ["entitlement-expired"]
    assert view["entitlement"]["ticket"]["value"] == "no"


async def test_parked_items_are_shown_and_tried_again(desk: Desk) -> None:
    """What the desk parked is listed with its error; once mended, a person has it tried again."""
    alert = await desk.world.fires("gold-co")
    await desk.world.do(
        "UPDATE contract SET document = '{\"plan\": 7}' WHERE tenant_id = %s", alert.tenant_id
    )
    for _ in range(8):
        await desk.world.round()
        desk.world.now = desk.world.now.replace(minute=desk.world.now.minute + 1)
    [parked] = (await desk.get("/desk")).json()["parked"]
    assert (parked["kind"], parked["id"]) == ("alert", alert.alert_id)
    await desk.world.registry(registry(CONTRACTS | {"gold-co": CONTRACTS["gold-co"] + ", years: 2"}))
    item = {name: parked[name] for name in ("kind", "tenant_id", "id")}
    assert (await desk.post("/desk/retry", **item)).status_code == 204
    await desk.world.round()
    assert (await desk.world.ticket("gold-co"))["state"] == "new"


BAD_TEXTS = ["\x00", "a\x00b", "\ud800", "x" * 100_000, "", "‮", "%00", "'; DROP TABLE ticket; --"]


async def test_no_text_is_ever_our_fault(desk: Desk) -> None:
    """Whatever stands in a text, the answer is below 500."""
    number = (await desk.report()).json()["number"]
    for text in BAD_TEXTS:
        desk.principal = SUPPORT
        for name in ("title", "description", "tenant", "problem", "language", "product", "channel"):
            await desk.survives("/tickets", _fields() | {name: text})
        for body in ({"act": "note", "reason": text}, {"act": text}, {"act": "plan", "plan": text}):
            await desk.survives(f"/tickets/{number}/acts", body)
        for query in ("tenant", "state", "priority", "before", "limit"):
            if "\ud800" not in text and len(text) < 10_000:
                assert (await desk.get("/tickets", **{query: text})).status_code < 500
        desk.principal = ADMIN
        for document in ({"tenants": {text: {"name": text}}}, {"people": {"a": {"name": text}}}, {text: 1}):
            await desk.survives("/registry/apply", document)


def _fields() -> dict[str, Any]:
    return {"tenant": "gold-co", "deployment": "main", "channel": "phone", "priority": 2, "title": "t"}


BAD_NUMBERS: list[Any] = [0, -1, 2**31, 2**63, 2**64, 10**30, 1.5, True, None, [], "1e999"]


async def test_no_number_is_ever_our_fault(desk: Desk) -> None:
    """Numbers beyond the database's types are refused, not crashed on."""
    for number in BAD_NUMBERS:
        for body in ({"priority": number}, {"title": number}):
            await desk.survives("/tickets", _fields() | body)
        await desk.survives("/desk/retry", {"kind": "alert", "tenant_id": number, "id": number})
        for path in ("/tickets", "/no-tickets"):
            for query in ("before", "limit", "priority", "alert"):
                assert (await desk.get(path, **{query: str(number)})).status_code < 500


async def test_a_customer_is_told_nothing_of_our_own_works(desk: Desk) -> None:
    """Staff see from where each act came and what failed; the customer sees its own acts' origin alone.

    The twin: the customer's reader was shown our people's network addresses and our last internal error."""
    number = (await desk.report()).json()["number"]
    await desk.act(number, "start")
    await desk.world.do("UPDATE ticket SET last_error = 'no route to 10.1.2.3' WHERE number = %s", number)
    ours = (await desk.get(f"/tickets/{number}")).json()
    assert (ours["last_error"], ours["history"][-1]["origin"]) == ("no route to 10.1.2.3", "127.0.0.1")
    tenant_id, _ = await desk.world.ids("gold-co")
    desk.principal = Principal("gold", Role.SUPPORT, tenant_id=tenant_id)
    noted = await desk.act(number, "note", reason="still slow")
    for theirs in (noted.json(), (await desk.get(f"/tickets/{number}")).json()):
        assert theirs["last_error"] is None
        assert [entry["origin"] for entry in theirs["history"]] == ["", "", "", "127.0.0.1"]
