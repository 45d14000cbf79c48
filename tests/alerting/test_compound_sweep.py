"""Rules on other rules' alerts in the database: the sweep, its locks, what it writes and leaves alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from alerting import compound_sweep
from alerting.rulebook import set_override, store_pack
from alerting.settings import Settings
from alerting.sweep import Sweep
from storage.pool import Pool
from tests.alerting.kit import CPU, START, digest_of, evaluator_in, frame, history, ingest, minutes, seed
from wire import layout as layouts

PACK = (Path(__file__).parent / "operators" / "states.rules.yaml").read_text(encoding="utf-8")


class Cluster:
    """A deployment of hosts, their frames, and a sweep that is a new one each time."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.now = START

    async def build(self, pack: str = PACK, hosts: int = 2) -> None:
        self.scopes = await seed(self.pool, hosts=hosts)
        async with self.pool.connection() as conn:
            await store_pack(conn, pack, "test", "tests")
            await conn.execute(
                "INSERT INTO layout (tenant_id, layout_id, digest, body, created_at) "
                "VALUES (1, 1, %s, %s, now())",
                [digest_of(CPU), layouts.encode(CPU)],
            )
            for scope in self.scopes:
                await conn.execute(
                    "INSERT INTO host_layout (tenant_id, host_id, layout_id, first_seen) "
                    "VALUES (1, %s, 1, now())",
                    [scope.host_id],
                )
        self.evaluator = await evaluator_in(self.pool)

    async def run(self, *rows: tuple[float | str, ...]) -> None:
        """A minute per row: a frame per host ('' = nothing), then a sweep."""
        for row in rows:
            for scope, value in zip(self.scopes, row, strict=True):
                if not isinstance(value, str):
                    await ingest(self.pool, self.evaluator, scope, [frame(CPU, self.now, value)], self.now)
            await self.sweep()
            self.now += minutes(1)

    async def sweep(self) -> None:
        await Sweep(self.pool, Settings(), lambda: self.now).once()

    async def story(self, rule: str) -> list[str]:
        return [
            f"{(s.at - START).total_seconds() / 60:g} {s.to_state} P{s.priority}"
            for alert, steps in await history(self.pool)
            for s in steps
            if alert.rule_id == rule
        ]

    async def remembered(self) -> int:
        async with self.pool.connection() as conn:
            row = await (await conn.execute("SELECT count(*) FROM deployment_state")).fetchone()
        assert row is not None
        return int(row[0])


@pytest.fixture
async def cluster(pool: Pool) -> Cluster:
    made = Cluster(pool)
    await made.build()
    return made


async def test_an_alert_of_the_deployment_opens_improves_and_ends(cluster: Cluster) -> None:
    """Both hosts busy: one P1 of the deployment, with a problem key of its own; the sweep about silence does
    not end it as an orphan; over when one host is well; an hour later nothing is remembered."""
    await cluster.run((0.99, 0.99), (0.99, 0.99), (0.99, 0.1))
    assert await cluster.story("site.busy") == ["0 firing P1", "2 resolved P1"]
    alert = next(a for a, _ in await history(cluster.pool) if a.rule_id == "site.busy")
    assert (alert.host_id, alert.problem_key) == (None, "acme/site/(cluster)/site.busy/")
    assert alert.summary == "Every host of site is busy"
    await cluster.run((0.1, 0.1))
    cluster.now += minutes(70)
    await cluster.run((0.1, 0.1))
    assert await cluster.remembered() == 0


async def test_an_alert_of_a_host_is_its_own(cluster: Cluster) -> None:
    """Busy and full on one host: an alert with that host's id, in its problem key."""
    pack = PACK.replace('full: {rule: disk, instance: "C:*"}', "full: {rule: cpu}")
    async with cluster.pool.connection() as conn:
        await store_pack(conn, pack, "other", "tests")
    cluster.evaluator = await evaluator_in(cluster.pool)
    await cluster.run((0.99, 0.1), (0.99, 0.1), (0.99, 0.1))
    ((alert, steps),) = [(a, s) for a, s in await history(cluster.pool) if a.rule_id == "host.both"]
    assert (alert.host_id, alert.problem_key) == (cluster.scopes[0].host_id, "acme/site/node-1/host.both/")
    assert [s.to_state for s in steps] == ["pending", "firing"]


async def test_a_healthy_deployment_is_not_looked_at(cluster: Cluster) -> None:
    """No open alert, nothing remembered: not even its hosts are locked."""
    await cluster.run((0.1, 0.1))
    async with cluster.pool.connection() as holder, holder.transaction():
        await holder.execute("SELECT FROM host_state FOR UPDATE")
        await asyncio.wait_for(
            compound_sweep.sweep(cluster.pool, cluster.evaluator, START, cluster.now), timeout=20
        )
    assert await cluster.remembered() == 0


async def test_stored_frames_without_a_value_are_no_evidence(pool: Pool) -> None:
    """Two of three hosts are busy, the third one's CPU is not measured: whether every host is busy is not
    known, so nothing opens; it is measured (and well): the P2 opens."""
    cluster = Cluster(pool)
    await cluster.build(hosts=3)
    async with pool.connection() as conn:
        await conn.execute("CREATE TABLE frame_of_test PARTITION OF frame DEFAULT")
    for row in (*[(0.1, 0.1, None)] * 7, (0.99, 0.99, None), (0.99, 0.99, 0.1)):
        for scope, value in zip(cluster.scopes, row, strict=True):
            item = frame(CPU, cluster.now, value)
            await ingest(pool, cluster.evaluator, scope, [item], cluster.now)
            async with pool.connection() as conn:
                await conn.execute(
                    "INSERT INTO frame (tenant_id, host_id, layout_id, time, values) "
                    "VALUES (1, %s, 1, %s, %s)",
                    [scope.host_id, item.at, list(item.values)],
                )
        await compound_sweep.sweep(pool, cluster.evaluator, START, cluster.now)
        cluster.now += minutes(1)
    assert await cluster.story("site.busy") == ["8 firing P2"]


