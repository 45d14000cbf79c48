"""Who answers for a ticket, and who does not: what ends paging, and what must not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from psycopg.types.json import Jsonb

from storage.pool import Pool
from tests.ticketing.desk_world import CONTRACTS, SITE, Alert, World, registry
from tests.ticketing.facts import RELEASE
from ticketing import alerts, desk, opening
from ticketing.actions import Actor, act
from ticketing.policy import PriorityBounds
from ticketing.shapes import Note, Plan, Priority, Reopen, Resolve, Take


@pytest.fixture
async def world(pool: Pool) -> World:
    made = World(pool)
    await made.registry()
    return made


async def is_paged(world: World, audience: str = "technician") -> bool:
    """Whether somebody is asked for now."""
    return any(who == audience and is_open for who, is_open, _ in await world.pages())


async def do(world: World, actor: Actor, wanted: Any) -> None:
    """One act on the newest ticket."""
    async with world.pool.connection() as conn:
        await act(conn, world.settings, world.now, actor, (await world.ticket())["number"], wanted)


async def host_of(world: World) -> int:
    tenant_id, deployment_id = await world.ids("platinum-co")
    [(host_id,)] = await world.rows(
        "INSERT INTO host (tenant_id, deployment_id, name, facts, enrolled_at)"
        " VALUES (%s, %s, 'h1', '{}', now()) RETURNING host_id",
        tenant_id,
        deployment_id,
    )
    return int(host_id)


async def test_a_customers_note_is_not_somebody_acting(world: World) -> None:
    """The technician pressed 4 and does nothing; a customer's note does not keep the phone silent."""
    await world.fires()
    await world.round()
    world.now += timedelta(minutes=3)
    await world.acknowledge()
    await world.round()
    world.now += timedelta(minutes=1)
    ticket = await world.ticket()
    who = Actor("platinum-co portal", "x", staff=False, tenant_id=ticket["tenant_id"])
    await do(world, who, Note(act="note", reason="any news?"))
    await world.wind(hours=5)
    assert await is_paged(world)


async def test_a_customers_confirmation_never_answers_for_the_technician(world: World) -> None:
    """The customer confirms its own notice after a keypress: who does not act is rung again."""
    site = SITE.replace("connected: true", "connected: true, customer_call: true")
    contracts = {"platinum-co": "plan: platinum, start: 2026-01-01, end: 2027-12-31"}
    reachable = 'languages: [it], phone: "+390000000009", reachable_24h: true}'
    await world.registry(registry(contracts, site).replace("languages: [it]}", reachable))
    await world.fires()
    await world.round()
    world.now += timedelta(minutes=2)
    await world.acknowledge()
    await world.round()
    await world.do(
        "INSERT INTO acknowledgement"
        " (tenant_id, page_request_id, ticket_id, contact_id, at, channel, proof)"
        " SELECT r.tenant_id, r.page_request_id, r.ticket_id, 1, %s, 'voice', %s"
        " FROM page_request r WHERE audience = 'customer'",
        world.now + timedelta(minutes=1),
        Jsonb({}),
    )
    await world.round()
    await world.wind(hours=5)
    assert sum(audience == "technician" for audience, _, _ in await world.pages()) >= 2


async def test_a_p1_that_the_customer_reopens_rings(world: World) -> None:
    """A customer who says that it is not solved is no technician who works on it."""
    await world.fires()
    await world.round()
    ticket = await world.ticket()
    who = Actor("platinum-co portal", "x", staff=False, tenant_id=ticket["tenant_id"])
    await do(world, who, Resolve(act="resolve", reason="works"))
    world.now += timedelta(minutes=1)
    await do(world, who, Reopen(act="reopen", reason="not solved, all is down"))
    await world.wind(hours=3)
    assert await is_paged(world)


async def test_children_ring_when_their_parent_is_lowered(world: World) -> None:
    """A site's ticket that a person makes less urgent does not silence the P1 of a host."""
    await world.fires(rule="db-down", problem="db", host=await host_of(world))
    await world.round()
    await world.fires(rule="cluster-silent", problem="cl")
    await world.round()
    await do(world, Actor("sara", "x"), Priority(act="priority", to=3, reason="customer does not answer"))
    await world.wind(hours=2)
    assert await is_paged(world)


