"""The ticket desk: stories of alerts, keypresses and passing time, on a real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from storage.pool import Pool
from ticketing import alerts, desk
from ticketing.actions import Actor, act
from ticketing.lifecycle import Kind, fold
from ticketing.settings import Settings
from ticketing.shapes import Act, Priority, Resolve

from .desk_world import CONTRACTS, MONDAY, World, registry


@pytest.fixture
async def world(pool: Pool) -> World:
    made = World(pool)
    await made.registry()
    return made


async def test_platinum_p1_opens_a_ticket_and_rings(world: World) -> None:
    """A Platinum P1 gets a numbered ticket, due within the hour, and a page request for the technician."""
    await world.fires()
    await world.round()
    ticket = await world.ticket()
    assert ticket["number"] == "UCX-2026-000001"
    assert (ticket["state"], ticket["priority"], ticket["channel"]) == ("new", 1, "proactive")
    assert ticket["due_at"] == "2026-03-02T11:00:00+00:00"
    assert ticket["language"] == "it"
    assert await world.pages() == [("technician", True, None)]
    texts = [line["text"] for line in ticket["decision"]]
    assert "Platinum includes on-call support" in texts
    assert any("covered until" in text for text in texts)


async def test_gold_p1_opens_a_ticket_without_a_page(world: World) -> None:
    """Gold's P1 has its hour and nobody is called; the record says why."""
    await world.fires("gold-co")
    await world.round()
    ticket = await world.ticket("gold-co")
    assert ticket["due_at"] == "2026-03-02T11:00:00+00:00"
    assert await world.pages() == []
    assert "Gold does not include on-call support" in [line["text"] for line in ticket["decision"]]


async def test_basic_on_premise_gets_no_ticket_but_a_reason(world: World) -> None:
    """An on-premise Basic customer's alert opens nothing; why not is recorded in full."""
    await world.fires("basic-co")
    await world.round()
    assert await world.ticket("basic-co") is None
    [(outcome, decision)] = await world.rows("SELECT outcome, decision FROM no_ticket")
    assert outcome == "plan-not-eligible"
    assert any("does not include proactive monitoring" in line["text"] for line in decision)


async def test_lapsed_contract_gets_no_ticket_until_the_renewal_is_recorded(world: World) -> None:
    """A lapsed customer's alert is answered again as soon as the registry records the renewal."""
    await world.fires("lapsed-co")
    await world.round()
    assert await world.ticket("lapsed-co") is None
    renewed = CONTRACTS["lapsed-co"] + ", renewals: [{ordered: 2026-03-01, until: 2027-01-01}]"
    await world.registry(registry(CONTRACTS | {"lapsed-co": renewed}))
    await world.round()
    assert (await world.ticket("lapsed-co"))["state"] == "new"
    assert len(await world.rows("SELECT 1 FROM contract WHERE superseded_at IS NOT NULL")) == 1


async def test_a_keypress_takes_the_ticket_in_charge_at_its_own_time(world: World) -> None:
    """The keypress's time, not its arrival, meets the SLA; paging ends; a second run changes nothing."""
    await world.fires()
    await world.round()
    world.now += timedelta(minutes=3)
    pressed = world.now
    await world.acknowledge()
    world.now += timedelta(minutes=90)
    await world.round()
    await world.round()
    status = fold(await world.history())
    assert (status.taken_at, status.taken_by) == (pressed, "Mario Rossi")
    assert (await world.pages())[0][1] is False
    assert (await world.kinds()).count("taken") == 1
    assert await world.rows("SELECT outcome FROM acknowledgement_progress") == [("taken in charge",)]


async def test_a_keypress_after_the_end_is_recorded_and_harmless(world: World) -> None:
    """A keypress that arrives after the ticket was resolved and closed changes no state."""
    alert = await world.fires()
    await world.round()
    await alert.goes("resolved")
    await world.wind(days=10)
    assert (await world.ticket())["state"] == "closed"
    await world.acknowledge()
    await world.round()
    assert (await world.ticket())["state"] == "closed"
    assert (await world.kinds())[-1] == "acknowledged"