async def test_two_sweeps_at_once_say_it_once(cluster: Cluster) -> None:
    """They wait for each other at the hosts' locks; the second finds nothing to add."""
    for scope in cluster.scopes:
        await ingest(cluster.pool, cluster.evaluator, scope, [frame(CPU, START, 0.99)], START)
    await asyncio.gather(
        *(compound_sweep.sweep(cluster.pool, cluster.evaluator, START, START) for _ in range(4))
    )
    assert await cluster.story("site.busy") == ["0 firing P1"]


async def test_a_switched_off_rule_ends_as_stale(cluster: Cluster) -> None:
    """An override of the deployment switches it off: stale, with that reason, and it stays so."""
    await cluster.run((0.99, 0.99))
    async with cluster.pool.connection() as conn:
        scope = cluster.scopes[0]
        document = "{rule: site.busy, reason: planned, enabled: false}"
        await set_override(conn, scope.tenant_id, scope.deployment_id, None, document, "tests")
    cluster.evaluator = await evaluator_in(cluster.pool)
    await cluster.run((0.99, 0.99), (0.99, 0.99))
    assert await cluster.story("site.busy") == ["0 firing P1", "1 stale P1"]


async def test_a_pack_without_the_rule_ends_it_as_stale_once(cluster: Cluster) -> None:
    """Neither the sweep about silence nor this one ends it a second time, or opens a row to end."""
    await cluster.run((0.99, 0.99))
    async with cluster.pool.connection() as conn:
        await store_pack(conn, PACK[: PACK.index("  - id: site.busy")], "fewer", "tests")
    cluster.evaluator = await evaluator_in(cluster.pool)
    await cluster.run((0.99, 0.99), (0.99, 0.99))
    assert await cluster.story("site.busy") == ["0 firing P1", "1 stale P1"]


async def test_a_pack_that_only_newer_collectors_can_read_keeps_its_alerts(cluster: Cluster) -> None:
    """A sweep that falls back on an older pack, without the rule, leaves its alert to those who know it.

    (Seen failing: it was ended as stale, and would have been raised, and rung for, again by the next.)"""
    async with cluster.pool.connection() as conn:
        await store_pack(conn, PACK[: PACK.index("  - id: site.busy")], "fewer", "tests")
        newest = await store_pack(conn, PACK, "test", "tests")
    cluster.evaluator = await evaluator_in(cluster.pool)
    await cluster.run((0.99, 0.99))
    for document in ("of a newer release", PACK):
        async with cluster.pool.connection() as conn:
            await conn.execute("UPDATE rule_pack SET document = %s WHERE version = %s", [document, newest])
        cluster.evaluator = await evaluator_in(cluster.pool)
        await cluster.run((0.99, 0.99), (0.99, 0.99))
    assert await cluster.story("site.busy") == ["0 firing P1"]


async def test_hosts_out_of_service_leave_nothing_open(cluster: Cluster) -> None:
    """All hosts are retired: the deployment's alert is stale."""
    await cluster.run((0.99, 0.99))
    async with cluster.pool.connection() as conn:
        await conn.execute("UPDATE host SET retired_at = now()")
    await cluster.run(("", ""))
    cluster.now += minutes(70)
    await cluster.run(("", ""))
    assert (await cluster.story("site.busy"))[-1] == "1 stale P1"
    assert await cluster.remembered() == 0


async def test_an_alert_that_was_ended_elsewhere_is_begun_again_if_it_holds(cluster: Cluster) -> None:
    """An older release beside this one took it for an orphan: no transition is written to an ended alert."""
    await cluster.run((0.99, 0.99))
    async with cluster.pool.connection() as conn:
        await conn.execute("UPDATE alert SET state = 'stale' WHERE rule_id = 'site.busy'")
    await cluster.run((0.99, 0.99))
    assert await cluster.story("site.busy") == ["0 firing P1", "1 firing P1"]
    assert len([a for a, _ in await history(cluster.pool) if a.rule_id == "site.busy"]) == 2


async def test_unreadable_memory_starts_anew_and_is_said(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """A blob of a later release: loud, and the open alert goes on from what holds now."""
    await cluster.run((0.99, 0.99))
    async with cluster.pool.connection() as conn:
        await conn.execute("UPDATE deployment_state SET state = '\\xff'")
    await cluster.run((0.99, 0.99), (0.1, 0.1))
    assert "start anew" in caplog.text
    assert (await cluster.story("site.busy"))[-1] == "2 resolved P1"


async def test_a_deployment_that_fails_does_not_stop_the_others(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its failure is logged and counted; the next one is judged in the same round."""
    cluster = Cluster(pool)
    await cluster.build()
    others = await seed(pool, hosts=2, deployment="other")
    for scope in (*cluster.scopes, *others):
        await ingest(pool, cluster.evaluator, scope, [frame(CPU, START, 0.99)], START)
    judged = compound_sweep._Deployment.judge

    async def failing(self: compound_sweep._Deployment) -> None:
        if self.scope.deployment_key == "site":
            raise RuntimeError("no")
        await judged(self)

    monkeypatch.setattr(compound_sweep._Deployment, "judge", failing)
    await cluster.sweep()
    found = {a.problem_key for a, _ in await history(pool) if a.rule_id == "site.busy"}
    assert found == {"acme/other/(cluster)/site.busy/"}
    assert "acme/site failed" in caplog.text
