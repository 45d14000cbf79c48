"""A site's ticket and its hosts' tickets, in many hands at once: no two wait for each other for ever, and no
child is left without one that rings for it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from storage.pool import Pool
from tests.ticketing.desk_world import Alert, World
from ticketing import actions, alerts, casebook, desk, family, many
from ticketing.actions import Actor
from ticketing.lifecycle import Entry, Kind
from ticketing.shapes import Take

MARIO = Actor("mario", "test")
Work = Callable[[], Awaitable[Any]]


@pytest_asyncio.fixture
async def world(pool: Pool) -> World:
    """The stage, with its customers registered."""
    made = World(pool)
    await made.registry()
    return made


class Crossing:
    """Two works, each stopped at a point of its way until the other is at its own, or waits for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._go = asyncio.Event()

    def stop(self, module: Any, name: str, *, after: bool = False) -> asyncio.Event:
        """Stop at a call of ``module.name``, before or after it; the event says that it has been reached."""
        reached, original = asyncio.Event(), getattr(module, name)

        async def stopped(*arguments: Any, **options: Any) -> Any:
            found = await original(*arguments, **options) if after else None
            reached.set()
            await self._go.wait()
            return found if after else await original(*arguments, **options)

        self._patch.setattr(module, name, stopped)
        return reached

    async def meet(self, first: str, **works: tuple[Work, asyncio.Event]) -> None:
        """Begin the one named ``first``, then the other, then let both go on. Raises what either raises."""
        tasks = []
        for work, reached in (works.pop(first), *works.values()):
            tasks.append(asyncio.ensure_future(work()))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reached.wait(), 0.5)
        self._go.set()
        await asyncio.gather(*tasks)


async def _family(world: World) -> tuple[Alert, str]:
    """A P2 of the site that rings nobody yet, and a host's P3 as its child; the host's alert, the parent."""
    await world.fires(rule="site-slow", priority=2)
    await world.round()
    parent = (await world.ticket())["number"]
    disk = await world.fires(rule="disk", priority=3, host=1)
    await world.round()
    assert await world.rows("SELECT count(parent_id) FROM ticket") == [(1,)]
    return disk, parent


def _desk(world: World, alert: Alert) -> Work:
    async def work() -> None:
        async with world.pool.connection() as conn, conn.transaction():
            assert await alerts.handle(conn, world.settings, world.now, alert.tenant_id, alert.alert_id)

    return work


def _person(world: World, number: str) -> Work:
    async def work() -> None:
        async with world.pool.connection() as conn:
            await actions.act(conn, world.settings, world.now, MARIO, number, Take(act="take"))

    return work


@pytest.mark.parametrize("first", ["desk", "person"])
@pytest.mark.parametrize("worse", [1, 2])
async def test_a_child_that_worsens_and_its_parents_taking_never_lock_each_other_out(
    world: World, monkeypatch: pytest.MonkeyPatch, first: str, worse: int
) -> None:
    """The parent, a P2, is taken in charge. Its child stands on its own as a P1, and rings; as a P2 it is
    taken with it, if it was one before.

    Broken twins: the parent locked once the child is, each waits for the other until one is undone (seen to
    fail, whichever begins); not locked at all, a child that has left is taken with it (seen to fail)."""
    disk, parent = await _family(world)
    await disk.goes("firing", priority=worse)
    crossing = Crossing(monkeypatch)
    await crossing.meet(
        first,
        desk=(_desk(world, disk), crossing.stop(family, "leave_parent")),
        person=(_person(world, parent), crossing.stop(family, "take_along")),
    )
    rows = await world.rows("SELECT taken_at IS NULL, priority, parent_id FROM ticket ORDER BY ticket_id")
    stays = first == "desk" and worse == 2
    assert rows == [(False, 2, None), (first == "desk" and worse == 1, worse, 1 if stays else None)]
    assert [page[1] for page in await world.pages()] == ([True] if worse == 1 else [])