async def test_recovery_before_an_answer_ends_the_paging_with_its_reason(world: World) -> None:
    """Nobody is rung for what has recovered; a note says so and the ticket stays open for a person."""
    alert = await world.fires()
    await world.round()
    world.now += timedelta(minutes=5)
    await alert.goes("resolved")
    await world.round()
    [(_, is_open, reason)] = await world.pages()
    assert not is_open
    assert "recovered" in str(reason)
    assert (await world.ticket())["state"] == "new"
    assert await world.kinds() == ["opened", "paging", "recovered", "paging_ended"]


async def test_worsening_to_p1_pages_then(world: World) -> None:
    """A Platinum P3 does not ring; when the alert worsens to P1 the same ticket is raised and rings."""
    alert = await world.fires(priority=3)
    await world.round()
    assert await world.pages() == []
    world.now += timedelta(minutes=30)
    await alert.goes("firing", priority=1)
    await world.round()
    assert await world.pages() == [("technician", True, None)]
    assert len(await world.rows("SELECT 1 FROM ticket")) == 1
    entry = (await world.history())[1]
    assert (entry.kind, entry.detail) == (Kind.PRIORITY, {"from": 3, "to": 1})


async def test_improving_never_lowers_the_priority_by_itself(world: World) -> None:
    """Only a person lowers a priority."""
    alert = await world.fires(priority=1)
    await world.round()
    await alert.goes("firing", priority=3)
    await world.round()
    assert (await world.ticket())["priority"] == 1


async def test_refire_after_recovery_rings_again_on_the_same_ticket(world: World) -> None:
    """A problem that recovered and fires again before anybody answered is the same ticket, paged again."""
    alert = await world.fires()
    await world.round()
    await alert.goes("resolved")
    await world.round()
    world.now += timedelta(minutes=10)
    await world.fires()
    await world.round()
    assert len(await world.rows("SELECT 1 FROM ticket")) == 1
    assert [page[1] for page in await world.pages()] == [False, True]


async def test_auto_resolve_reopen_within_the_window_then_a_new_episode(world: World) -> None:
    """Untouched and recovered: resolved by policy; back within the window: reopened; later: a new episode."""
    alert = await world.fires()
    await world.round()
    await alert.goes("resolved")
    await world.wind(hours=25)
    assert (await world.ticket())["state"] == "resolved"
    again = await world.fires()
    await world.round()
    ticket = await world.ticket()
    assert (ticket["state"], ticket["episode"]) == ("new", 1)
    assert [page[1] for page in await world.pages()] == [False, True]
    await again.goes("resolved")
    await world.wind(days=10)
    assert (await world.ticket())["state"] == "closed"
    await world.fires()
    await world.round()
    ticket = await world.ticket()
    assert (ticket["state"], ticket["episode"], ticket["number"]) == ("new", 2, "UCX-2026-000002")


async def test_unpaid_customer_gets_a_held_ticket_without_clock_or_page(world: World) -> None:
    """An unpaid customer's ticket is held: no clock, no page, no step, until a person releases it."""
    await world.fires("unpaid-co")
    await world.wind(days=3)
    ticket = await world.ticket("unpaid-co")
    assert (ticket["state"], ticket["due_at"], ticket["next_look_at"]) == ("held", None, None)
    assert await world.pages() == []


async def test_muted_alert_opens_when_the_muting_ends(world: World) -> None:
    """What a maintenance window mutes opens nothing; what is still wrong at its end opens then."""
    alert = await world.fires()
    await world.do("UPDATE alert_transition SET muted = 'maintenance window'")
    await world.do("UPDATE alert SET silenced = 'maintenance window'")
    await world.round()
    assert await world.ticket() is None
    assert await world.rows("SELECT outcome FROM no_ticket") == [("muted",)]
    await world.do("UPDATE alert SET silenced = NULL")
    await alert.goes("firing")
    await world.round()
    assert (await world.ticket())["state"] == "new"


async def test_marks_breach_and_escalation_are_taken_once_each(world: World) -> None:
    """Nobody acts on a Gold P1: at risk at 50, 75, 90 %, breached, then each step of the matrix, once."""
    await world.fires("gold-co")
    await world.wind(days=4)
    kinds = await world.kinds("gold-co")
    assert kinds == ["opened", "at_risk", "at_risk", "at_risk", "breached", *["escalated"] * 3]
    steps = [entry for entry in await world.history("gold-co") if entry.kind is Kind.ESCALATED]
    assert [(e.detail["after_h"], e.detail["people"]) for e in steps] == [
        (2, ["carla"]),
        (8, ["sara"]),
        (16, []),
    ]
    assert steps[0].at == MONDAY + timedelta(hours=2)


