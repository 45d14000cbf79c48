"""What others push, end to end: a real Prometheus, our HTTP, the alert, the ticket under that customer's
contract, and who is rung for it; and the alert's view with its ticket and its series."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest

from alerting.evaluate import HostScope
from storage.pool import Pool, open_pool
from tests.alerting.kit import CPU, evaluator_in, frame, ingest, minutes
from tests.alerting.test_alertmanager_programs import Now, prometheus, until
from tests.collector.kit import Front, running
from tests.ticketing.desk_world import CONTRACTS, World, registry
from ticketing import desk
from wire.access import Role

RULES = """
groups:
- name: always
  interval: 1s
  rules:
  - {alert: Critical, expr: vector(1), labels: {severity: critical, instance: "db1:9100"}}
  - {alert: Unmapped, expr: vector(1), labels: {severity: catastrophic, instance: "db1:9100"}}
  - {alert: Unlabelled, expr: vector(1), labels: {instance: "db1:9100"}}
"""
_HOST = """
INSERT INTO host (tenant_id, deployment_id, name, enrolled_at) VALUES (%s, %s, 'node-1', %s)
RETURNING host_id"""
_TICKETS = """
SELECT t.key, split_part(k.problem_key, '/', 4), k.priority, k.channel, k.terms #>> '{terms,plan}',
       count(r.page_request_id)
  FROM ticket k JOIN tenant t USING (tenant_id) LEFT JOIN page_request r USING (tenant_id, ticket_id)
 GROUP BY t.key, k.tenant_id, k.ticket_id, k.problem_key, k.priority, k.channel, k.terms ORDER BY 1, 2"""


def machine_time(pool: Pool) -> World:
    """The desk's surroundings by the machine's own clock, which Prometheus goes by."""
    world = World(pool)
    world.now = Now()()
    return world


async def worked(world: World, count: int) -> bool:
    """A round of the desk; whether there are so many tickets."""
    world.now = Now()()
    await desk.work(world.pool, world.settings, world.now)
    return await world.rows("SELECT count(*) FROM ticket") == [(count,)]


@pytest.mark.story
@pytest.mark.needs("prometheus")
async def test_a_pushed_alert_is_a_ticket_of_its_keys_customer_and_rings_by_its_contract(
    database_url: str,
) -> None:
    """Two customers' Prometheus servers push the same rules with their deployments' keys. Critical: a P1
    ticket of each, under each one's own contract; Platinum's technician is rung, Gold's is not. A severity
    that the table does not name, or none, is P4 and rings nobody.

    Broken twin: with unmapped severities taken for P1, six tickets ring."""
    async with running(database_url, Now()) as front:
        world = machine_time(front.pool)
        await world.registry(registry({name: CONTRACTS[name] for name in ("platinum-co", "gold-co")}))
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as two:
            keys = [await bearer(front, name) for name in ("platinum-co", "gold-co")]
            async with (
                prometheus(Path(one), front, keys[0], rules=RULES),
                prometheus(Path(two), front, keys[1], rules=RULES),
            ):
                await until(lambda: worked(world, 6))
    assert await world_rows(database_url) == [
        ("gold-co", "pushed.Critical", 1, "proactive", "gold", 0),
        ("gold-co", "pushed.Unlabelled", 4, "proactive", "gold", 0),
        ("gold-co", "pushed.Unmapped", 4, "proactive", "gold", 0),
        ("platinum-co", "pushed.Critical", 1, "proactive", "platinum", 1),
        ("platinum-co", "pushed.Unlabelled", 4, "proactive", "platinum", 0),
        ("platinum-co", "pushed.Unmapped", 4, "proactive", "platinum", 0),
    ]


async def test_a_hosts_p1_rings_beside_a_pushed_one(database_url: str) -> None:
    """A customer's own program pushes a critical "BackupFailed"; then a disk of an unrelated host is a P1,
    too: two tickets, neither the other's child, two pages.

    Broken twin: with a pushed ticket for a parent of hosts' the second asks for no page (seen to fail)."""
    async with running(database_url) as front:
        world = World(front.pool)
        world.now = front.clock()
        await world.registry(registry({"platinum-co": CONTRACTS["platinum-co"]}))
        key = await front.key(Role.INTEGRATION, "platinum-co", "main")
        labels = {"alertname": "BackupFailed", "severity": "critical", "instance": "https://db1:9100/backup"}
        answer = await front.http.post("/api/v2/alerts", json=[{"labels": labels}], headers=key)
        assert answer.status_code == 200
        await world.round()
        await world.fires(rule="disk", host=1)
        await world.round()
        assert await world.rows("SELECT host_id, parent_id FROM ticket ORDER BY ticket_id") == [
            (None, None),
            (1, None),
        ]
        assert [page[1] for page in await world.pages()] == [True, True]


async def bearer(front: Front, tenant: str) -> str:
    key = await front.key(Role.INTEGRATION, tenant, "main")
    return key["Authorization"].partition(" ")[2]


async def world_rows(database_url: str) -> list[tuple[Any, ...]]:
    pool = await open_pool(database_url)
    try:
        return await World(pool).rows(_TICKETS)
    finally:
        await pool.close()


async def test_an_alert_shows_its_ticket_and_its_series(database_url: str) -> None:
    """In the list, by itself and in the stream's form: number, state and path of the ticket, and the path of
    the readings; both answer under the customer's own key. A customer sees no other's; before the desk came,
    and of what has no series, there is no link."""
    async with running(database_url) as front:
        world = World(front.pool)
        world.now = front.clock() - minutes(30)
        await world.registry(registry({name: CONTRACTS[name] for name in ("platinum-co", "gold-co")}))
        tenant_id, deployment_id = await world.ids("platinum-co")
        ((host_id,),) = await world.rows(_HOST, tenant_id, deployment_id, world.now)
        scope = HostScope(tenant_id, "platinum-co", deployment_id, "main", host_id, "node-1")
        evaluator = await evaluator_in(front.pool)
        for n in range(20):
            at = front.clock() - minutes(25 - n)
            await ingest(front.pool, evaluator, scope, [frame(CPU, at, 0.99)], at)
        await world.fires(tenant="platinum-co", rule="hand-made")
        key = await front.key(Role.READER, "platinum-co")
        before = (await front.http.get("/v1/alerts", headers=key)).json()
        assert [alert["ticket"] for alert in before] == [None, None]
        world.now = front.clock()
        await world.round()
        made, cpu = (await front.http.get("/v1/alerts", headers=key)).json()
        assert (made["rule"], made["series"]) == ("hand-made", None)
        ticket = (await front.http.get(made["ticket"]["url"], headers=key)).json()
        assert ticket["number"] == made["ticket"]["number"]
        assert made["ticket"]["state"] == "new"
        one = (await front.http.get(f"/v1/alerts/{made['alert_id']}", headers=key)).json()
        assert one["ticket"] == made["ticket"]
        assert cpu["series"].startswith(f"/v1/series?host={scope.host_id}&metric=system.cpu.utilization&")
        assert (await front.http.get(cpu["series"], headers=key)).status_code == 200
        stranger = await front.key(Role.READER, "gold-co")
        assert (await front.http.get("/v1/alerts", headers=stranger)).json() == []
        for path in (made["ticket"]["url"], cpu["series"], f"/v1/alerts/{made['alert_id']}"):
            assert (await front.http.get(path, headers=stranger)).status_code == 404
