"""What the room's tests share: a customer's hosts, frames through the whole commit, a wound clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from alerting.evaluate import (
    Evaluator,
    EventInput,
    FrameInput,
    HostKey,
    HostScope,
    HostState,
    Outcome,
    evaluate,
    load_evaluator,
    lock_hosts,
    save_outcomes,
)
from alerting.pack import parse_pack
from alerting.published import Alert, Transition, changed_alerts, transitions_after
from storage.pool import Pool
from wire import layout as layouts
from wire.batch import Event, Severity
from wire.layout import Layout, Series

START = datetime(2026, 3, 2, 14, 0, tzinfo=UTC)
SCOPE = HostScope(1, "acme", 1, "site", 1, "node-1")
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def minutes(count: float) -> timedelta:
    return timedelta(minutes=count)


def layout_of(*series: str | tuple[str, Mapping[str, str]], interval_s: float = 60.0) -> Layout:
    """A layout of metrics, with attributes where a pair is given."""
    pairs = [(s, {}) if isinstance(s, str) else s for s in series]
    return Layout(1, interval_s, tuple(Series(metric, dict(attributes)) for metric, attributes in pairs))


def digest_of(layout: Layout) -> bytes:
    return layouts.digest(layouts.encode(layout))


CPU = layout_of("system.cpu.utilization")


def frame(layout: Layout, at: datetime, *values: float | None) -> FrameInput:
    return FrameInput(digest_of(layout), layout, at, list(values))


def event(
    at: datetime, source: str, event_id: str, message: str = "it happened", **attributes: str
) -> EventInput:
    ms = round(at.timestamp() * 1000)
    return EventInput(at, Event(ms, source, event_id, Severity.ERROR, message, attributes))


def evaluator_of(rules: str) -> Evaluator:
    """An evaluator of a pack's text, indented as the test likes."""
    return Evaluator(1, parse_pack(rules).rules)


class Host:
    """A host in memory: feeds an evaluator and keeps what came of it."""

    def __init__(self, evaluator: Evaluator, scope: HostScope = SCOPE) -> None:
        self.evaluator = evaluator
        self.scope = scope
        self.state = HostState(scope.tenant_id, scope.host_id)
        self.outcomes: list[Outcome] = []

    def feed(self, *inputs: FrameInput | EventInput, received_at: datetime | None = None) -> Outcome:
        at = received_at or max(item.at for item in inputs)
        outcome = evaluate(self.evaluator, self.scope, self.state, inputs, at)
        self.state = outcome.state
        self.outcomes.append(outcome)
        return outcome

    @property
    def story(self) -> list[str]:
        """Transitions so far, as ``minute state Ppriority``."""
        changes = [c.change for outcome in self.outcomes for c in outcome.alerts]
        return [f"{_minute(c.at_ms):g} {c.to_state} P{c.priority}" for c in changes]


def _minute(ms: int) -> float:
    return (ms - START.timestamp() * 1000) / 60_000


async def seed(pool: Pool, hosts: int = 1, tenant: str = "acme", deployment: str = "site") -> list[HostScope]:
    """A tenant with one deployment of hosts named node-1, node-2 ...; returns their scopes."""
    async with pool.connection() as conn, conn.transaction():
        tenant_id = await _id(
            conn,
            "INSERT INTO tenant (key, name, created_at) VALUES (%s, %s, now()) "
            "ON CONFLICT (key) DO UPDATE SET name = excluded.name RETURNING tenant_id",
            tenant,
            tenant,
        )
        deployment_id = await _id(
            conn,
            "INSERT INTO deployment (tenant_id, key, name, licence, theatre, zone, country, created_at) "
            "VALUES (%s, %s, %s, 'cloud', 'europe', 'Europe/Rome', 'IT', now()) RETURNING deployment_id",
            tenant_id,
            deployment,
            deployment,
        )
        scopes = []
        for number in range(1, hosts + 1):
            host_id = await _id(
                conn,
                "INSERT INTO host (tenant_id, deployment_id, name, enrolled_at) VALUES (%s, %s, %s, now()) "
                "RETURNING host_id",
                tenant_id,
                deployment_id,
                f"node-{number}",
            )
            scopes.append(HostScope(tenant_id, tenant, deployment_id, deployment, host_id, f"node-{number}"))
        return scopes


async def _id(conn: object, sql: str, *values: object) -> int:
    row = await (await conn.execute(sql, values)).fetchone()  # type: ignore[attr-defined]
    number: int = row[0]
    return number


async def evaluator_in(pool: Pool) -> Evaluator:
    async with pool.connection() as conn:
        return await load_evaluator(conn)


async def ingest(
    pool: Pool,
    evaluator: Evaluator,
    scope: HostScope,
    inputs: Sequence[FrameInput | EventInput],
    received_at: datetime,
) -> Outcome:
    """One host's inputs through the whole commit, as the collector does it."""
    key = HostKey(scope.tenant_id, scope.host_id)
    async with pool.connection() as conn, conn.transaction():
        states = await lock_hosts(conn, [key], received_at)
        outcome = evaluate(evaluator, scope, states[key], inputs, received_at)
        await save_outcomes(conn, [outcome], received_at)
    return outcome


async def history(pool: Pool) -> list[tuple[Alert, list[Transition]]]:
    """All alerts with their transitions, by id."""
    async with pool.connection() as conn:
        alerts = sorted(await changed_alerts(conn, LONG_AGO), key=lambda a: a.alert_id)
        return [(a, await transitions_after(conn, a.tenant_id, a.alert_id, 0)) for a in alerts]
