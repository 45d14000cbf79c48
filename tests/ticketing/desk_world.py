"""A small world for the desk's stories: customers, alerts as alerting writes them, keypresses, a clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg.types.json import Jsonb

from storage.pool import Pool
from ticketing import casebook, desk
from ticketing.lifecycle import Entry
from ticketing.registry_file import apply_file
from ticketing.settings import Settings

MONDAY = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
"""Monday 2 March 2026, 11:00 in Rome: in everybody's working hours in Europe."""

SITE = (
    "name: Main site, licence: subscription, theatre: europe, zone: Europe/Rome, country: IT,"
    " products: [ucx], version: 2026.Winter.1, proactive: {opt_in: true, data_sending: true, connected: true}"
)
PEOPLE = """
products:
  ucx: {name: UCX Suite, newest_version: 2026.Winter.1}
people:
  mario: {name: Mario Rossi, email: mario@vendor.example, phone: "+390000000001", roles: [{role: on-call}]}
  carla: {name: Carla, email: c@vendor.example, roles: [{role: support-regional-manager, theatre: europe}]}
  ugo: {name: Ugo, email: u@vendor.example, roles: [{role: support-regional-manager, theatre: americas}]}
  sara: {name: Sara Verdi, email: sara@vendor.example, roles: [{role: support-manager}]}
tenants:
"""
CONTRACTS = {
    "platinum-co": "plan: platinum, start: 2026-01-01, end: 2027-12-31",
    "gold-co": "plan: gold, start: 2026-01-01, end: 2027-12-31",
    "basic-co": "plan: basic, start: 2026-01-01, end: 2027-12-31",
    "unpaid-co": "plan: platinum, start: 2026-01-01, end: 2027-12-31, unpaid: true",
    "lapsed-co": "plan: platinum, start: 2023-01-01, end: 2025-01-01",
}


def registry(contracts: dict[str, str], site: str = SITE) -> str:
    """A document with one customer per contract, each with one deployment and one Italian contact."""
    return PEOPLE + "".join(
        f"  {key}:\n"
        f"    name: {key.title()}\n"
        f"    contacts: {{anna: {{name: Anna, email: anna@{key}.example, languages: [it]}}}}\n"
        f"    deployments: {{main: {{{site}, contract: {{{contract}}}}}}}\n"
        for key, contract in contracts.items()
    )


REGISTRY = registry(CONTRACTS)


ACKNOWLEDGE = """
INSERT INTO acknowledgement (tenant_id, page_request_id, ticket_id, person_id, at, channel, proof)
SELECT r.tenant_id, r.page_request_id, r.ticket_id, p.person_id, %s, 'voice', %s
  FROM page_request r, person p
 WHERE p.key = %s AND r.audience = 'technician'
 ORDER BY r.page_request_id DESC LIMIT 1
RETURNING acknowledgement_id"""
MOVE = """
UPDATE alert
   SET state = %s, priority = %s, last_seq = last_seq + 1, changed_at = now(),
       fired_at = CASE WHEN %s = 'firing' THEN coalesce(fired_at, %s) ELSE fired_at END,
       resolved_at = CASE WHEN %s IN ('resolved', 'stale') THEN %s::timestamptz END
 WHERE tenant_id = %s AND alert_id = %s
RETURNING last_seq"""