async def test_a_new_p1_does_not_hide_behind_a_parent_that_was_taken_long_ago(world: World) -> None:
    """A ticket that somebody works on does not ring: a P1 that comes up later must ring by itself."""
    host = await host_of(world)
    await world.fires(rule="cluster-silent", problem="cl")
    await world.round()
    await do(world, Actor("sara", "x"), Take(act="take"))
    await world.wind(hours=12)
    await world.fires(rule="db-down", problem="db", host=host)
    await world.wind(hours=2)
    assert await is_paged(world)


async def test_a_child_never_joins_a_parent_that_is_just_ending(world: World) -> None:
    """Two desks: one links a new P1 to the site's ticket while the other records that ticket's recovery."""
    host = await host_of(world)
    site = await world.fires(rule="cluster-silent", problem="cl")
    await world.round()
    late = await world.fires(rule="db-down", problem="db", host=host)
    await site.goes("resolved")
    _, deployment_id = await world.ids("platinum-co")
    for alert in (site, late):
        await world.do(
            "INSERT INTO desk_progress (tenant_id, alert_id, deployment_id) VALUES (%s, %s, %s)"
            " ON CONFLICT DO NOTHING",
            alert.tenant_id,
            alert.alert_id,
            deployment_id,
        )
    async with world.pool.connection() as one, world.pool.connection() as two:
        async with one.transaction():
            await alerts.handle(one, world.settings, world.now, late.tenant_id, late.alert_id)

            async def other_desk() -> None:
                async with two.transaction():
                    await alerts.handle(two, world.settings, world.now, site.tenant_id, site.alert_id)

            waiting = asyncio.create_task(other_desk())
            await asyncio.wait([waiting], timeout=0.5)
        await waiting
    await world.wind(hours=5)
    assert await is_paged(world)


async def test_a_muted_alert_without_a_ticket_keeps_no_desk_busy(world: World) -> None:
    """A firing alert that got no ticket and is then muted is not decided again and again."""
    alert = await world.fires("basic-co")
    await world.round()
    await alert.goes("firing", muted="maintenance")
    await world.do("UPDATE alert SET silenced = 'maintenance' WHERE alert_id = %s", alert.alert_id)
    await world.round()
    world.now += timedelta(hours=2)
    done = [await desk.work(world.pool, world.settings, world.now) for _ in range(5)]
    assert done[-1] == 0


async def test_muted_alerts_do_not_starve_a_renewed_customer(world: World) -> None:
    """A hundred muted alerts without tickets do not keep a renewed Platinum P1 from its ticket."""
    for number in range(101):
        alert = await world.fires("basic-co", rule=f"r{number}")
        await world.round()
        await alert.goes("firing", muted="maintenance")
        await world.do("UPDATE alert SET silenced = 'maintenance' WHERE alert_id = %s", alert.alert_id)
    world.now += timedelta(minutes=1)
    await world.fires("lapsed-co")
    await world.round()
    world.now += timedelta(hours=2)
    renewed = CONTRACTS["lapsed-co"] + ", renewals: [{ordered: 2026-03-01, until: 2027-01-01}]"
    await world.registry(registry(CONTRACTS | {"lapsed-co": renewed}))
    for _ in range(5):
        await desk.work(world.pool, world.settings, world.now)
    assert await world.ticket("lapsed-co")


@pytest.mark.parametrize(
    ("bounds", "rule", "expected"),
    [(PriorityBounds(most="P2"), 1, 2), (PriorityBounds(least="P3"), 4, 3), (PriorityBounds(), 1, 1)],
    ids=["capped", "raised", "kept"],
)
async def test_the_support_policy_may_cap_or_raise_an_alerts_priority(
    world: World, monkeypatch: pytest.MonkeyPatch, bounds: PriorityBounds, rule: int, expected: int
) -> None:
    """A release that bounds a plan's priorities changes the ticket's, and the record says why."""
    proactive = msgspec.structs.replace(RELEASE.proactive, priorities={"platinum": bounds})
    release = msgspec.structs.replace(RELEASE, proactive=proactive)
    monkeypatch.setattr(opening, "load_releases", lambda: (release,))
    await world.fires(priority=rule)
    await world.round()
    ticket = await world.ticket()
    assert ticket["priority"] == expected
    said = [reason["text"] for reason in ticket["decision"] if "the rule says" in reason["text"]]
    assert len(said) == (rule != expected)
    assert await is_paged(world) == (expected == 1)


