"""The ingest commit's use of alerting, on a real database."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from psycopg import AsyncCursor

from alerting.errors import StateError
from alerting.evaluate import HostKey, HostState, Outcome, evaluate, lock_hosts, save_outcomes
from alerting.published import State, lock_alert
from storage.pool import Pool
from tests.alerting.kit import CPU, START, evaluator_in, event, frame, history, ingest, minutes, seed


async def test_a_threshold_held_long_enough_fires_and_clears_by_its_own_threshold(pool: Pool) -> None:
    """97 % for 10 minutes fires P2; below 80 % for 5 minutes resolves; numbers have no gap."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    for minute, value in enumerate([0.5] + [0.97] * 11 + [0.7] * 6):
        at = START + minutes(minute)
        await ingest(pool, evaluator, scope, [frame(CPU, at, value)], at)
    ((alert, steps),) = await history(pool)
    assert [s.to_state for s in steps] == [State.PENDING, State.FIRING, State.RECOVERING, State.RESOLVED]
    assert [s.seq for s in steps] == [1, 2, 3, 4]
    assert alert.problem_key == "acme/site/node-1/host.cpu/"
    assert (alert.priority, alert.since, alert.state) == (2, START + minutes(1), State.RESOLVED)
    assert steps[1].reason == "system.cpu.utilization 97 % > 95 % for 10 min since 14:01:00Z"
    assert alert.labels["host"] == "node-1"


async def test_many_transitions_in_one_commit_are_numbered_in_order(pool: Pool) -> None:
    """What fires and resolves within one batch, and fires again, is two alerts, each without gaps."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    values = ([0.97] * 11 + [0.5] * 11) * 2
    frames = [frame(CPU, START + minutes(m), v) for m, v in enumerate(values)]
    await ingest(pool, evaluator, scope, frames, START + minutes(60))
    told = await history(pool)
    assert [a.state for a, _ in told] == [State.RESOLVED, State.RESOLVED]
    assert [[s.seq for s in steps] for _, steps in told] == [[1, 2, 3, 4], [1, 2, 3, 4]]


async def test_a_healthy_frame_writes_one_update_and_nothing_else(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving a healthy host's outcome is one statement, whatever the number of hosts."""
    scopes = await seed(pool, hosts=3)
    evaluator = await evaluator_in(pool)
    statements: list[Any] = []
    execute = AsyncCursor.execute

    async def counted(self: AsyncCursor[Any], query: Any, *args: Any, **named: Any) -> Any:
        statements.append(query)
        return await execute(self, query, *args, **named)

    async with pool.connection() as conn, conn.transaction():
        states = await lock_hosts(conn, [HostKey(s.tenant_id, s.host_id) for s in scopes], START)
        outcomes = [
            evaluate(evaluator, s, states[HostKey(1, s.host_id)], [frame(CPU, START, 0.2)], START)
            for s in scopes
        ]
        monkeypatch.setattr(AsyncCursor, "execute", counted)
        await save_outcomes(conn, outcomes, START)
    assert len(statements) == 1


