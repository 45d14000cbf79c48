"""The sweep's part about silence: read, hold back what may be our own fault, decide under the lock, write."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting import absence, metrics, wording
from alerting.absence import Fleet
from alerting.evaluator import Evaluator, shortest_silence
from alerting.inputs import AlertChange, Change, HostKey, HostScope, HostState, Outcome, to_ms
from alerting.judge import unheard
from alerting.published import OperationsAlarm, State, open_operations_alarms
from alerting.rule import Rule, Silent, SilentLevel
from alerting.settings import Settings
from alerting.state import Told
from alerting.store import lock_hosts, read_memory, save_deployment_alert, save_outcomes
from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
MASS_SILENCE = "mass-silence"
_REPORTING = timedelta(days=1)
"""A host silent for longer than this no longer counts as one that reports."""


class Quiet(msgspec.Struct, frozen=True):
    """A host from which nothing came for a while, as read without a lock."""

    scope: HostScope
    last_seen: datetime
    blob: bytes | None

    @property
    def key(self) -> HostKey:
        return HostKey(self.scope.tenant_id, self.scope.host_id)


async def sweep(
    pool: Pool, settings: Settings, evaluator: Evaluator, opened: datetime, now: datetime
) -> None:
    """One round; ``opened``: since when our front door is open."""
    shortest = shortest_silence(evaluator.rules)
    if shortest is None:
        return
    before = now - timedelta(seconds=shortest)
    async with pool.connection() as conn:
        held_from = await _held_from(conn, settings, evaluator, opened, before, now)
        rows = await (await conn.execute(Q.quiet_hosts, {"before": before})).fetchall()
        over = await (await conn.execute(Q.deployment_alerts)).fetchall()
    quiet = [Quiet(HostScope(*row[:6]), row[6], row[7]) for row in rows]
    through = [q for q in quiet if held_from is None or max(q.last_seen, opened) < held_from]
    for (tenant_id, deployment_id), group in groupby(through, key=_deployment):
        with metrics.apart("silence", f"deployment {deployment_id} of tenant {tenant_id}"):
            async with pool.connection() as conn, conn.transaction():
                await _Deployment(conn, evaluator, opened, now).judge(tenant_id, deployment_id, list(group))
    for row in over:
        with metrics.apart("silence", f"deployment {row[2]} of tenant {row[0]}"):
            async with pool.connection() as conn, conn.transaction():
                await _Deployment(conn, evaluator, opened, now).end(row)


def _deployment(quiet: Quiet) -> tuple[int, int]:
    return (quiet.scope.tenant_id, quiet.scope.deployment_id)


async def _held_from(
    conn: Connection,
    settings: Settings,
    evaluator: Evaluator,
    opened: datetime,
    before: datetime,
    now: datetime,
) -> datetime | None:
    """Silences that began at or after this are held back; None: none are."""
    alarm = next((a for a in await open_operations_alarms(conn) if a.kind == MASS_SILENCE), None)
    window = timedelta(seconds=settings.hold_window_s)
    from_at = alarm.from_at if alarm else before - window
    fleet = await _fleet(conn, evaluator, opened, from_at, before, now)
    why = absence.ours(fleet, settings.hold_share, settings.hold_min_hosts)
    if alarm is not None:
        return await _still_held(conn, alarm, fleet, settings, now)
    if not why:
        return None
    given = {"kind": MASS_SILENCE, "from_at": from_at, "now": now, "detail": why}
    await conn.execute(Q.open_operations_alarm, given)
    return from_at


async def _still_held(
    conn: Connection, alarm: OperationsAlarm, fleet: Fleet, settings: Settings, now: datetime
) -> datetime | None:
    """An open alarm ends when its share has halved, so that it does not flap about the limit."""
    if fleet.fell_silent <= settings.hold_share / 2 * fleet.total:
        await conn.execute(Q.end_operations_alarm, {"kind": MASS_SILENCE, "now": now})
        return None
    return None if alarm.released_at else alarm.from_at


async def _fleet(
    conn: Connection,
    evaluator: Evaluator,
    opened: datetime,
    from_at: datetime,
    until: datetime,
    now: datetime,
) -> Fleet:
    given = {
        "rules": [rule.id for rule in evaluator.rules if isinstance(rule.source, Silent)],
        "open_since": opened,
        "from": from_at,
        "until": until,
        "reporting_since": min(from_at, now - _REPORTING),
    }
    row = await (await conn.execute(Q.fleet, given)).fetchone()
    assert row is not None
    return Fleet(*row)


class _Deployment:
    """The silence of one deployment's hosts, inside one transaction."""

    def __init__(self, conn: Connection, evaluator: Evaluator, opened: datetime, now: datetime) -> None:
        self.conn = conn
        self.evaluator = evaluator
        self.opened = to_ms(opened)
        self.now = now

    async def judge(self, tenant_id: int, deployment_id: int, quiet: Sequence[Quiet]) -> None:
        """Hosts of one deployment that are quiet, and the deployment when all its hosts are."""
        nodes = await self._nodes(tenant_id, deployment_id)
        all_quiet = len(nodes) >= 2 and {q.scope.host_id for q in quiet} >= set(nodes)
        if not all_quiet and not any(self._matters(q) for q in quiet):
            return
        states = await lock_hosts(self.conn, [q.key for q in quiet], self.now)
        if any(s.pack_version > self.evaluator.version for s in states.values()):
            return  # newer rules: the next sweep has them
        still = [q for q in quiet if states[q.key].last_seen == q.last_seen]
        whole = all_quiet and len(still) == len(quiet)
        cluster = await (self._whole(still) if whole else self._cause(quiet[0].scope))
        outcomes = [self._host(q, states[q.key], cluster) for q in still]
        await save_outcomes(self.conn, [o for o in outcomes if o is not None], self.now)

    def _matters(self, quiet: Quiet) -> bool:
        """Whether, as read without the lock, there is anything to write."""
        state = HostState(*quiet.key, last_seen=quiet.last_seen, memory=read_memory(quiet.blob))
        return self._host(quiet, state, "") is not None

    def _host(self, quiet: Quiet, state: HostState, hidden: str) -> Outcome | None:
        since = max(to_ms(quiet.last_seen), self.opened)
        return unheard(self.evaluator, quiet.scope, state, since, hidden, self.now)

    async def _nodes(self, tenant_id: int, deployment_id: int) -> list[int]:
        given = {"tenant_id": tenant_id, "deployment_id": deployment_id}
        return [row[0] for row in await (await self.conn.execute(Q.nodes, given)).fetchall()]

    async def _cause(self, scope: HostScope) -> str:
        """The deployment's open alert, if it has one, as the cause of its hosts' silences."""
        for row in await (await self.conn.execute(Q.deployment_alerts)).fetchall():
            found = self.evaluator.rule(scope, row[4])
            if (row[0], row[2]) == (scope.tenant_id, scope.deployment_id) and found is not None:
                return f"a consequence of '{found[0].name}' ({found[0].id})"
        return ""

    async def _whole(self, quiet: Sequence[Quiet]) -> str:
        """Raise the deployment's alert when due; why the hosts' own silences are hidden meanwhile."""
        scope = _whole_scope(quiet[0].scope)
        hidden = ""
        for rule, _, source in self.evaluator.silent(scope, whole_deployment=True):
            since = [max(to_ms(q.last_seen), self.opened) for q in quiet]
            level = absence.whole(source, since, to_ms(self.now))
            if level is not None:
                await self._raise(scope, rule, level, max(since))
            hidden = f"a consequence of '{rule.name}' ({rule.id})"
        return hidden

    async def _raise(self, scope: HostScope, rule: Rule, level: SilentLevel, since: int) -> None:
        rows = await (await self.conn.execute(Q.deployment_alerts)).fetchall()
        row = next((r for r in rows if (r[0], r[2], r[4]) == _identity(scope, rule)), None)
        if row is not None and (row[5], row[6]) == (State.FIRING, level.priority):
            return
        now = to_ms(self.now)
        fired = to_ms(row[8]) if row and row[8] else now
        reason = f"Nothing received from any host for more than {level.after_s / 60:.0f} min."
        before = State(row[5]) if row else None
        change = Change(now, before, State.FIRING, level.priority, (now - since) / 1000, reason, "s")
        told = Told(State.FIRING.value, level.priority, to_ms(row[7]) if row else since, fired)
        await self._save(scope, wording.alert_change(scope, rule, (rule.id, ""), told, change))

    async def end(self, row: tuple[Any, ...]) -> None:
        """A deployment's silence is over when one of its hosts has reported for good."""
        tenant_id, tenant_key, deployment_id, deployment_key, rule_id, state, priority, since, fired = row
        nodes = [HostKey(tenant_id, h) for h in await self._nodes(tenant_id, deployment_id)]
        states = await lock_hosts(self.conn, nodes, self.now)
        back = [s for s in states.values() if s.last_seen and s.last_seen > fired and not s.memory.silent]
        scope = HostScope(tenant_id, tenant_key, deployment_id, deployment_key, 0, "(cluster)")
        if self.evaluator.unread(scope, rule_id):
            return  # a newer collector's: ended here, it would be raised, and rung for, again by that one
        found = self.evaluator.rule(scope, rule_id)
        in_force = found is not None and found[0].enabled and isinstance(found[0].source, Silent)
        if in_force and nodes and not back:
            return
        to = State.RESOLVED if in_force and nodes else State.STALE
        reason = (
            "A host reports again." if to is State.RESOLVED else "No host or rule is left to judge it by."
        )
        told = Told(to.value, priority, to_ms(since), to_ms(fired))
        change = Change(to_ms(self.now), State(state), to, priority, None, reason)
        rule = found[0] if found else None
        await self._save(scope, wording.alert_change(scope, rule, (rule_id, ""), told, change))

    async def _save(self, scope: HostScope, change: AlertChange) -> None:
        await save_deployment_alert(self.conn, scope.tenant_id, change, self.now)


def _whole_scope(scope: HostScope) -> HostScope:
    return msgspec.structs.replace(scope, host_id=0, host_name="(cluster)")


def _identity(scope: HostScope, rule: Rule) -> tuple[int, int, str]:
    return (scope.tenant_id, scope.deployment_id, rule.id)
