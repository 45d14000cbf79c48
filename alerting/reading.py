"""Reads for the alert API. Every read binds the caller's tenant, and deployment where the key has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from alerting.published import OperationsAlarm, State, Transition, open_operations_alarms
from alerting.published import transitions_after as _transitions_after
from alerting.told import told
from storage.sql import Queries
from wire.access import Principal
from wire.language import SOURCE, Language
from wire.problem import NotFound

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class TicketLink:
    """The ticket that speaks for an alert."""

    number: str
    state: str
    url: str
    """Path of the ticket in this API."""


@dataclass(frozen=True, slots=True)
class AlertView:
    """An alert as people see it."""

    alert_id: int
    tenant: str
    deployment: str
    host_id: int | None
    """None: of the deployment as a whole."""
    host: str | None
    rule: str
    instance: str
    problem_key: str
    state: State
    priority: int
    """1 (critical) .. 4 (low)."""
    since: datetime
    fired_at: datetime | None
    resolved_at: datetime | None
    value: float | None
    summary: str
    labels: dict[str, str]
    muted: str | None
    """Why nobody is bothered with it; null: the desk acts on it."""
    last_seq: int
    changed_at: datetime
    ticket: TicketLink | None = None
    """The newest ticket that speaks for it (a storm's, too); null: none does."""
    series: str | None = None
    """Path of the readings around it in this API; null: it was concluded from no series."""


@dataclass(frozen=True, slots=True)
class TransitionView:
    """One step in an alert's life."""

    seq: int
    at: datetime
    recorded_at: datetime
    from_state: State | None
    to_state: State
    priority: int
    value: float | None
    muted: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class AlarmView:
    """What our own operations must know."""

    alarm_id: int
    kind: str
    from_at: datetime
    opened_at: datetime
    detail: str
    released_at: datetime | None
    released_by: str | None


@dataclass(frozen=True, slots=True)
class FailureView:
    """A rule that raised, or could not be read."""

    version: int
    rule: str
    error: str
    first_at: datetime
    last_at: datetime
    times: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which alerts to list. Empty or None = any."""

    tenant: str | None = None
    deployment: str | None = None
    host_id: int | None = None
    rule: str | None = None
    states: Sequence[State] = ()
    priorities: Sequence[int] = ()
    is_open: bool | None = None
    muted: bool | None = None
    alert_ids: Sequence[int] = ()
    before: int | None = None
    """Only alerts with a lower id: the next page."""
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertDetail(AlertView):
    """One alert, with what to do about it."""

    runbook: str | None
    """What to look at first, what to do; null: its rule is not ours, or not readable any more."""
    language: str
    """Language of the summary and the runbook: the one asked for, or English."""


async def detail(conn: Connection, principal: Principal, alert_id: int, language: Language) -> AlertDetail:
    """One alert in a language, with its runbook. Raises NotFound, also for another tenant's."""
    view = await alert(conn, principal, alert_id)
    found = (await told(conn, [alert_id])).get(alert_id)
    if found is None:
        return AlertDetail(**asdict(view), runbook=None, language=SOURCE)
    spoken = language if found.speaks(language) else SOURCE
    view = replace(view, summary=found.summary(spoken))
    return AlertDetail(**asdict(view), runbook=found.runbook(spoken), language=spoken)


async def in_language(conn: Connection, views: list[AlertView], language: Language) -> list[AlertView]:
    """The same alerts with their summaries in a language, as far as their rules speak it."""
    if language == SOURCE or not views:
        return views
    found = await told(conn, [view.alert_id for view in views])
    return [
        replace(view, summary=found[view.alert_id].summary(language)) if view.alert_id in found else view
        for view in views
    ]


async def alerts(conn: Connection, principal: Principal, wanted: Wanted) -> list[AlertView]:
    """Alerts that ``principal`` may see, newest first."""
    row = {
        "tenant_id": principal.tenant_id,
        "deployment_id": principal.deployment_id,
        "tenant": wanted.tenant,
        "deployment": wanted.deployment,
        "host_id": wanted.host_id,
        "rule": wanted.rule,
        "states": [state.value for state in wanted.states] or None,
        "priorities": list(wanted.priorities) or None,
        "is_open": wanted.is_open,
        "muted": wanted.muted,
        "alert_ids": list(wanted.alert_ids) or None,
        "before": wanted.before,
        "limit": wanted.limit,
    }
    return [_alert(found) for found in await (await conn.execute(Q.list_alerts, row)).fetchall()]


def _alert(row: tuple[Any, ...]) -> AlertView:
    values = list(row)
    values[8] = State(values[8])
    return AlertView(*values)


async def alert(conn: Connection, principal: Principal, alert_id: int) -> AlertView:
    """One alert. Raises NotFound, also for another tenant's."""
    found = await alerts(conn, principal, Wanted(alert_ids=(alert_id,), limit=1))
    if not found:
        raise NotFound(f"There is no alert {alert_id}.")
    return found[0]


async def transitions(
    conn: Connection, principal: Principal, alert_id: int, after: int
) -> list[TransitionView]:
    """An alert's transitions past a number. Raises NotFound, also for another tenant's alert."""
    await alert(conn, principal, alert_id)
    row = await (await conn.execute(Q.tenant_of_alert, {"alert_id": alert_id})).fetchone()
    if row is None:
        raise NotFound(f"There is no alert {alert_id}.")
    return [_view(t) for t in await _transitions_after(conn, row[0], alert_id, after)]


def _view(t: Transition) -> TransitionView:
    return TransitionView(
        t.seq, t.at, t.recorded_at, t.from_state, t.to_state, t.priority, t.value, t.muted, t.reason
    )


async def alarms(conn: Connection) -> list[AlarmView]:
    """Open alarms of our own operations."""
    return [_alarm(found) for found in await open_operations_alarms(conn)]


def _alarm(a: OperationsAlarm) -> AlarmView:
    return AlarmView(a.alarm_id, a.kind, a.from_at, a.opened_at, a.detail, a.released_at, a.released_by)


async def release(conn: Connection, alarm_id: int, by: str, now: datetime) -> None:
    """Let held alerts through. Raises NotFound when the alarm is over or released already."""
    given = {"alarm_id": alarm_id, "by": by, "now": now}
    if await (await conn.execute(Q.release_operations_alarm, given)).fetchone() is None:
        raise NotFound(f"There is no open, unreleased alarm {alarm_id}.")


async def failing(conn: Connection) -> list[FailureView]:
    """Rules of the newest version that raised or could not be read."""
    return [FailureView(*row) for row in await (await conn.execute(Q.failing)).fetchall()]
