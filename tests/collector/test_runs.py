"""Two programs under one identity are noticed; starts of one program are not taken for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from collector.runs import REMEMBERED, Heard, Runs, hear
from tests.collector.kit import Agent, Front, event
from wire.access import Role

NOW = datetime(2026, 3, 1, tzinfo=UTC)
runs = st.text("abcdefgh0123456789", min_size=4, max_size=4)


@given(st.lists(runs, unique=True, max_size=30), st.integers(1, 4))
def test_a_program_that_starts_again_and_again_is_one_host(names: list[str], times: int) -> None:
    """However often each speaks."""
    known: Runs | None = None
    for name in names:
        for _ in range(times):
            known, heard = hear(known, name, NOW)
            assert heard in (Heard.NEW, Heard.SAME)
        assert len(known.former) <= REMEMBERED if known else True
    assert known is None or known.returns == 0


@given(st.lists(runs, unique=True, min_size=2, max_size=4), st.integers(3, 20))
def test_programs_that_speak_in_turn_are_two_hosts(names: list[str], rounds: int) -> None:
    """From the second return on."""
    known: Runs | None = None
    heard = []
    for turn in range(rounds * len(names)):
        known, one = hear(known, names[turn % len(names)], NOW)
        heard.append(one)
    assert Heard.TWO in heard
    assert heard.index(Heard.TWO) == len(names) + 1


def test_one_request_that_was_delayed_is_no_clone() -> None:
    """A request of the former program arrives after the new one's first."""
    known = None
    for name in ("a", "b", "a", "b", "b"):
        known, heard = hear(known, name, NOW)
    assert heard is Heard.SAME
    known, _ = hear(None, "a", NOW)
    known, _ = hear(known, "b", NOW)
    known, heard = hear(known, "a", NOW)
    assert (heard, known.returns) == (Heard.RETURNED, 1)


def test_single_delays_of_a_long_life_do_not_add_up() -> None:
    """Once a year a request is delayed over a restart: that is no clone, however many years.

    Broken twin: returns counted without a limit of time flag every old host in the end."""
    known: Runs | None = None
    for year in range(20):
        for name in (f"a{year}", f"b{year}", f"a{year}", f"b{year}x"):
            known, heard = hear(known, name, NOW + timedelta(days=365 * year))
            assert heard is not Heard.TWO


async def test_a_cloned_host_is_told_to_staff_and_to_the_host_once_a_day(front: Front) -> None:
    """The list of agents, an event of the host, and what the agent is told of itself.

    Broken twin: without the memory of former runs, each turn looks like a new start of one program."""
    agent = await front.agent()
    admin = await front.key(Role.ADMIN)
    assert (await front.http.get("/v1/agents", headers=admin)).json()[0]["seen_twice_at"] is None
    for turn in range(8):
        await say(agent, "abcd"[turn % 2])
        front.clock.wind(seconds=40)
    (row,) = (await front.http.get("/v1/agents", headers=admin)).json()
    assert row["seen_twice_at"] is not None
    own = {"Authorization": f"Bearer {agent.token()}"}
    known = (await front.http.get("/v1/agent", headers=own)).json()
    assert (known["agent"], known["host"], known["seen_twice_at"] is not None) == (
        agent.agent_id,
        "host-1",
        True,
    )
    assert await clone_events(front) == 1
    front.clock.wind(days=1)
    for turn in range(4):
        await say(agent, "abcd"[turn % 2])
    assert await clone_events(front) == 2


async def test_a_program_that_does_not_say_which_it_is_is_served(front: Front) -> None:
    """Agents of an earlier version; and a name that is none is left aside."""
    agent = await front.agent()
    for run in (None, "", "x" * 33, "a b"):
        claims = {} if run is None else {"run": run}
        headers = {"Authorization": f"Bearer {agent.token(**claims)}"}
        answer = await front.http.post(
            "/v1/batches", content=agent.batch(events=[event(front.clock())]), headers=headers
        )
        assert answer.status_code == 200
    assert await front.count("agent_run") == 0


async def say(agent: Agent, run: str) -> None:
    """A batch of one of the programs."""
    headers = {"Authorization": f"Bearer {agent.token(run=run)}"}
    body = agent.batch(events=[event(agent.clock())])
    answer = await agent.http.post("/v1/batches", content=body, headers=headers)
    assert answer.status_code == 200


async def clone_events(front: Front) -> int:
    for _ in range(100):
        async with front.pool.connection() as conn:
            row = await (
                await conn.execute("SELECT count(*) FROM event WHERE event_id = 'agent.cloned'")
            ).fetchone()
        assert row is not None
        if row[0]:
            return int(row[0])
    return 0