ANSWERED = """
INSERT INTO acknowledgement (tenant_id, page_request_id, ticket_id, person_id, at, channel, proof)
SELECT r.tenant_id, r.page_request_id, r.ticket_id, p.person_id, %s, %s, '{}'
  FROM page_request r, person p
 WHERE p.key = 'mario' AND r.audience = %s AND r.ended_at IS NULL
RETURNING acknowledgement_id"""


async def test_a_key_told_late_counts_before_somebody_took_a_child(world: World) -> None:
    """Mario pressed 4 for the site; before the desk saw it, Sara took the ticket of one of its hosts. His key
    still takes the site in charge, and both at its own time: the first taking in charge counts.

    Broken twin (tried): with each taking in charge moving the clock the child's history was refused, and the
    key that took the site was parked with it: nobody answered for the site, and nobody was rung."""
    await world.fires(rule="cluster-silent", problem="cl")
    await world.round()
    await world.fires(rule="db-down", problem="db", host=await host_of(world))
    await world.round()
    pressed = world.now = world.now + timedelta(minutes=3)
    await world.rows(ANSWERED, pressed, "voice", "technician")
    world.now += timedelta(minutes=2)
    await do(world, Actor("sara", "x"), Take(act="take"))
    await world.round()
    assert await world.rows("SELECT outcome FROM acknowledgement_progress") == [("taken in charge",)]
    assert await world.rows("SELECT taken_at FROM ticket") == [(pressed,), (pressed,)]


async def test_a_key_counts_when_it_was_pressed_whoever_took_the_ticket_since(world: World) -> None:
    """The key came within the hour, the desk only after somebody had taken the ticket too late: met."""
    await world.fires()
    await world.round()
    pressed = world.now = world.now + timedelta(minutes=59)
    await world.acknowledge()
    world.now += timedelta(minutes=4)
    await do(world, Actor("sara", "x"), Take(act="take"))
    await world.round()
    ticket = await world.ticket()
    assert (ticket["taken_at"], ticket["taken_by"]) == (pressed.isoformat(), "Mario Rossi")


async def test_an_answer_told_by_a_clock_that_is_behind_answers_its_page(world: World) -> None:
    """The problem came back and rang; the answer's clock is some seconds behind the desk's. It counts for the
    page that it answers: on-call rings for that one no more.

    Broken twin (tried): taken at its own word it came before the reopening, so that nobody answered for the
    ticket, its page stood as asked for, and on-call, which had its answer, never rang again."""
    first = await world.fires()
    await world.round()
    await do(world, Actor("sara", "x"), Resolve(act="resolve", reason="works"))
    await first.goes("resolved")
    await world.round()
    world.now += timedelta(minutes=2)
    await world.fires(problem=(await world.ticket())["problem_key"])
    await world.round()
    assert await is_paged(world)
    await world.acknowledge(at=world.now - timedelta(seconds=5))
    world.now += timedelta(seconds=5)
    await world.round()
    assert not await is_paged(world)
    assert (await world.ticket())["state"] == "taken"


async def test_one_of_our_people_answers_for_the_ticket_whichever_page_was_named(world: World) -> None:
    """Through the API a technician acknowledged the page that told the customer: taken in charge, as told.

    Broken twin (tried): judged by the page's audience it was noted as the customer's confirmation."""
    site = SITE.replace("connected: true", "connected: true, customer_call: true")
    reachable = 'languages: [it], phone: "+390000000009", reachable_24h: true}'
    platinum = {"platinum-co": CONTRACTS["platinum-co"]}
    await world.registry(registry(platinum, site).replace("languages: [it]}", reachable))
    await world.fires()
    await world.round()
    await world.rows(ANSWERED, world.now, "api", "customer")
    await world.round()
    assert not await is_paged(world)
    assert (await world.ticket())["taken_by"] == "Mario Rossi"


