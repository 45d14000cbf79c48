"""A rule pack on trial: it judges the live hosts beside the pack in force, and bothers nobody.

It runs in the sweep, outside of the ingest commit, with memory and findings in tables of its own: it cannot
write an alert. Values, forecasts and events are judged from what is stored, a few minutes behind; silence at
once, from receipts (``shadow_silence.py``). Silences, maintenance and inhibition count as they do for real:
what they cover is found, but nobody would have been told. Rules on other rules' alerts are not tried.
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting import ahead, history, metrics, outlook, shadow_silence
from alerting.errors import PackError
from alerting.evaluator import Evaluator
from alerting.inputs import FrameInput, HostKey, HostScope, HostState, from_ms, to_ms
from alerting.judge import evaluate, look
from alerting.pack import parse_pack
from alerting.rule import Compound, Rule, Silent
from alerting.rulebook import load_evaluator, overrides_on
from alerting.shadow_notes import muted, note
from alerting.state import dump
from alerting.store import read_memory
from alerting.trial import Comparison, Fired, compared
from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
log = logging.getLogger(__name__)
_changed = msgspec.structs.replace

BEHIND = timedelta(minutes=3)
"""Frames younger than this may still be joined by others: they wait. What comes later is not judged."""
MOST = timedelta(hours=6)
"""Of frames judged in one go for one host."""
BATCH = 50
"""Hosts in one sweep."""


class OnTrial(msgspec.Struct, frozen=True):
    """The pack on trial."""

    version: int
    name: str
    document: str
    since: datetime
    by: str


async def load(conn: Connection, document: str, name: str, by: str) -> int:
    """Put a pack on trial in place of the one before: its version. Raises PackError."""
    parse_pack(document, name)
    await load_evaluator(conn)  # the very first start stores the shipped pack, to be compared with
    digest = hashlib.sha256(document.encode()).digest()
    async with conn.transaction():
        await conn.execute(Q.lock_rules)
        await conn.execute(Q.retire_shadows)
        given = {"name": name, "document": document, "digest": digest, "by": by}
        row = await (await conn.execute(Q.store_shadow, given)).fetchone()
    assert row is not None
    return int(row[0])


async def stop(conn: Connection) -> bool:
    """End the trial; False: there is none."""
    async with conn.transaction():
        await conn.execute(Q.lock_rules)
        return (await conn.execute(Q.retire_shadows)).rowcount > 0


async def on_trial(conn: Connection) -> OnTrial | None:
    """The pack on trial, if there is one."""
    row = await (await conn.execute(Q.shadow_pack)).fetchone()
    return OnTrial(*row) if row else None


async def sweep(pool: Pool, now: datetime, opened: datetime | None = None) -> None:
    """Judge what has come since the last time, of the hosts that wait the longest, each apart from others.

    ``opened``: since when our front door is proven open; None: it is not, and silence is not judged."""
    before = now - BEHIND
    async with pool.connection() as conn:
        trial = await on_trial(conn)
        evaluator = await _evaluator(conn, trial) if trial else None
        if trial is None or evaluator is None:
            return
        given = {"version": trial.version, "loaded_at": trial.since}
        await conn.execute(Q.add_shadow_hosts, given)
        due = {"version": trial.version, "before": before - timedelta(minutes=1), "limit": BATCH}
        rows = await (await conn.execute(Q.shadow_due, due)).fetchall()
    for row in rows:
        scope = HostScope(*row)
        with metrics.apart("shadow", f"host {scope.host_id} of tenant {scope.tenant_id}"):
            async with pool.connection() as conn, conn.transaction():
                await _host(conn, evaluator, scope, before)
    if opened is not None:
        await shadow_silence.sweep(pool, evaluator, max(opened, trial.since), now)


async def _evaluator(conn: Connection, trial: OnTrial) -> Evaluator | None:
    rules = _rules(trial)
    return Evaluator(trial.version, rules, await overrides_on(conn, rules)) if rules else None


def _rules(trial: OnTrial) -> tuple[Rule, ...]:
    try:
        return parse_pack(trial.document, trial.name).rules
    except PackError:
        log.exception("the pack on trial (version %d) cannot be read by this release", trial.version)
        return ()


async def _host(conn: Connection, evaluator: Evaluator, scope: HostScope, before: datetime) -> None:
    key = {"version": evaluator.version, **HostKey(scope.tenant_id, scope.host_id)._asdict()}
    row = await (await conn.execute(Q.claim_shadow, key)).fetchone()
    if row is None or row[0] >= before:
        return
    to = min(before, row[0] + MOST)
    memory = read_memory(row[1])
    # What is stored says nothing of when it was received: receipts are shadow_silence's.
    frontier = from_ms(max(memory.layouts.values())) if memory.layouts else None
    heard = _changed(memory, silent={})
    state = HostState(scope.tenant_id, scope.host_id, frontier=frontier, memory=heard)
    frames = 0
    async for item in history.inputs(conn, scope, row[0], to):
        frames += isinstance(item, FrameInput)
        outcome = evaluate(evaluator, scope, state, [item], item.at)
        state = outcome.state
        await note(conn, evaluator, outcome)
    looked = look(evaluator, scope, state, to)
    await note(conn, evaluator, looked)
    memory = _changed(looked.state.memory, silent=memory.silent)
    answers = await outlook.foreseen(conn, evaluator, scope, memory, to)
    memory = ahead.answered(memory, answers, to_ms(to))
    await conn.execute(Q.save_shadow, key | {"to": to, "frames": frames, "state": dump(memory)})
    await _unmuted(conn, evaluator, scope, to)


async def _unmuted(conn: Connection, evaluator: Evaluator, scope: HostScope, at: datetime) -> None:
    """What a silence or a window covered when it fired, and does no longer, is told now."""
    key = {"version": evaluator.version, "tenant_id": scope.tenant_id, "host_id": scope.host_id}
    for rule_id, instance, priority in await (await conn.execute(Q.shadow_muted, key)).fetchall():
        found = evaluator.rule(scope, rule_id)
        why = await muted(conn, scope, found[0] if found else None, instance, priority, at)
        if why is None:
            await conn.execute(Q.shadow_told, key | {"rule_id": rule_id, "instance": instance, "at": at})


async def report(conn: Connection) -> Comparison | None:
    """The pack on trial against the one in force, over the time since it was loaded; None: no trial."""
    trial = await on_trial(conn)
    if trial is None:
        return None
    evaluator = await load_evaluator(conn)
    given = {
        "version": trial.version,
        "since": trial.since,
        "rules": [rule.id for rule in evaluator.rules if not isinstance(rule.source, Compound)],
        "live": [rule.id for rule in evaluator.rules if isinstance(rule.source, Silent)],
        "wide": [rule.id for rule in _rules(trial) if rule.of_deployment],
    }
    then = await (await conn.execute(Q.shadow_found, given)).fetchall()
    now = await (await conn.execute(Q.fired_meanwhile, given)).fetchall()
    judged = await (await conn.execute(Q.shadow_frames, given)).fetchone()
    assert judged is not None
    return compared([Fired(*row) for row in now], [Fired(*row) for row in then], frames=judged[0])