async def test_two_alerts_of_one_problem_share_a_ticket_that_recovers_with_the_last(world: World) -> None:
    """Alerts with one problem key are one ticket; it has recovered only when none of them fires."""
    first = await world.fires(problem="platinum-co/main/db/replication/")
    world.now += timedelta(minutes=1)
    second = await world.fires(problem="platinum-co/main/db/replication/")
    await world.round()
    assert len(await world.rows("SELECT 1 FROM ticket")) == 1
    await first.goes("resolved")
    await world.round()
    assert (await world.ticket())["recovered_at"] is None
    await second.goes("resolved")
    await world.round()
    assert (await world.ticket())["recovered_at"] is not None


async def test_a_poisoned_item_is_parked_and_the_others_go_on(world: World) -> None:
    """An alert that cannot be handled is parked after five failures, with its error; the next one opens."""
    poisoned = await world.fires("lapsed-co", rule="poison")
    await world.do("UPDATE contract SET document = '{\"plan\": 7}' WHERE tenant_id = %s", poisoned.tenant_id)
    await world.fires()
    for _ in range(8):
        await world.round()
        world.now += timedelta(minutes=1)
    assert (await world.ticket())["state"] == "new"
    [(failures, error, parked)] = await world.rows(
        "SELECT failures, last_error, parked_at IS NOT NULL FROM desk_progress WHERE alert_id = %s",
        poisoned.alert_id,
    )
    assert (failures, parked) == (5, True)
    assert "ValidationError" in str(error)


async def test_columns_are_what_the_history_says(world: World) -> None:
    """A ticket's columns can be recomputed from its history at any time."""
    alert = await world.fires()
    await world.round()
    await alert.goes("resolved")
    await world.wind(hours=30)
    await world.fires()
    await world.round()
    await world.acknowledge()
    await world.round()
    ticket, status = await world.ticket(), fold(await world.history())
    for name in ("state", "priority", "taken_by"):
        assert ticket[name] == getattr(status, name)
    for name in ("taken_at", "resolved_at", "closed_at", "recovered_at", "opened_at"):
        [(stored,)] = await world.rows(f"SELECT {name} FROM ticket")
        assert stored == getattr(status, name), name


async def test_two_desks_at_once_open_each_problem_once(world: World) -> None:
    """Four desks over thirty alerts of ten problems: ten tickets, one page each, nothing twice."""
    for n in range(30):
        world.now += timedelta(seconds=1)
        await world.fires(problem=f"platinum-co/main/host/p{n % 10}/")
    settings = Settings()

    async def at_work() -> None:
        for _ in range(12):
            await desk.work(world.pool, settings, world.now)

    await asyncio.gather(*(at_work() for _ in range(4)))
    assert await world.rows("SELECT count(*), count(DISTINCT problem_key) FROM ticket") == [(10, 10)]
    assert await world.rows("SELECT count(*) FROM page_request") == [(10,)]
    assert await world.rows("SELECT count(*) FROM desk_progress WHERE failures > 0") == [(0,)]
    assert await world.rows("SELECT count(*) FROM ticket_alert") == [(30,)]


async def test_a_keypress_that_nobody_follows_up_rings_again(world: World) -> None:
    """Somebody answered and then nobody acted: after half an hour it rings again; the taking stands."""
    await world.fires()
    await world.round()
    pressed = world.now
    await world.acknowledge()
    await world.wind(minutes=31)
    assert [page[1] for page in await world.pages()] == [False, True]
    assert fold(await world.history()).taken_at == pressed
    await world.acknowledge()
    await world.wind(minutes=1)
    assert [page[1] for page in await world.pages()] == [False, False]
    assert (await world.kinds()).count("taken") == 1


async def test_a_whole_sites_outage_is_one_parent_that_rings(world: World) -> None:
    """Hosts' tickets become children of the site's: one page; taken together; what still fires rings on."""
    disk = await world.fires(rule="disk", host=1)
    await world.fires(rule="silent", priority=2, host=2)
    await world.round()
    site = await world.fires(rule="site-silent")
    await world.round()
    await world.fires(rule="silent", priority=2, host=3, problem="platinum-co/main/host3/silent/")
    await world.round()
    links = await world.rows("SELECT ticket_id, parent_id FROM ticket ORDER BY ticket_id")
    assert [parent for _, parent in links] == [links[2][0], links[2][0], None, links[2][0]]
    assert [page[1] for page in await world.pages()] == [False, True]
    await site.goes("resolved")
    await world.round()
    assert [page[1] for page in await world.pages()] == [False, False, True]
    await disk.goes("resolved")
    await world.round()
    assert [page[1] for page in await world.pages()] == [False, False, False]


