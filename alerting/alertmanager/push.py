"""Pushed alerts in the database: opened, held and ended under the deployment's lock.

The lock is a row of host_state, as everywhere, in the deployment's own name (a host id that no host has), so
that pushes of one deployment come one after the other and hold up no host's ingest.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from alerting import frontdoor, metrics
from alerting.alertmanager.pushed import CLUSTER, Pushed, Standing, ends, fires, lapsed
from alerting.inputs import HostKey, HostScope
from alerting.settings import Settings
from alerting.store import lock_hosts, save_deployment_alert
from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("alerting.alertmanager")
Connection = AsyncConnection[tuple[Any, ...]]
log = logging.getLogger(__name__)


def _lock_key(tenant_id: int, deployment_id: int) -> HostKey:
    """No host has a negative id."""
    return HostKey(tenant_id, -deployment_id)


class Gate:
    """One deployment's pushed alerts, locked to the end of the transaction."""

    def __init__(self, conn: Connection, scope: HostScope, open_: Sequence[Standing], now: datetime) -> None:
        self._conn = conn
        self._scope = scope
        self._open = {(s.rule_id, s.instance): s for s in open_}
        self._now = now

    @classmethod
    async def lock(cls, conn: Connection, tenant_id: int, deployment_id: int, now: datetime) -> Gate | None:
        """None: there is no such deployment."""
        key = {"tenant_id": tenant_id, "deployment_id": deployment_id}
        row = await (await conn.execute(Q.scope_of_deployment, key)).fetchone()
        if row is None:
            return None
        await lock_hosts(conn, [_lock_key(tenant_id, deployment_id)], now)
        rows = await (await conn.execute(Q.standing, key)).fetchall()
        _, tenant_key, _, deployment_key = row
        scope = HostScope(tenant_id, tenant_key, deployment_id, deployment_key, 0, CLUSTER)
        return cls(conn, scope, [Standing(*r) for r in rows], now)

    async def take(self, pushed: Pushed, by: str, limit: int) -> bool:
        """Let one pushed alert in; False: there are too many open already."""
        standing = self._open.get((pushed.rule_id, pushed.instance))
        if pushed.expires_at <= self._now:
            if standing is not None:
                await self.end(standing, f"Reported as over by '{by}'.")
            return True
        if standing is not None:
            await self._conn.execute(Q.refresh_pushed, self._row(pushed, by, standing.alert_id))
            return True
        if len(self._open) >= limit:
            return False
        await self._opened(pushed, by)
        return True

    async def _opened(self, pushed: Pushed, by: str) -> None:
        change = fires(pushed, self._scope, by, self._now)
        await save_deployment_alert(self._conn, self._scope.tenant_id, change, self._now)
        row = await (await self._conn.execute(Q.note_pushed, self._row(pushed, by, 0))).fetchone()
        assert row is not None
        since, fired, until = pushed.starts_at, self._now, pushed.expires_at
        made = Standing(row[0], pushed.rule_id, pushed.instance, pushed.priority, since, fired, until)
        self._open[(pushed.rule_id, pushed.instance)] = made
        metrics.TRANSITIONS.labels(change.change.to_state.value).inc()

    def _row(self, pushed: Pushed, by: str, alert_id: int) -> dict[str, Any]:
        return msgspec.structs.asdict(pushed) | {
            "tenant_id": self._scope.tenant_id,
            "deployment_id": self._scope.deployment_id,
            "alert_id": alert_id,
            "annotations": Jsonb(pushed.annotations),
            "by": by,
            "now": self._now,
        }

    async def end(self, standing: Standing, reason: str) -> None:
        """It is over."""
        change = ends(standing, self._scope, reason, self._now)
        await save_deployment_alert(self._conn, self._scope.tenant_id, change, self._now)
        key = {"tenant_id": self._scope.tenant_id, "alert_id": standing.alert_id}
        await self._conn.execute(Q.end_pushed, key)
        self._open.pop((standing.rule_id, standing.instance), None)
        metrics.TRANSITIONS.labels(change.change.to_state.value).inc()

    async def expire(self, opened: datetime | None, settings: Settings) -> None:
        """End what was not pushed again in time."""
        for standing in list(self._open.values()):
            if reason := lapsed(standing, opened, settings, self._now):
                await self.end(standing, reason)


def count_refused(refused: int, by: str) -> None:
    """Say that alerts were not let in."""
    if refused:
        metrics.PUSHES_REFUSED.inc(refused)
        log.warning("%d pushed alert(s) of '%s' refused: too many are open", refused, by)


async def sweep(pool: Pool, settings: Settings, now: datetime) -> None:
    """End what was not pushed again in time, of all deployments, each apart from the others."""
    opened = await frontdoor.open_since(pool, settings, now)
    async with pool.connection() as conn:
        rows = await (await conn.execute(Q.lapsing, {"now": now})).fetchall()
    for tenant_id, deployment_id in rows:
        with metrics.apart("pushed", f"deployment {deployment_id} of tenant {tenant_id}"):
            async with pool.connection() as conn, conn.transaction():
                gate = await Gate.lock(conn, tenant_id, deployment_id, now)
                if gate is not None:
                    await gate.expire(opened, settings)
