"""Live series: counted, limited by host and tenant with a clear refusal, forgotten when they vanish."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from collector import census, upkeep
from collector.census import Limits, identities, overflow
from collector.settings import CollectorSettings
from tests.collector.kit import Agent, Front, frames, running
from wire.layout import Layout, Series

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def layout(*names: str) -> Layout:
    return Layout(1, 10.0, tuple(Series("system.disk.io", {"system.device": name}) for name in names))


names = st.lists(st.sampled_from("abcdefgh"), unique=True, min_size=1)


@given(held=names, asked=names, others=st.integers(0, 20), host=st.integers(1, 10), tenant=st.integers(1, 20))
def test_what_is_over_is_as_little_as_keeps_both_limits(
    held: list[str], asked: list[str], others: int, host: int, tenant: int
) -> None:
    """Left out are newcomers only, the last of them, and no more than must be; what a host holds goes on."""
    live = identities([layout(*held)])
    found = overflow(live, layout(*asked), others + len(held), len(held), Limits(host, tenant))
    over = [asked[n] for n in found.over] if found else []
    newcomers = [name for name in asked if name not in held]
    assert over == newcomers[len(newcomers) - len(over) :]
    kept = len(newcomers) - len(over)
    room = min(host - len(held), tenant - others - len(held))
    assert kept == max(0, min(len(newcomers), room))


def test_a_layout_counts_while_it_has_frames_and_for_its_first_days() -> None:
    """Vanished: it ages once. Back: it counts again. New and not used yet: it counts."""
    since = NOW - timedelta(days=7)
    rows = [
        (1, 1, 10, NOW - timedelta(days=30), False, NOW),
        (1, 1, 11, NOW - timedelta(days=30), False, None),
        (1, 1, 12, NOW - timedelta(days=30), True, None),
        (1, 1, 13, NOW - timedelta(days=30), True, NOW - timedelta(days=1)),
        (1, 1, 14, NOW - timedelta(days=1), False, None),
    ]
    found = census.judge(rows, since)
    assert (found.gone, found.back) == (((1, 1, 11),), ((1, 1, 13),))
    assert found.live == {(1, 1): {10, 13, 14}}


async def test_a_host_that_brings_too_many_is_told_which_and_what_to_do(database_url: str) -> None:
    """422 too-many-series: the limit, how many there are, the indexes of the newcomers that find no room. The
    same layout without them is taken; what the host has goes on; nothing was stored of the refused one."""
    async with running(database_url, series_per_host=3) as front:
        agent = await front.agent()
        assert (await agent.put_layout(layout("a", "b"))).status_code == 204
        refused = await agent.put_layout(layout("b", "x", "c", "y"))
        said = refused.json()
        assert (refused.status_code, said["type"]) == (422, "urn:ucx:problem:too-many-series")
        assert (said["whose"], said["limit"], said["live"], said["over"]) == ("host", 3, 2, [2, 3])
        assert "series_per_host" in said["detail"]
        assert await front.count("layout") == 1
        assert (await agent.send((front.clock(), [1, 2, 3]), layout=layout("a", "b", "x"))).status_code == 200
        assert (await agent.send((front.clock(), [1, 2]), layout=layout("a", "b"))).status_code == 200
        metrics = (await front.http.get("/metrics")).text
        assert 'ucx_collector_series_refused_total{limit="host"} 2.0' in metrics


async def test_a_known_layout_is_no_way_around_the_tenants_limit(database_url: str) -> None:
    """Hosts that share one layout count each for itself, also when all ask at once; a host that is in stays
    in, also when the collector starts anew. (Seen failing while only a layout's upload was judged.)"""
    shared = layout("a", "b")
    async with running(database_url, series_per_tenant=5) as front:
        agents = [await front.agent(f"h{n}") for n in range(4)]
        answers = await asyncio.gather(*(_put_and_post(front, agent, shared) for agent in agents))
        assert sorted(answers) == [200, 200, 409, 409]
        assert await front.count("frame") == 2
        let_in = agents[answers.index(200)]
    async with running(database_url, series_per_tenant=1) as again:
        let_in.http = again.http
        assert (await let_in.send((again.clock(), [1, 2]), layout=shared)).status_code == 200


async def _put_and_post(front: Front, agent: Agent, shared: Layout) -> int:
    await agent.put_layout(shared)
    return (await agent.post(agent.batch(frames=frames((front.clock(), [1, 2]), layout=shared)))).status_code


async def test_vanished_series_make_room_for_others(database_url: str) -> None:
    """A renamed series counts for a week beside its new name, then no more; the census finishes after a kill
    because its progress is in the rows; a layout that comes back counts again."""
    settings = CollectorSettings(series_per_host=2)
    async with running(database_url, series_per_host=2) as front:
        agent = await front.agent()
        assert (await agent.send((front.clock(), [1, 2]), layout=layout("old", "same"))).status_code == 200
        assert (await agent.put_layout(layout("new", "same"))).status_code == 422
        front.clock.wind(days=6)
        await upkeep.count_series(front.pool, settings, front.clock())
        assert (await agent.put_layout(layout("new", "same"))).status_code == 422
        front.clock.wind(days=2)
        await upkeep.prepare(front.pool, settings, front.clock())
        assert await upkeep.count_series(front.pool, settings, front.clock()) == 0
        assert (await agent.send((front.clock(), [1, 2]), layout=layout("new", "same"))).status_code == 200
        assert (await agent.send((front.clock(), [3, 4]), layout=layout("old", "same"))).status_code == 200
        front.clock.wind(days=1)
        assert await upkeep.count_series(front.pool, settings, front.clock()) == 3


async def test_hosts_from_before_the_count_are_counted(front: Front) -> None:
    """A database filled by an older collector has pairs and no counts: the first census makes them."""
    agent = await front.agent()
    await agent.send((front.clock(), [1, 2]), layout=layout("a", "b"))
    async with front.pool.connection() as conn:
        await conn.execute("DELETE FROM host_series")
    # The running collector's own first round may have a host in hand just now; then ours leaves it alone.
    for _ in range(300):
        if await upkeep.count_series(front.pool, CollectorSettings(), front.clock()) == 2:
            break
        await asyncio.sleep(0.1)
    assert await upkeep.count_series(front.pool, CollectorSettings(), front.clock()) == 2
