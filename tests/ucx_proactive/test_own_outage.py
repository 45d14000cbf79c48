"""Our own outage, end to end: alerting's sweep, the desk, the pager and the auditor over one real database,
with a phone company on either side of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from alerting.evaluate import HostScope
from alerting.settings import Settings
from alerting.sweep import Sweep
from storage.pool import Pool
from tests.alerting.kit import CPU, evaluator_in, frame, ingest
from tests.oncall.auditor.test_program import World as Auditing
from tests.oncall.auditor.test_program import world as auditing
from tests.oncall.lab import Lab, lab
from tests.ticketing.desk_world import CONTRACTS, World, registry
from wire.clock import utcnow

CUSTOMERS, NODES = 10, 2
OPERATIONS = "+390584999999"
_HOSTS = """
INSERT INTO host (tenant_id, deployment_id, name, enrolled_at)
SELECT tenant_id, deployment_id, 'node-' || n, %s FROM deployment, generate_series(1, %s) n"""
_SCOPES = """
SELECT t.tenant_id, t.key, d.deployment_id, d.key, h.host_id, h.name
  FROM host h JOIN deployment d USING (tenant_id, deployment_id) JOIN tenant t USING (tenant_id)
 ORDER BY t.key, h.host_id"""


class Door:
    """Our public entrance as the probe sees it."""

    def __init__(self) -> None:
        self.open = True
        self.url = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if self.open:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def entrance() -> AsyncIterator[Door]:
    door = Door()
    async with await asyncio.start_server(door.answer, "127.0.0.1", 0) as server:
        door.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/healthz"
        yield door


class Night:
    """All of it, on a clock that begins an hour ago."""

    def __init__(self, pool: Pool, settings: Settings, phones: Lab, auditor: Auditing) -> None:
        self.world = World(pool)
        self.world.now = utcnow() - timedelta(hours=1)
        self.sweep = Sweep(pool, settings, self.world.clock)
        self.pool, self.pager, self.phones, self.auditor = pool, phones.pager(), phones, auditor

    async def begin(self) -> list[HostScope]:
        names = {f"customer-{n}": CONTRACTS["platinum-co"] for n in range(CUSTOMERS)}
        await self.world.registry(registry(names))
        await self.world.do(_HOSTS, self.world.now, NODES)
        self.evaluator = await evaluator_in(self.pool)
        return [HostScope(*row) for row in await self.world.rows(_SCOPES)]

    async def minutes(self, count: int, reporting: list[HostScope]) -> None:
        """Each minute: reports, a sweep, a round of the desk, a look of the pager."""
        for _ in range(count):
            self.world.now += timedelta(minutes=1)
            for scope in reporting:
                given = [frame(CPU, self.world.now, 0.1)]
                await ingest(self.pool, self.evaluator, scope, given, self.world.now)
            await self.sweep.once()
            await self.world.round()
            await self.pager.sync()
            await self.pager.look()

    async def alarms(self) -> list[str]:
        return [kind for (kind,) in await self.world.rows("SELECT kind FROM operations_alarm")]


@pytest.mark.story
@pytest.mark.parametrize("probed", [True, False], ids=["door closed", "collector up"])
async def test_our_own_outage_rings_operations_once_and_no_customers_on_call(
    pool: Pool, database_url: str, tmp_path: Path, probed: bool
) -> None:
    """Three of ten Platinum customers, 30 % of all hosts, fall silent at once for half an hour, because our
    entrance is closed to them (and the probe of it fails), or for no reason that we see. Operations are rung
    once, by the auditor's own company; no alert, no ticket, no page request, not one call of the pager's.
    All report again: still nobody is rung. Then a real outage of one customer's site rings its on-call: the
    chain was awake all the time.

    Broken twin: with ``hold_share`` 1.0 (and no alarm for a closed door) the three sites are P1 tickets and
    ring, and operations hear nothing."""
    ours = {"roles": (), "numbers": (OPERATIONS,)}
    watch = auditing(database_url, tmp_path / "auditor", **ours)
    async with entrance() as door, lab(pool) as phones, watch as auditor:
        auditor.script(default={"number": "", "behaviour": "auto", "after_s": 1})
        night = Night(pool, Settings(front_door_url=door.url if probed else ""), phones, auditor)
        hosts = await night.begin()
        await night.world.do(
            "INSERT INTO rota_gap_check (checked_at, occasion, starts, ends, gaps)"
            " VALUES (now() + interval '1 day', 'daily', now(), now(), 0)"
        )
        await night.minutes(3, hosts)
        door.open = not probed
        await night.minutes(30, hosts[3 * NODES :])
        assert await night.alarms() == ["front-door" if probed else "mass-silence"]
        await auditor.turns()
        await auditor.turns()
        assert auditor.called() == [OPERATIONS]
        door.open = True
        await night.minutes(5, hosts)
        await auditor.turns(90)
        assert auditor.called() == [OPERATIONS], "operations are rung once"
        for table in ("alert", "ticket", "page_request", "page"):
            assert await night.world.rows(f"SELECT count(*) FROM {table}") == [(0,)], table
        assert phones.called() == []
        await night.minutes(20, hosts[NODES:])
        async with asyncio.timeout(20):
            while not phones.called():
                await night.pager.look()
                await asyncio.sleep(0.01)
        assert len(await night.alarms()) == 1