class World:
    """The desk's surroundings; ``now`` is wound by the story."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.settings = Settings()
        self.now = MONDAY

    def clock(self) -> datetime:
        return self.now

    async def registry(self, text: str = REGISTRY) -> None:
        async with self.pool.connection() as conn:
            await apply_file(conn, text, now=self.now, actor="test", origin="test")

    async def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        async with self.pool.connection() as conn:
            return await (await conn.execute(query.encode(), values)).fetchall()

    async def do(self, query: str, *values: Any) -> None:
        async with self.pool.connection() as conn:
            await conn.execute(query.encode(), values)

    async def ids(self, tenant: str) -> tuple[int, int]:
        """Tenant id and the id of its deployment."""
        query = (
            "SELECT tenant_id, deployment_id FROM deployment JOIN tenant t USING (tenant_id) WHERE t.key = %s"
        )
        [(tenant_id, deployment_id)] = await self.rows(query, tenant)
        return tenant_id, deployment_id

    async def fires(
        self,
        tenant: str = "platinum-co",
        rule: str = "cpu",
        priority: int = 1,
        problem: str | None = None,
        host: int | None = None,
    ) -> Alert:
        """A new alert that was pending and fires now."""
        tenant_id, deployment_id = await self.ids(tenant)
        key = problem or f"{tenant}/main/host/{rule}/"
        query = (
            "INSERT INTO alert (tenant_id, deployment_id, host_id, rule_id, instance, problem_key, state,"
            " priority, since, fired_at, summary, changed_at)"
            " VALUES (%s, %s, %s, %s, %s, %s, 'pending', %s, %s, NULL, %s, now()) RETURNING alert_id"
        )
        since = self.now - timedelta(minutes=10)
        # stories may repeat a rule: the instance keeps alerting's own unique index content
        instance = f"{self.now:%H%M%S}" if problem else ""
        values = (tenant_id, deployment_id, host, rule, instance, key, priority, since, f"{rule} is too high")
        [(alert_id,)] = await self.rows(query, *values)
        alert = Alert(self, tenant_id, alert_id, priority)
        await alert.goes("pending", since)
        await alert.goes("firing")
        return alert

    async def round(self) -> int:
        """Let a desk work until nothing is left to do at this time; returns how much it did."""
        done = total = await desk.work(self.pool, self.settings, self.now)
        while done:
            done = await desk.work(self.pool, self.settings, self.now)
            total += done
        return total

    async def wind(self, **duration: float) -> None:
        """Let time pass, with the desk at work at each moment when something is due."""
        until = self.now + timedelta(**duration)
        await self.round()
        while True:
            [(look,)] = await self.rows("SELECT min(next_look_at) FROM ticket WHERE parked_at IS NULL")
            if look is None or look > until:
                break
            self.now = max(look, self.now)
            await self.round()
        self.now = until
        await self.round()

    async def ticket(self, tenant: str = "platinum-co") -> Any:
        """The newest ticket of a customer as a mapping of its columns."""
        query = (
            "SELECT to_jsonb(k) FROM ticket k JOIN tenant t USING (tenant_id) WHERE t.key = %s"
            " ORDER BY ticket_id DESC"
        )
        found = await self.rows(query, tenant)
        return found[0][0] if found else None

    async def history(self, tenant: str = "platinum-co") -> list[Entry]:
        ticket = await self.ticket(tenant)
        async with self.pool.connection() as conn:
            return await casebook.history(conn, ticket["tenant_id"], ticket["ticket_id"])

    async def kinds(self, tenant: str = "platinum-co") -> list[str]:
        return [str(entry.kind) for entry in await self.history(tenant)]

    async def acknowledge(self, at: datetime | None = None, person: str = "mario") -> int:
        """A keypress on the newest ticket's technician page, as on-call records it."""
        query = ACKNOWLEDGE
        [(identity,)] = await self.rows(query, at or self.now, Jsonb({"digit": "4"}), person)
        return int(identity)

    async def pages(self) -> list[tuple[Any, ...]]:
        """Page requests: audience, whether it is open, why it ended."""
        return await self.rows(
            "SELECT audience, ended_at IS NULL, end_reason FROM page_request ORDER BY page_request_id"
        )


class Alert:
    """An alert in the story's hands."""

    def __init__(self, world: World, tenant_id: int, alert_id: int, priority: int) -> None:
        self.world, self.tenant_id, self.alert_id, self.priority = world, tenant_id, alert_id, priority
        self.state: str | None = None

    async def goes(
        self, state: str, at: datetime | None = None, priority: int | None = None, muted: str | None = None
    ) -> None:
        """One more transition, as alerting's commit writes it."""
        world, at = self.world, at or self.world.now
        self.priority = priority or self.priority
        async with world.pool.connection() as conn, conn.transaction():
            row = await (
                await conn.execute(
                    MOVE.encode(),
                    (state, self.priority, state, at, state, at, self.tenant_id, self.alert_id),
                )
            ).fetchone()
            assert row is not None
            await conn.execute(
                b"INSERT INTO alert_transition (tenant_id, alert_id, seq, at, recorded_at, from_state,"
                b" to_state, priority, muted, reason) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
                (
                    *(self.tenant_id, self.alert_id, row[0], at, world.now, self.state, state),
                    *(self.priority, muted, f"it is {state}"),
                ),
            )
        self.state = state