async def test_the_parents_keypress_takes_the_children_too(world: World) -> None:
    """Who answers for the site answers for its hosts, at the same instant."""
    await world.fires(rule="silent", priority=2, host=2)
    await world.fires(rule="site-silent")
    await world.round()
    await world.acknowledge()
    await world.round()
    assert await world.rows("SELECT count(DISTINCT taken_at), count(taken_at) FROM ticket") == [(1, 2)]


async def test_a_worse_child_keeps_ringing(world: World) -> None:
    """A P1 on a host is no child of a P3 of the site: it rings."""
    await world.fires(rule="site-licence", priority=3)
    await world.fires(rule="disk", host=1)
    await world.round()
    assert [page[1] for page in await world.pages()] == [True]
    assert await world.rows("SELECT count(parent_id) FROM ticket") == [(0,)]


async def test_a_child_that_worsens_beyond_its_parent_rings(world: World) -> None:
    """A host's P3 under a P2 of its site rings nobody; when it becomes P1 it stands on its own and rings."""
    await world.fires(rule="site-slow", priority=2)
    disk = await world.fires(rule="disk", priority=3, host=1)
    await world.round()
    assert await world.rows("SELECT count(parent_id) FROM ticket") == [(1,)]
    await disk.goes("firing", priority=1)
    await world.round()
    assert await world.rows("SELECT count(parent_id) FROM ticket") == [(0,)]
    assert [page[1] for page in await world.pages()] == [True]


async def _person(world: World, wanted: Act) -> None:
    """A person of ours does this to the only ticket."""
    async with world.pool.connection() as conn:
        await act(conn, world.settings, world.now, Actor("carla", "test"), "UCX-2026-000001", wanted)


async def test_what_a_person_lowered_is_raised_when_the_alert_worsens_again(world: World) -> None:
    """P1, improved, lowered by a person; when the alert is critical again so is the ticket, and it rings."""
    alert = await world.fires(priority=1)
    await world.round()
    await alert.goes("firing", priority=3)
    await world.round()
    await _person(world, Priority(act="priority", to=3, reason="under control"))
    assert [page[1] for page in await world.pages()] == [False]
    await alert.goes("firing", priority=1)
    await world.round()
    assert (await world.ticket())["priority"] == 1
    assert [page[1] for page in await world.pages()] == [False, True]


async def test_a_resolved_ticket_is_not_closed_while_its_alert_fires(world: World) -> None:
    """What a person resolved too early stays resolved, not closed, until the alert has ended."""
    alert = await world.fires()
    await world.round()
    await _person(world, Resolve(act="resolve", reason="done"))
    await world.wind(days=30)
    assert (await world.ticket())["state"] == "resolved"
    await alert.goes("resolved")
    await world.wind(hours=71)
    assert (await world.ticket())["state"] == "resolved"
    await world.wind(hours=2)
    assert (await world.ticket())["state"] == "closed"


async def test_a_cancelled_statement_is_the_items_own_failure(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An item whose statements are cancelled is parked like any other; the desk does not take the database
    for away and goes on with the next."""
    poisoned, good = await world.fires(rule="poison"), await world.fires(rule="good")

    async def handle(conn: Any, settings: Settings, now: datetime, tenant_id: int, alert_id: int) -> bool:
        if alert_id == poisoned.alert_id:
            raise psycopg.errors.QueryCanceled("canceling statement due to statement timeout")
        return await alerts.handle(conn, settings, now, tenant_id, alert_id)

    monkeypatch.setitem(desk._HANDLERS, "alert", handle)
    for _ in range(8):
        await world.round()
        world.now += timedelta(minutes=1)
    rows = await world.rows("SELECT alert_id FROM desk_progress WHERE parked_at IS NOT NULL")
    assert rows == [(poisoned.alert_id,)]
    assert await world.rows("SELECT alert_id FROM ticket") == [(good.alert_id,)]