@pytest.mark.parametrize("first", ["site", "host"])
async def test_no_child_is_silenced_by_a_parent_that_rings_nobody(world: World, first: str) -> None:
    """A site's ticket of the customer's time on Gold stands for no P1 of its time on Platinum, whichever
    was opened first: that one rings.

    Broken twin (tried): linked by urgency alone, nobody was rung, and the auditor, which reads the parent's
    terms, had nothing to say."""
    gold = registry(CONTRACTS | {"platinum-co": CONTRACTS["gold-co"]})
    host = await host_of(world)
    for which in ("site", "host") if first == "site" else ("host", "site"):
        await world.registry(gold if which == "site" else registry(CONTRACTS))
        await world.fires(rule=which, problem=which, host=host if which == "host" else None)
        await world.round()
    assert await is_paged(world)


@pytest.mark.parametrize(("quiet_min", "rings"), [(5, False), (180, True)])
async def test_what_somebody_took_rings_when_it_comes_back_long_after_it_was_over(
    world: World, quiet_min: int, rings: bool
) -> None:
    """Taken at two, over at twenty past, nobody resolved the ticket, at five it is back: somebody is rung.
    What comes back within minutes wakes nobody a second time: they are at it.

    Broken twin (tried): "taken" for ever, a P1 that fired all night rang nobody; the auditor saw it taken."""
    alert = await world.fires()
    await world.round()
    await do(world, Actor("sara", "x"), Take(act="take"))
    await world.wind(minutes=20)
    await alert.goes("resolved")
    await world.wind(minutes=quiet_min)
    await world.fires()
    await world.round()
    assert await is_paged(world) is rings


async def _site_and_host(world: World, site: int = 1, host: int = 1) -> tuple[Alert, Alert]:
    """A site's alert with a ticket of that priority, and a host's with a child of it."""
    parent = await world.fires(rule="cluster-silent", problem="cl", priority=site)
    await world.round()
    child = await world.fires(rule="db-down", problem="db", host=await host_of(world), priority=host)
    await world.round()
    assert (await world.ticket())["parent_id"]
    return parent, child


@pytest.mark.parametrize("then", ["fires again", "reopened by the customer"])
async def test_a_child_that_comes_back_after_its_parent_is_over_rings(world: World, then: str) -> None:
    """First the host's trouble ended, then the site's; an hour later the host's is back: it rings on its own.

    Broken twin (tried): linked still to what was over, it was said to be rung for there."""
    parent, child = await _site_and_host(world)
    await child.goes("resolved")
    await world.round()
    ticket = await world.ticket()
    who = Actor("platinum-co portal", "x", staff=False, tenant_id=ticket["tenant_id"])
    if then != "fires again":
        await do(world, who, Resolve(act="resolve", reason="works"))
    await parent.goes("resolved")
    await world.wind(hours=1)
    assert not await is_paged(world)
    if then == "fires again":
        await world.fires(rule="db-down", problem="db", host=ticket["host_id"])
    else:
        await do(world, who, Reopen(act="reopen", reason="all is down again"))
    await world.round()
    assert await is_paged(world)


async def test_a_child_that_a_person_raises_above_its_parent_rings(world: World) -> None:
    """The site's P2 rings nobody; a person finds that its host's ticket is critical: it rings.

    Broken twin (tried): only the desk's own raising was weighed against the parent."""
    await _site_and_host(world, site=2, host=3)
    await do(world, Actor("sara", "x"), Priority(act="priority", to=1, reason="nobody can work"))
    await world.round()
    assert await is_paged(world)


async def test_a_parent_whose_plan_no_longer_rings_lets_its_children_go(world: World) -> None:
    """A correction makes the site's ticket a Gold one; the host's was opened under Platinum and rings."""
    await _site_and_host(world)
    [(number,)] = await world.rows("SELECT number FROM ticket WHERE parent_id IS NULL")
    async with world.pool.connection() as conn:
        wanted = Plan(act="plan", plan="gold", reason="as signed")
        await act(conn, world.settings, world.now, Actor("sara", "x"), number, wanted)
    assert await world.rows("SELECT ticket_id FROM page_request WHERE ended_at IS NULL") == [
        ((await world.ticket())["ticket_id"],)
    ]
