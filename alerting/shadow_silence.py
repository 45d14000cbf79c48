"""Silence under a pack on trial: the same receipts, door and hold as for real, at the same time.

What a receipt ends, or its absence begins, is kept in the trial's own memory of the host. The silence of a
whole deployment stands with the first of its hosts; the report names it for what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting import absence, metrics
from alerting.evaluator import Evaluator, shortest_silence
from alerting.inputs import HostKey, HostScope, HostState, Outcome, to_ms
from alerting.judge import heard, unheard
from alerting.published import open_operations_alarms
from alerting.shadow_notes import key_of, muted, note
from alerting.silence_sweep import MASS_SILENCE
from alerting.state import dump
from alerting.store import read_memory
from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
_changed = msgspec.structs.replace


class Quiet(msgspec.Struct, frozen=True):
    """A host that is silent, or counted as such, as read without a lock."""

    scope: HostScope
    last_seen: datetime


async def sweep(pool: Pool, evaluator: Evaluator, opened: datetime, now: datetime) -> None:
    """One round; ``opened``: since when silence counts."""
    shortest = shortest_silence(evaluator.rules)
    if shortest is None:
        return
    before = now - timedelta(seconds=shortest)
    async with pool.connection() as conn:
        held = await _held_from(conn)
        wide = [rule.id for rule in evaluator.rules if rule.of_deployment]
        given = {"version": evaluator.version, "before": before, "wide": wide}
        rows = await (await conn.execute(Q.shadow_quiet, given)).fetchall()
    quiet = [Quiet(HostScope(*row[:6]), row[6]) for row in rows]
    through = [q for q in quiet if held is None or max(q.last_seen, opened) < held or q.last_seen >= before]
    for (tenant_id, deployment_id), group in groupby(through, key=_site):
        with metrics.apart("shadow", f"deployment {deployment_id} of tenant {tenant_id}"):
            async with pool.connection() as conn, conn.transaction():
                await _deployment(conn, evaluator, list(group), opened, now)


def _site(quiet: Quiet) -> tuple[int, int]:
    return (quiet.scope.tenant_id, quiet.scope.deployment_id)


async def _held_from(conn: Connection) -> datetime | None:
    """What our own fault may be is held back for the trial as it is for real."""
    alarms = await open_operations_alarms(conn)
    return next((a.from_at for a in alarms if a.kind == MASS_SILENCE and a.released_at is None), None)


async def _deployment(
    conn: Connection, evaluator: Evaluator, quiet: Sequence[Quiet], opened: datetime, now: datetime
) -> None:
    hidden = await _whole(conn, evaluator, quiet, opened, now)
    for host in quiet:
        await _host(conn, evaluator, host, hidden, opened, now)


async def _host(
    conn: Connection, evaluator: Evaluator, host: Quiet, hidden: str, opened: datetime, now: datetime
) -> None:
    key = {"version": evaluator.version, **HostKey(host.scope.tenant_id, host.scope.host_id)._asdict()}
    row = await (await conn.execute(Q.claim_shadow, key)).fetchone()
    if row is None:
        return
    state = HostState(host.scope.tenant_id, host.scope.host_id, memory=read_memory(row[1]))
    outcome: Outcome | None = None
    if state.memory.silent and (row[2] is None or host.last_seen > row[2]):
        outcome = heard(evaluator, host.scope, state, host.last_seen)
    elif host.last_seen < now:
        since = max(to_ms(host.last_seen), to_ms(opened))
        outcome = unheard(evaluator, host.scope, state, since, hidden, now)
    if outcome is None:
        return
    await note(conn, evaluator, outcome)
    memory = outcome.state.memory
    kept = {"state": dump(memory), "silent": bool(memory.silent), "heard_at": host.last_seen}
    await conn.execute(Q.save_shadow_silence, key | kept)


async def _whole(
    conn: Connection, evaluator: Evaluator, quiet: Sequence[Quiet], opened: datetime, now: datetime
) -> str:
    """The silence of all hosts of a deployment; why the hosts' own are a consequence of it, or nothing."""
    scope = _changed(quiet[0].scope, host_id=0, host_name="(cluster)")
    given = {"tenant_id": scope.tenant_id, "deployment_id": scope.deployment_id}
    nodes = [row[0] for row in await (await conn.execute(Q.nodes, given)).fetchall()]
    all_quiet = len(nodes) >= 2 and {q.scope.host_id for q in quiet} >= set(nodes)
    hidden = ""
    for rule, _, source in evaluator.silent(scope, whole_deployment=True):
        since = [to_ms(max(q.last_seen, opened)) for q in quiet]
        level = absence.whole(source, since, to_ms(now)) if all_quiet else None
        key = key_of(evaluator, _changed(scope, host_id=min(nodes, default=0)), rule.id)
        if level is not None:
            why = await muted(conn, scope, rule, "", level.priority, now)
            await conn.execute(Q.shadow_fires, key | {"at": now, "priority": level.priority, "muted": why})
        elif not all_quiet and nodes:
            await conn.execute(Q.shadow_ends, key | {"at": now})
        hidden = f"a consequence of '{rule.name}' ({rule.id})" if all_quiet else hidden
    return hidden
