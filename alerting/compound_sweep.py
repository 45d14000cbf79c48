"""The sweep's part about rules on other rules' alerts: read, lock the deployment's hosts, judge, write.

A deployment is looked at while an alert that such a rule looks at is open, or something is remembered of it;
a healthy one costs nothing. The order of locks: its hosts' rows, sorted; then its own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting import metrics
from alerting.binding import Frame, Plan
from alerting.compound import Remembered, Subject, dump, judge, load
from alerting.errors import StateError
from alerting.evaluator import Evaluator
from alerting.inputs import HostKey, HostScope, HostState, to_ms
from alerting.rule import Silent
from alerting.state import Told
from alerting.store import lock_hosts, save_alerts
from alerting.words import Node, Site, bound
from collector.published import layouts_of, newest_values
from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
log = logging.getLogger(__name__)
_FRAMES = 30
"""Newest frames of a layout that are looked at for values."""


async def sweep(pool: Pool, evaluator: Evaluator, opened: datetime | None, now: datetime) -> None:
    """One round; ``opened``: since when our front door is proven open, None: it is not.

    A deployment that fails does not keep the others from being judged."""
    async with pool.connection() as conn:
        rows = await (await conn.execute(Q.compound_due, {"rules": sorted(evaluator.looked_at)})).fetchall()
    for tenant_id, tenant_key, deployment_id, deployment_key in rows:
        scope = HostScope(tenant_id, tenant_key, deployment_id, deployment_key, 0, "(cluster)")
        with metrics.apart("compound", f"{tenant_key}/{deployment_key}"):
            async with pool.connection() as conn, conn.transaction():
                await _Deployment(conn, evaluator, scope, opened, now).judge()


class _Deployment:
    """One deployment, inside one transaction."""

    def __init__(
        self,
        conn: Connection,
        evaluator: Evaluator,
        scope: HostScope,
        opened: datetime | None,
        now: datetime,
    ) -> None:
        self.conn = conn
        self.evaluator = evaluator
        self.scope = scope
        self.opened = opened
        self.now = now
        self.key = {"tenant_id": scope.tenant_id, "deployment_id": scope.deployment_id}

    async def judge(self) -> None:
        """One round under the locks of all its hosts."""
        named = await (await self.conn.execute(Q.nodes_named, self.key)).fetchall()
        scopes = [msgspec.structs.replace(self.scope, host_id=h, host_name=name) for h, name in named]
        states = await lock_hosts(self.conn, [HostKey(s.tenant_id, s.host_id) for s in scopes], self.now)
        if any(s.pack_version > self.evaluator.version for s in states.values()):
            return  # newer rules: the next sweep has them
        row = await (await self.conn.execute(Q.lock_deployment_state, self.key)).fetchone()
        nodes = [await self._node(s, states[HostKey(s.tenant_id, s.host_id)]) for s in scopes]
        nodes = await self._measured(nodes)
        memory = _remembered(row[0] if row else None)
        alerts = await self._open_alerts(memory)
        site = await self._site(nodes, alerts)
        found = judge(self.evaluator, site, _still_open(memory, alerts))
        await self._save(found.memory, existed=row is not None)
        await save_alerts(self.conn, [(self.scope.tenant_id, alert) for alert in found.alerts], self.now)

    async def _node(self, scope: HostScope, state: HostState) -> Node:
        plans = await self._plans(scope, state)
        return Node(scope, state, bound(plans, state.memory.layouts, self.evaluator.looked_at))

    async def _measured(self, nodes: Sequence[Node]) -> list[Node]:
        """The hosts with what had no value for as long as evidence is fresh, back from their newest frames.

        Of a host whose newest frames are not to be found (its clock is off) nothing is said."""
        fresh = timedelta(seconds=self.evaluator.longest_fresh_s)
        ids = [node.scope.host_id for node in nodes]
        since = self.now - 2 * fresh
        rows = await newest_values(self.conn, self.scope.tenant_id, ids, since, _FRAMES)
        frames: dict[int, list[tuple[bytes, datetime, Frame]]] = {}
        for host_id, digest, at, values in rows:
            frames.setdefault(host_id, []).append((digest[:8], at, values))
        return [self._with_measured(node, frames.get(node.scope.host_id, []), fresh) for node in nodes]

    def _with_measured(
        self, node: Node, frames: Sequence[tuple[bytes, datetime, Frame]], fresh: timedelta
    ) -> Node:
        newest = {name: max(at for n, at, _ in frames if n == name) for name in {n for n, _, _ in frames}}
        looked, valued = set(), set()
        for name, at, values in frames:
            plan = self.evaluator.plan_named(node.scope, name)
            if plan is not None and at >= newest[name] - fresh:
                looked |= plan.by_key.keys() & node.bound.keys()
                valued |= plan.valued(values)
        return msgspec.structs.replace(node, unmeasured=frozenset(looked - valued))

    async def _plans(self, scope: HostScope, state: HostState) -> list[Plan]:
        """Of the layouts that the host's memory names; bodies are read only when a plan is not at hand."""
        names = list(state.memory.layouts)
        known = [self.evaluator.plan_named(scope, name) for name in names]
        if all(known):
            return [plan for plan in known if plan]
        held = await layouts_of(self.conn, scope.tenant_id, scope.host_id)
        return [self.evaluator.plan(scope, digest, layout) for digest, layout in held if digest[:8] in names]

    async def _open_alerts(self, memory: Remembered) -> dict[Subject, Told]:
        """The open alerts of this deployment that are concluded from others, or its own."""
        rules = {rule_id for rule_id, _ in memory.tracks} | {rule.id for rule in self.evaluator.compounds}
        given = self.key | {"rules": sorted(rules)}
        rows = await (await self.conn.execute(Q.open_alerts_under, given)).fetchall()
        return {
            (rule_id, host_id): Told(state, priority, to_ms(since), to_ms(fired) if fired else 0)
            for rule_id, host_id, state, priority, since, fired in rows
        }

    async def _site(self, nodes: Sequence[Node], alerts: Mapping[Subject, Told]) -> Site:
        silent = {rule.id for rule in self.evaluator.rules if isinstance(rule.source, Silent)}
        return Site(
            self.scope,
            tuple(nodes),
            to_ms(self.now),
            to_ms(self.opened) if self.opened else None,
            await self._failing(),
            {rule_id: told for (rule_id, host), told in alerts.items() if not host and rule_id in silent},
        )

    async def _failing(self) -> frozenset[str]:
        """Rules that raised within the longest freshness that any rule asks for."""
        since = self.now - timedelta(seconds=self.evaluator.longest_fresh_s)
        return frozenset(
            row[0] for row in await (await self.conn.execute(Q.failing_since, {"since": since})).fetchall()
        )

    async def _save(self, memory: Remembered, *, existed: bool) -> None:
        blob = dump(memory)
        if blob is not None:
            given = self.key | {"own_alerts": memory.own_alerts, "state": blob}
            await self.conn.execute(Q.save_deployment_state, given)
        elif existed:
            await self.conn.execute(Q.forget_deployment_state, self.key)


def _remembered(blob: bytes | None) -> Remembered:
    """The memory in a blob; empty (and said loudly) when it cannot be read."""
    try:
        return load(blob)
    except StateError:
        metrics.UNREADABLE.inc()
        log.exception("Rules on alerts start anew for a deployment: its stored state is of no use")
        return Remembered()


def _still_open(memory: Remembered, alerts: Mapping[Subject, Told]) -> Remembered:
    """What we remember as told has an open alert: one that was ended elsewhere is begun again if it holds."""
    tracks = {
        subject: track
        for subject, track in memory.tracks.items()
        if not track.told.state or subject in alerts
    }
    return msgspec.structs.replace(memory, tracks=tracks)
