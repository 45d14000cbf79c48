"""Evaluation state and alerts in the database. All of it runs inside the caller's transaction.

Order of locks, for everybody who touches alerts: the hosts' ``host_state`` rows first, sorted by (tenant,
host); then whatever else. ``save_outcomes`` checks that the rows are at the version that was locked.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from alerting import metrics, mutes
from alerting.errors import StateError
from alerting.inputs import AlertChange, HostKey, HostState, Outcome, from_ms
from alerting.mute import Mute, reason
from alerting.published import ENDED, State
from alerting.rulebook import store_pack as store_pack
from alerting.state import EMPTY, Memory, dump, load
from storage import arrays
from storage.sql import Queries

Q = Queries.load("alerting")
Row = tuple[Any, ...]
log = logging.getLogger(__name__)
TOGETHER = 50
"""So many transitions of one commit are written by one statement."""


async def lock_hosts(
    conn: AsyncConnection[Row],
    keys: Collection[HostKey],
    now: datetime,
    *,
    there: AbstractSet[HostKey] = frozenset(),
) -> dict[HostKey, HostState]:
    """Lock the hosts' rows in sorted order, making those that are missing, and read them.

    ``there``: hosts whose rows were seen before, and so need not be made; should one be gone after all, it is
    missing in the answer. ``pack_version`` of each state: the newest version of the rules at this moment."""
    ordered = sorted(set(keys))
    if new := [key for key in ordered if key not in there]:
        await conn.execute(Q.ensure_hosts, _hosts(new))
    cursor = await conn.execute(Q.lock_hosts, _hosts(ordered), binary=True)
    rows = await cursor.fetchall()
    found = ordered if len(rows) == len(ordered) else [HostKey(row[0], row[1]) for row in rows]
    return dict(zip(found, map(_state, rows), strict=True))


async def held_hosts(conn: AsyncConnection[Row], keys: Collection[HostKey]) -> frozenset[HostKey]:
    """Those of the hosts whose rows others have locked at this moment. Waits for none of them."""
    cursor = await conn.execute(Q.held_hosts, _hosts(sorted(keys)))
    return frozenset(HostKey(*row) for row in await cursor.fetchall())


def _hosts(keys: Sequence[HostKey]) -> dict[str, Any]:
    return {
        "tenants": arrays.int4s([key.tenant_id for key in keys]),
        "hosts": arrays.int8s([key.host_id for key in keys]),
    }


def _state(row: Row) -> HostState:
    tenant_id, host_id, version, frontier, last_seen, blob, pack_version = row
    memory = read_memory(blob) if blob is not None else EMPTY
    return HostState(tenant_id, host_id, version, frontier, pack_version, last_seen, memory)


async def save_outcomes(conn: AsyncConnection[Row], outcomes: Sequence[Outcome], now: datetime) -> None:
    """Write the hosts' states, and the alerts that changed with their transitions.

    Several outcomes of one host (each evaluated from the state of the one before) count as one commit.
    Raises StateError when a host's row is not at the version it was locked at."""
    final = {(o.state.tenant_id, o.state.host_id): o.state for o in outcomes}
    await _save_states(conn, [final[key] for key in sorted(final)])
    await save_alerts(conn, [(o.state.tenant_id, change) for o in outcomes for change in o.alerts], now)
    _count(outcomes)
    failing = {(o.state.pack_version, *item) for o in outcomes for item in o.failing.items()}
    for version, rule_id, error in sorted(failing):
        await conn.execute(Q.note_failing, {"version": version, "rule_id": rule_id, "error": error})


async def save_alerts(
    conn: AsyncConnection[Row], changes: Sequence[tuple[int, AlertChange]], now: datetime
) -> None:
    """Transitions as (tenant id, change); the rows of their hosts are locked by the caller."""
    if not changes:
        return
    muted = await mutes.current(conn, {tenant_id for tenant_id, _ in changes}, now)
    await _record(conn, [_alert(tenant_id, change, now, muted) for tenant_id, change in changes], now)
    for _, alert in changes:
        metrics.TRANSITIONS.labels(alert.change.to_state.value).inc()


async def _record(conn: AsyncConnection[Row], rows: list[dict[str, Any]], now: datetime) -> None:
    """Write transitions in their order: few by a statement each, many together."""
    if len(rows) < TOGETHER:
        async with conn.cursor() as cursor:
            await cursor.executemany(Q.record_transition, [_single(row) for row in rows])
        return
    for part in _rounds(rows):
        given = [row | {"n": n} for n, row in enumerate(part)]
        await conn.execute(Q.record_transitions, {"rows": msgspec.json.encode(given).decode(), "now": now})


