"""Transitions on their way into the database: one by one, or many by one statement."""

from __future__ import annotations

from typing import Any

import pytest

from alerting import store
from alerting.told import told
from storage.pool import Pool
from tests.alerting.kit import START, evaluator_in, event, frame, ingest, layout_of, minutes, seed

DISK = {"system.filesystem.mountpoint": "/"}
VOLUME = layout_of(("system.filesystem.free_ratio", DISK), ("system.filesystem.free", DISK))
_ALERTS = """
SELECT host_id, rule_id, instance, problem_key, state, priority, since, fired_at, resolved_at, value, summary,
       labels, hidden, silenced, last_seq FROM alert ORDER BY host_id, rule_id, since"""
_STEPS = """
SELECT a.host_id, a.rule_id, t.seq, t.at, t.recorded_at, t.from_state, t.to_state, t.priority, t.value,
       t.muted, t.reason
  FROM alert_transition t JOIN alert a USING (tenant_id, alert_id)
 ORDER BY a.host_id, a.rule_id, a.since, t.seq"""


async def _story(pool: Pool) -> list[list[tuple[Any, ...]]]:
    """A disk that fills up, is cleared and fills up again within one commit; an event; another host's."""
    scopes = await seed(pool, hosts=2)
    evaluator = await evaluator_in(pool)
    full, fine = (0.001, 1e6), (0.5, 9e11)
    for scope in scopes:
        levels = [full, full, full, full, fine, full, full, full, full]
        given = [frame(VOLUME, START + minutes(n), *values) for n, values in enumerate(levels)]
        await ingest(pool, evaluator, scope, given, START + minutes(9))
        happened = event(START + minutes(10), "MSSQLSERVER", "9002", "the log is full")
        await ingest(pool, evaluator, scope, [happened], START + minutes(10))
        await ingest(pool, evaluator, scope, [frame(VOLUME, START + minutes(11), *fine)], START + minutes(11))
    async with pool.connection() as conn:
        return [await (await conn.execute(q.encode())).fetchall() for q in (_ALERTS, _STEPS)]


@pytest.mark.parametrize("together", [1, 10_000], ids=["by one statement", "one by one"])
async def test_both_ways_write_the_same(pool: Pool, monkeypatch: pytest.MonkeyPatch, together: int) -> None:
    """Several transitions of one alert in a commit keep their order and numbers, whichever way is taken.

    Each names the pack and the unit that its texts in other languages are made of.

    Broken twins: all rows in one round open the alert several times, and its unique index refuses; without
    unit and pack, what comes in great numbers is told in English only."""
    monkeypatch.setattr(store, "TOGETHER", together)
    alerts, steps = await _story(pool)
    disk = [(row[4], row[14]) for row in alerts if row[1] == "host.disk"]
    assert disk == [("resolved", 3), ("resolved", 3)] * 2
    assert [row[6] for row in steps if row[1] == "host.disk"][:6] == ["pending", "firing", "resolved"] * 2
    events = [row for row in alerts if row[1] != "host.disk"]
    assert [(row[4], row[5], row[14]) for row in events] == [("firing", 1, 1)] * 2
    assert all(row[11]["tenant"] == "acme" and row[10] and row[13] is None for row in alerts)
    said = [row[10] for row in steps if row[1] == "host.disk" and row[6] == "firing"]
    assert said[0] != said[1], "the reasons name their own times"
    async with pool.connection() as conn:
        rows = await (await conn.execute(b"SELECT alert_id, rule_id FROM alert")).fetchall()
        found = await told(conn, [alert_id for alert_id, _ in rows])
    assert found.keys() == {alert_id for alert_id, _ in rows}
    units = {found[alert_id].given.unit for alert_id, rule_id in rows if rule_id == "host.disk"}
    assert units == {"%"}
