"""A rule pack on trial: it judges the live hosts' stored frames beside the pack in force, and bothers nobody.

It runs in the sweep, outside of the ingest commit, a few minutes behind, with memory and findings in tables
of its own: it cannot write an alert. Rules about events and silence are not tried here (``rules test`` does).
"""

from __future__ import annotations

import hashlib
import logging
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting import ahead, history, outlook
from alerting.errors import PackError
from alerting.evaluator import Evaluator
from alerting.inputs import HostKey, HostScope, HostState, Outcome, from_ms, to_ms
from alerting.judge import evaluate
from alerting.pack import parse_pack
from alerting.published import ENDED, State
from alerting.rule import Measured
from alerting.rulebook import load_evaluator, overrides_on
from alerting.state import dump
from alerting.store import read_memory
from alerting.trial import Comparison, Fired, compared
from storage.pool import Pool
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
log = logging.getLogger(__name__)

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


async def sweep(pool: Pool, now: datetime) -> None:
    """Judge what has come since the last time, of the hosts that wait the longest."""
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
        async with pool.connection() as conn, conn.transaction():
            await _host(conn, evaluator, HostScope(*row), before)


async def _evaluator(conn: Connection, trial: OnTrial) -> Evaluator | None:
    try:
        rules = parse_pack(trial.document, trial.name).rules
    except PackError:
        log.exception("the pack on trial (version %d) cannot be read by this release", trial.version)
        return None
    return Evaluator(trial.version, rules, await overrides_on(conn, rules))


async def _host(conn: Connection, evaluator: Evaluator, scope: HostScope, before: datetime) -> None:
    key = {"version": evaluator.version, **HostKey(scope.tenant_id, scope.host_id)._asdict()}
    row = await (await conn.execute(Q.claim_shadow, key)).fetchone()
    if row is None or row[0] >= before:
        return
    to = min(before, row[0] + MOST)
    state = HostState(scope.tenant_id, scope.host_id, memory=read_memory(row[1]))
    frames = 0
    async for frame in history.frames(conn, scope, row[0], to):
        frames += 1
        outcome = evaluate(evaluator, scope, state, [frame], frame.at)
        state = outcome.state
        await _note(conn, key, outcome)
    answers = await outlook.foreseen(conn, evaluator, scope, state.memory, to)
    memory = ahead.answered(state.memory, answers, to_ms(to))
    await conn.execute(Q.save_shadow, key | {"to": to, "frames": frames, "state": dump(memory)})


async def _note(conn: Connection, key: dict[str, int], outcome: Outcome) -> None:
    """What would have been told, had it been in force; consequences of others are no news."""
    for alert in outcome.alerts:
        change = alert.change
        given = key | {"rule_id": alert.rule_id, "instance": alert.instance, "at": from_ms(change.at_ms)}
        if change.to_state in ENDED:
            await conn.execute(Q.shadow_ends, given)
        elif change.to_state is State.FIRING and not alert.hidden:
            await conn.execute(Q.shadow_fires, given | {"priority": change.priority})


async def report(conn: Connection) -> Comparison | None:
    """The pack on trial against the one in force, over the time since it was loaded; None: no trial."""
    trial = await on_trial(conn)
    if trial is None:
        return None
    rules = (await load_evaluator(conn)).rules
    given = {
        "version": trial.version,
        "since": trial.since,
        "rules": [rule.id for rule in rules if isinstance(rule.source, Measured)],
    }
    then = await (await conn.execute(Q.shadow_found, given)).fetchall()
    now = await (await conn.execute(Q.fired_meanwhile, given)).fetchall()
    judged = await (await conn.execute(Q.shadow_frames, given)).fetchone()
    assert judged is not None
    return compared([Fired(*row) for row in now], [Fired(*row) for row in then], frames=judged[0])