@pytest.mark.parametrize("first", ["desk", "person"])
async def test_an_alert_that_worsens_and_ends_at_once_locks_its_storm_before_its_own_ticket(
    world: World, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """The alert hangs on the storm's ticket, too, of which its own is a child; the storm is being taken.

    Broken twin: with the storm locked only when the end is noted, each waits for the other (seen to fail)."""
    disk, parent = await _family(world)
    await world.do("UPDATE ticket SET flags = '{storm}' WHERE number = %s", parent)
    await world.do(
        "INSERT INTO ticket_alert SELECT tenant_id, ticket_id, %s, true FROM ticket WHERE number = %s",
        disk.alert_id,
        parent,
    )
    await disk.goes("firing", priority=2)
    await disk.goes("resolved")
    crossing = Crossing(monkeypatch)
    await crossing.meet(
        first,
        desk=(_desk(world, disk), crossing.stop(alerts, "_ended")),
        person=(_person(world, parent), crossing.stop(family, "take_along")),
    )
    rows = await world.rows("SELECT priority, recovered_at IS NULL FROM ticket ORDER BY ticket_id")
    assert rows == [(2, True), (2, False)]
    assert await world.rows(
        "SELECT count(*) FROM ticket_alert WHERE alert_id = %s AND firing", disk.alert_id
    ) == [(0,)]


@pytest.mark.parametrize("first", ["look", "end"])
async def test_a_storm_that_is_looked_at_and_an_end_of_it_never_lock_each_other_out(
    world: World, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """What outlasts a resolved storm is decided again while its last alert's end is noted.

    Broken twin: with the alerts' progress locked after the storm's ticket, each waits for the other (seen to
    fail)."""
    settings = world.settings = type(world.settings)(storm_problems=2)
    ends, stays = [
        await world.fires(rule="svc", host=n, problem=f"platinum-co/main/h{n}/svc/") for n in (1, 2)
    ]
    await world.round()
    ticket = await world.ticket()
    assert ticket["flags"] == ["storm"]
    key = (ticket["tenant_id"], ticket["ticket_id"])
    async with world.pool.connection() as conn, conn.transaction():
        case = await casebook.load(conn, *key)
        assert case is not None
        case.add(Entry(world.now, Kind.RESOLVED, "mario", {}, "power is back"))
        await casebook.save(conn, case, world.now, settings)
    world.now = world.now.replace(hour=world.now.hour + 1)
    await ends.goes("resolved")

    async def look() -> None:
        async with world.pool.connection() as conn, conn.transaction():
            assert await desk._look(conn, settings, world.now, *key)

    async def settle() -> None:
        async with world.pool.connection() as conn, conn.transaction():
            await many.settle(conn, settings, world.now, [(ends.tenant_id, ends.alert_id)])

    crossing = Crossing(monkeypatch)
    await crossing.meet(
        first,
        look=(look, crossing.stop(casebook, "load_free", after=True)),
        end=(settle, crossing.stop(many, "claim", after=True)),
    )
    await world.round()
    assert await world.rows("SELECT alert_id FROM ticket_alert WHERE firing AND ticket_id <> %s", key[1]) == [
        (stays.alert_id,)
    ]


async def test_a_child_that_worsens_is_held_back_by_no_other_ticket_of_its_site(world: World) -> None:
    """A host's P3 hangs under a P3 of its site when the whole site falls silent as a P1 and the host's alert
    becomes P1, too: nothing that is done to the site's P1 would reach it, so it stands on its own and rings.

    Broken twin: kept down by whatever of the site is as urgent, it rings nobody once that is over (seen to
    fail)."""
    await world.fires(rule="site-licence", priority=3)
    await world.round()
    disk = await world.fires(rule="disk", priority=3, host=1)
    await world.round()
    silent = await world.fires(rule="site-silent", priority=1)
    await world.round()
    await disk.goes("firing", priority=1)
    await world.round()
    await silent.goes("resolved")
    await world.round()
    rows = await world.rows("SELECT number FROM ticket k WHERE host_id = 1 AND parent_id IS NULL")
    assert len(rows) == 1
    assert [page[1] for page in await world.pages()] == [False, True]


async def _parents(world: World) -> list[tuple[Any, ...]]:
    """Which ticket stands for which, by their alerts' rules."""
    return await world.rows(
        "SELECT a.rule_id, b.rule_id FROM ticket k JOIN alert a USING (tenant_id, alert_id)"
        " LEFT JOIN ticket p ON p.ticket_id = k.parent_id LEFT JOIN alert b ON b.alert_id = p.alert_id"
        " ORDER BY k.ticket_id"
    )


@pytest.mark.parametrize("first", ["pushed", "host"])
async def test_what_others_pushed_stands_for_no_host(world: World, first: str) -> None:
    """A pushed P1, no host's, and an unrelated host's P1, whichever comes first: each asks for a page of its
    own, and who takes the pushed one leaves the other ringing.

    Broken twins: with pushed tickets in ``open_parent`` the later host's asks for none; with ``adopt`` for
    every alert without a host the earlier host's page ends (both seen to fail)."""
    both = [("pushed.BackupFailed", None), ("disk", 1)]
    for rule, host in both if first == "pushed" else reversed(both):
        await world.fires(rule=rule, host=host)
        await world.round()
    assert [parent for _, parent in await _parents(world)] == [None, None]
    assert [page[1] for page in await world.pages()] == [True, True]
    [(number,)] = await world.rows("SELECT number FROM ticket WHERE host_id IS NULL")
    await _person(world, number)()
    await world.round()
    assert await world.rows("SELECT host_id, taken_at IS NULL FROM ticket ORDER BY host_id") == [
        (1, True),
        (None, False),
    ]
    assert sorted(page[1] for page in await world.pages()) == [False, True]


async def test_a_site_that_is_silent_stands_for_its_hosts_beside_what_others_pushed(world: World) -> None:
    """The older pushed P1 does not take the silent site's place; the pushed one keeps its own page.

    Broken twin: with pushed tickets left out after the first was chosen, the host's has no parent (seen to
    fail)."""
    for rule, host in (("pushed.BackupFailed", None), ("site-silent", None), ("disk", 1)):
        await world.fires(rule=rule, host=host)
        await world.round()
    assert await _parents(world) == [
        ("pushed.BackupFailed", None),
        ("site-silent", None),
        ("disk", "site-silent"),
    ]
    assert [page[1] for page in await world.pages()] == [True, True]


async def test_a_hosts_page_waits_for_nobody_at_work_on_what_others_pushed(world: World) -> None:
    """Somebody has the pushed ticket in hand when the host's alert fires: its page is asked for meanwhile.

    Broken twin: with pushed tickets in ``tickets_above`` the desk waits for that hand (seen to fail)."""
    await world.fires(rule="pushed.BackupFailed")
    await world.round()
    pushed = await world.ticket()
    disk = await world.fires(rule="disk", host=1)
    _, deployment_id = await world.ids("platinum-co")
    await world.do(
        "INSERT INTO desk_progress (tenant_id, alert_id, deployment_id) VALUES (%s, %s, %s)",
        *(disk.tenant_id, disk.alert_id, deployment_id),
    )
    async with world.pool.connection() as conn, conn.transaction():
        await casebook.load(conn, pushed["tenant_id"], pushed["ticket_id"])
        await asyncio.wait_for(_desk(world, disk)(), 5)
    assert [page[1] for page in await world.pages()] == [True, True]


async def test_a_child_of_what_others_pushed_leaves_it_once_it_worsens(world: World) -> None:
    """A host's P2 that an earlier release hung under a pushed P1 becomes a P1 itself: it rings.

    Broken twin: with pushed tickets in ``standing`` it stays a child and rings nobody (seen to fail)."""
    await world.fires(rule="pushed.BackupFailed")
    await world.round()
    pushed = (await world.ticket())["number"]
    disk = await world.fires(rule="disk", priority=2, host=1)
    await world.round()
    ticket = await world.ticket()
    async with world.pool.connection() as conn, conn.transaction():
        case = await casebook.load(conn, ticket["tenant_id"], ticket["ticket_id"])
        assert case is not None
        case.add(Entry(world.now, Kind.LINKED, "desk", {"parent": pushed}, "as it was"))
        await casebook.save(conn, case, world.now, world.settings)
    await disk.goes("firing", priority=1)
    await world.round()
    assert await _parents(world) == [("pushed.BackupFailed", None), ("disk", None)]
    assert [page[1] for page in await world.pages()] == [True, True]