async def test_every_commit_raises_the_version_and_moves_the_frontier(pool: Pool) -> None:
    """Healthy or not: version, frontier and last_seen are written by each commit."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    for minute in range(3):
        at = START + minutes(minute)
        await ingest(pool, evaluator, scope, [frame(CPU, at, 0.1)], at + timedelta(seconds=2))
    state = await _state(pool, scope.host_id)
    assert state.version == 3
    assert state.frontier == START + minutes(2)
    assert state.last_seen == START + minutes(2) + timedelta(seconds=2)


async def _state(pool: Pool, host_id: int) -> HostState:
    key = HostKey(1, host_id)
    async with pool.connection() as conn, conn.transaction():
        return (await lock_hosts(conn, [key], START))[key]


async def test_saving_without_the_lock_is_refused(pool: Pool) -> None:
    """An outcome evaluated from a state that another commit has replaced is not written (broken twin: no
    version in the WHERE of save_hosts; then the second save passes and the first one's breach is lost)."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    await ingest(pool, evaluator, scope, [frame(CPU, START, 0.1)], START)
    stale = evaluate(evaluator, scope, HostState(1, scope.host_id), [frame(CPU, START, 0.97)], START)
    async with pool.connection() as conn:
        with pytest.raises(StateError):
            await save_outcomes(conn, [stale], START)


async def test_two_commits_over_the_same_hosts_in_opposite_order_do_not_deadlock(pool: Pool) -> None:
    """Hosts are locked in sorted order whatever the order asked for; rows are made before any lock."""
    scopes = await seed(pool, hosts=6)
    evaluator = await evaluator_in(pool)

    async def commit(order: list[int], at_minute: int) -> None:
        at = START + minutes(at_minute)
        async with pool.connection() as conn, conn.transaction():
            states = await lock_hosts(conn, [HostKey(1, scopes[i].host_id) for i in order], at)
            await asyncio.sleep(0.005)
            outcomes = [
                evaluate(
                    evaluator, scopes[i], states[HostKey(1, scopes[i].host_id)], [frame(CPU, at, 0.1)], at
                )
                for i in order
            ]
            await save_outcomes(conn, outcomes, at)

    rounds = [commit([0, 1, 2, 3, 4, 5][:: 1 if n % 2 else -1][n % 3 :], n) for n in range(16)]
    await asyncio.gather(*rounds)
    assert (await _state(pool, scopes[2].host_id)).version >= 10


async def test_outcomes_of_one_host_in_one_commit_count_as_one(pool: Pool) -> None:
    """Two batches of one host in a group, the second evaluated from the first's state, are one version."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    key = HostKey(1, scope.host_id)
    async with pool.connection() as conn, conn.transaction():
        state = (await lock_hosts(conn, [key], START))[key]
        first = evaluate(evaluator, scope, state, [frame(CPU, START, 0.97)], START)
        second = evaluate(
            evaluator, scope, first.state, [frame(CPU, START + minutes(1), 0.97)], START + minutes(1)
        )
        await save_outcomes(conn, [first, second], START + minutes(1))
    assert (await _state(pool, scope.host_id)).version == 1
    ((alert, _),) = await history(pool)
    assert alert.state is State.PENDING


async def test_an_alert_is_locked_by_one_desk_at_a_time(pool: Pool) -> None:
    """The second claim of an alert comes back empty instead of waiting."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    await ingest(pool, evaluator, scope, [event(START, "MSSQLSERVER", "1105")], START)
    ((alert, _),) = await history(pool)
    async with pool.connection() as one, one.transaction():
        assert await lock_alert(one, 1, alert.alert_id) is not None
        async with pool.connection() as two, two.transaction():
            assert await lock_alert(two, 1, alert.alert_id) is None


async def test_a_rule_that_raises_is_noted_and_stops_nothing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit goes through, the other rules speak, and the failing rule is on record with its error."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)

    def broken(*_: object) -> None:
        raise ZeroDivisionError("a fault in the engine")

    monkeypatch.setattr("alerting.judge.samples.sample", broken)
    inputs = (frame(CPU, START, 0.97), event(START, "MSSQLSERVER", "1105"))
    outcome: Outcome = await ingest(pool, evaluator, scope, inputs, START)
    assert outcome.failing == {"host.cpu": "ZeroDivisionError: a fault in the engine"}
    async with pool.connection() as conn:
        rows = await (await conn.execute("SELECT rule_id, times FROM rule_failure")).fetchall()
    assert rows == [("host.cpu", 1)]
    assert [a.rule_id for a, _ in await history(pool)] == ["database.error.full"]


async def test_state_that_cannot_be_read_never_stops_ingest(pool: Pool) -> None:
    """A blob of a newer release: evaluation of that host starts anew, the commit goes through."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    await ingest(pool, evaluator, scope, [frame(CPU, START, 0.97)], START)
    async with pool.connection() as conn:
        await conn.execute("UPDATE host_state SET state = %s", [b"\x95\x63\x80\x90\x90\x90"])
    await ingest(pool, evaluator, scope, [frame(CPU, START + minutes(1), 0.97)], START + minutes(1))
    assert (await _state(pool, scope.host_id)).version == 2
