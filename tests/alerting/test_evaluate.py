"""The ingest commit's use of alerting, on a real database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from alerting.evaluate import (
    Evaluator,
    FrameInput,
    HostKey,
    HostScope,
    evaluate,
    load_evaluator,
    lock_hosts,
    save_outcomes,
)
from alerting.published import State, changed_alerts, transitions_after
from storage.pool import Pool
from wire import layout as layouts
from wire.layout import Layout, Series

START = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
CPU = Layout(1, 60.0, (Series("system.cpu.utilization"),))
CPU_DIGEST = layouts.digest(layouts.encode(CPU))
SCOPE = HostScope(1, "acme", 1, "site", 1, "node-1")


async def ingest(pool: Pool, evaluator: Evaluator, at: datetime, value: float | None) -> None:
    """One frame through the whole commit, as the collector does it."""
    async with pool.connection() as conn, conn.transaction():
        states = await lock_hosts(conn, [HostKey(1, 1)], at)
        frame = FrameInput(CPU_DIGEST, CPU, at, [value])
        outcome = evaluate(evaluator, SCOPE, states[HostKey(1, 1)], [frame], at)
        await save_outcomes(conn, [outcome], at)


async def test_a_threshold_held_long_enough_fires_and_clears_by_its_own_threshold(pool: Pool) -> None:
    """97 % for 10 minutes fires P2; below 80 % for 5 minutes resolves; numbers have no gap."""
    async with pool.connection() as conn:
        evaluator = await load_evaluator(conn)
    values = [0.5] + [0.97] * 11 + [0.7] * 6
    for minute, value in enumerate(values):
        await ingest(pool, evaluator, START + timedelta(minutes=minute), value)
    async with pool.connection() as conn:
        (alert,) = await changed_alerts(conn, START - timedelta(days=9999))
        steps = await transitions_after(conn, 1, alert.alert_id, 0)
    assert [s.to_state for s in steps] == [State.PENDING, State.FIRING, State.RECOVERING, State.RESOLVED]
    assert [s.seq for s in steps] == [1, 2, 3, 4]
    assert alert.problem_key == "acme/site/node-1/host.cpu/"
    assert (alert.priority, alert.since, alert.state) == (2, START + timedelta(minutes=1), State.RESOLVED)
    assert steps[1].reason == "system.cpu.utilization 97 % > 95 % for 10 min since 14:01:00Z"