def _single(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"labels": None if row["labels"] is None else Jsonb(row["labels"])}


def _rounds(rows: Iterable[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rows in few lists, each with an alert at most once; an alert's rows stay in order."""
    rounds: list[list[dict[str, Any]]] = []
    met: dict[tuple[Any, ...], int] = {}
    for row in rows:
        key = tuple(row[name] for name in ("tenant_id", "deployment_id", "host_id", "rule_id", "instance"))
        met[key] = number = met.get(key, -1) + 1
        if number == len(rounds):
            rounds.append([])
        rounds[number].append(row)
    return rounds


def _count(outcomes: Sequence[Outcome]) -> None:
    """Counted when written, not when committed: a group that is run again counts twice."""
    if late := sum(len(outcome.late) for outcome in outcomes):
        metrics.LATE.inc(late)
    for outcome in outcomes:
        for rule_id in outcome.failing:
            metrics.RULE_FAILURES.labels(rule_id).inc()


async def _save_states(conn: AsyncConnection[Row], states: Sequence[HostState]) -> None:
    cursor = await conn.execute(
        Q.save_hosts,
        {
            "tenants": arrays.int4s([s.tenant_id for s in states]),
            "hosts": arrays.int8s([s.host_id for s in states]),
            "versions": arrays.int8s([s.version for s in states]),
            "frontiers": arrays.times([s.frontier for s in states]),
            "packs": arrays.int4s([s.pack_version for s in states]),
            "seen": arrays.times([s.last_seen for s in states]),
            "dues": arrays.times([next_due(s) for s in states]),
            "states": arrays.byteas([dump(s.memory) for s in states]),
        },
    )
    if cursor.rowcount != len(states):
        raise StateError(
            "A host's state changed under its lock: take lock_hosts in the same transaction first."
        )


def next_due(state: HostState) -> datetime | None:
    """When the sweep must look at this host although nothing arrives; None = no need."""
    memory = state.memory
    if not (memory.events or memory.gaps or memory.ahead):
        return None
    times = [track.due for track in memory.events.values()] + [gap.due for gap in memory.gaps if gap.due]
    times += [asked.due for asked in memory.ahead.values()]
    earliest = min(times, default=None)
    return None if earliest is None else from_ms(earliest)


def _alert(
    tenant_id: int, alert: AlertChange, now: datetime, muted: Mapping[int, Sequence[Mute]]
) -> dict[str, Any]:
    change = alert.change
    labels = (alert.labels or {}) | {"priority": f"P{change.priority}"}
    ended = change.to_state in ENDED
    return msgspec.structs.asdict(change) | {
        "tenant_id": tenant_id,
        "deployment_id": alert.deployment_id,
        "host_id": alert.host_id,
        "rule_id": alert.rule_id,
        "instance": alert.instance,
        "problem_key": alert.problem_key,
        "since": from_ms(alert.since_ms),
        "fired_at": from_ms(alert.fired_ms) if alert.fired_ms else None,
        "resolved_at": from_ms(change.at_ms) if ended else None,
        "summary": alert.summary,
        "hidden": alert.hidden or None,
        "silenced": reason(muted.get(tenant_id, ()), labels, now),
        "labels": alert.labels,
        "at": from_ms(change.at_ms),
        "now": now,
    }


def read_memory(blob: bytes | None) -> Memory:
    """The memory in a blob; empty (and said loudly) when it cannot be read: ingest goes on."""
    try:
        return load(blob)
    except StateError:
        metrics.UNREADABLE.inc()
        log.exception("Evaluation of a host starts anew: its stored state is of no use")
        return EMPTY


async def save_deployment_alert(
    conn: AsyncConnection[Row], tenant_id: int, alert: AlertChange, now: datetime
) -> None:
    """A transition of a whole deployment's alert; its hosts' rows are locked by the caller."""
    await save_alerts(conn, [(tenant_id, alert)], now)


async def retire_host(conn: AsyncConnection[Row], key: HostKey, now: datetime) -> None:
    """A host left service: its open alerts end as stale, and its memory is dropped."""
    await lock_hosts(conn, [key], now)
    rows = await (await conn.execute(Q.open_alerts_of_host, key._asdict())).fetchall()
    for alert_id, state, priority in rows:
        await conn.execute(
            Q.end_alert,
            {
                "tenant_id": key.tenant_id,
                "alert_id": alert_id,
                "from_state": state,
                "to_state": State.STALE.value,
                "priority": priority,
                "reason": "The host was taken out of service.",
                "now": now,
            },
        )
    await conn.execute(Q.forget_host_state, key._asdict())
