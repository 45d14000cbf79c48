"""What later rooms may know of alerts: value types and read queries. Nothing here writes.

The desk's way: ``changed_alerts`` says where something happened; for each, in one transaction,
``lock_alert`` then ``transitions_after`` its own progress. ``changed_at`` is set when a transaction
begins, and a lower one may become visible later: look back further than the newest seen, by more than the
longest transaction, and let one's own progress (not the time) decide what is new.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting import told
from storage.sql import Queries
from wire.language import Language

Q = Queries.load("alerting")


class State(StrEnum):
    """Where an alert is in its life. ``resolved`` and ``stale`` end it."""

    PENDING = "pending"
    """The condition holds, not yet long enough."""
    FIRING = "firing"
    RECOVERING = "recovering"
    """The clear condition holds, not yet long enough."""
    RESOLVED = "resolved"
    STALE = "stale"
    """Nobody knows any more: its series or its rule is gone. The last transition says which."""


ENDED = frozenset({State.RESOLVED, State.STALE})
PUSHED = "pushed."
"""What the rule ids of alerts begin with that other programs push."""


class Alert(msgspec.Struct, frozen=True):
    """One problem of one host (or of a deployment), from its beginning to its end."""

    tenant_id: int
    alert_id: int
    deployment_id: int
    host_id: int | None
    """None: of the deployment as a whole."""
    rule_id: str
    instance: str
    """Volume, service, database ...; empty = the host itself."""
    problem_key: str
    """tenant/deployment/host/problem/instance, with keys and names: one open ticket per problem key."""
    state: State
    priority: int
    """1 (critical) .. 4 (low)."""
    since: datetime
    """When the condition began to hold (sample time)."""
    fired_at: datetime | None
    """None: never fired."""
    resolved_at: datetime | None
    """When it ended (resolved or stale)."""
    value: float | None
    """The newest value that mattered, in the metric's base unit."""
    summary: str
    labels: dict[str, str]
    """Rule's labels plus tenant, deployment, host, rule, component."""
    muted: str | None
    """Why nobody is to be bothered with it now (consequence of another alert, silence, maintenance window);
    None: act on it. When that changes while it fires, a transition firing -> firing says so."""
    last_seq: int
    """Number of its newest transition."""
    changed_at: datetime
    """Database time of the newest transition's transaction."""

    @property
    def of_whole_site(self) -> bool:
        """Not of a host, nor of something at the site that another program watches and pushes."""
        return self.host_id is None and not self.rule_id.startswith(PUSHED)


class Transition(msgspec.Struct, frozen=True):
    """One step in an alert's life; ``seq`` counts 1, 2, 3 ... without gaps."""

    tenant_id: int
    alert_id: int
    seq: int
    at: datetime
    """Sample time at which it happened."""
    recorded_at: datetime
    """Collector time at which it was recorded."""
    from_state: State | None
    to_state: State
    priority: int
    value: float | None
    muted: str | None
    """Why no ticket is to be opened and nobody paged, at that moment; None: act on it."""
    reason: str


class OperationsAlarm(msgspec.Struct, frozen=True):
    """Something our own operations must know at once; no customer's on-call is bothered with it."""

    alarm_id: int
    kind: str
    """``mass-silence``: so many hosts fell silent together that it is probably us; ``front-door``: ours is
    closed; ``upkeep``: a job that keeps our tables failed several times in a row (this one wakes nobody)."""
    from_at: datetime
    """Silences that began from here on are held back."""
    opened_at: datetime
    detail: str
    released_at: datetime | None
    """A person let the held alerts through."""
    released_by: str | None


Row = tuple[Any, ...]


def _alert(row: Row) -> Alert:
    values = list(row)
    values[7] = State(values[7])
    return Alert(*values)


def _transition(row: Row) -> Transition:
    values = list(row)
    values[5] = State(values[5]) if values[5] else None
    values[6] = State(values[6])
    return Transition(*values)


async def changed_alerts(conn: AsyncConnection[Row], since: datetime, limit: int = 10_000) -> list[Alert]:
    """Alerts with a transition recorded at or after ``since`` (database time), longest unchanged first."""
    cursor = await conn.execute(Q.changed_alerts, {"since": since, "limit": limit})
    return [_alert(row) for row in await cursor.fetchall()]


async def lock_alert(conn: AsyncConnection[Row], tenant_id: int, alert_id: int) -> Alert | None:
    """The alert, locked to the end of the transaction; None when another holds it or there is none."""
    cursor = await conn.execute(Q.lock_alert, {"tenant_id": tenant_id, "alert_id": alert_id})
    row = await cursor.fetchone()
    return _alert(row) if row else None


async def alert_of(conn: AsyncConnection[Row], tenant_id: int, alert_id: int) -> Alert | None:
    """The alert as it stands, unlocked; None when there is none."""
    cursor = await conn.execute(Q.alert_of, {"tenant_id": tenant_id, "alert_id": alert_id})
    row = await cursor.fetchone()
    return _alert(row) if row else None


async def transitions_after(
    conn: AsyncConnection[Row], tenant_id: int, alert_id: int, seq: int
) -> list[Transition]:
    """The alert's transitions with a higher number than ``seq``, in order."""
    cursor = await conn.execute(
        Q.transitions_after, {"tenant_id": tenant_id, "alert_id": alert_id, "seq": seq}
    )
    return [_transition(row) for row in await cursor.fetchall()]


AlertKey = tuple[int, int]
"""Tenant id, alert id."""


async def alerts_of(conn: AsyncConnection[Row], keys: Sequence[AlertKey]) -> dict[AlertKey, Alert]:
    """Those alerts as they stand, unlocked; without those that are not there."""
    given = {"tenants": [key[0] for key in keys], "alerts": [key[1] for key in keys]}
    rows = await (await conn.execute(Q.alerts_many, given)).fetchall()
    return {(row[0], row[1]): _alert(row) for row in rows}


async def transitions_of(
    conn: AsyncConnection[Row], after: Mapping[AlertKey, int]
) -> dict[AlertKey, list[Transition]]:
    """The transitions of many alerts, each with a higher number than the one given, in order."""
    given = {
        "tenants": [key[0] for key in after],
        "alerts": [key[1] for key in after],
        "seqs": list(after.values()),
    }
    found: dict[AlertKey, list[Transition]] = {key: [] for key in after}
    for row in await (await conn.execute(Q.transitions_many, given)).fetchall():
        found[row[0], row[1]].append(_transition(row))
    return found


async def summaries(conn: AsyncConnection[Row], alert_id: int) -> dict[Language, str]:
    """The alert's summary in each language that its rule speaks, English included; empty: there is none."""
    return await told.summaries(conn, alert_id)


async def open_operations_alarms(conn: AsyncConnection[Row]) -> list[OperationsAlarm]:
    """What our own operations must know now; page them once per ``alarm_id``."""
    return [OperationsAlarm(*row) for row in await (await conn.execute(Q.open_operations_alarms)).fetchall()]
