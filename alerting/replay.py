"""Replay of closed gaps: a gap's stored frames through the same judge, inside the sweep's transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from alerting import gap as gaps
from alerting import metrics, wording
from alerting.evaluator import Evaluator
from alerting.gap import MUTED, Episode
from alerting.inputs import AlertChange, Change, FrameInput, HostScope, HostState, Outcome, from_ms, to_ms
from alerting.judge import evaluate
from alerting.published import State
from alerting.state import Gap, Key, Memory, Track
from collector.published import frames_between
from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
_changed = msgspec.structs.replace


async def replay(
    conn: Connection, evaluator: Evaluator, scope: HostScope, state: HostState, now: datetime
) -> Outcome:
    """Replay the host's gaps that are due: past alerts are written here, the rest is in the outcome to save.

    The host is locked by the caller."""
    memory = state.memory
    moved: list[AlertChange] = []
    for gap in memory.gaps:
        if 0 < gap.due <= to_ms(now):
            metrics.REPLAYS.inc()
            found, past = await _judged(conn, evaluator, scope, gap)
            tracks = gaps.begun_earlier(found, past, memory.tracks, gap.end)
            memory = _changed(memory, tracks=tracks)
            memory = await _settled(conn, evaluator, scope, gap, found, memory, moved)
    memory = _changed(memory, gaps=gaps.replayed(memory.gaps, to_ms(now)))
    return Outcome(scope, _changed(state, memory=memory, pack_version=evaluator.version), tuple(moved))


async def _judged(
    conn: Connection, evaluator: Evaluator, scope: HostScope, gap: Gap
) -> tuple[list[Episode], Mapping[Key, Track]]:
    """What the gap's frames would have said, had they come in time, and what was not healthy at its end."""
    tracks = {(track.rule_id, track.instance): track for track in gap.tracks}
    state = HostState(scope.tenant_id, scope.host_id, memory=Memory(tracks=tracks))
    alerts: list[AlertChange] = []
    async for frame in _frames(conn, scope, gap):
        outcome = evaluate(evaluator, scope, state, [frame], frame.at)
        state = outcome.state
        alerts += outcome.alerts
    return gaps.episodes(alerts), state.memory.tracks


async def _frames(conn: Connection, scope: HostScope, gap: Gap) -> AsyncIterator[FrameInput]:
    """The gap's stored frames in time order.

    They carry the host's own clock, judged ones the corrected one: about an end of the gap a frame may be
    missing or seen twice, which neither makes nor ends an alert that lasts longer than the clock is off."""
    span = (from_ms(gap.start), from_ms(gap.end))
    async for stored in frames_between(conn, scope.tenant_id, scope.host_id, *span):
        start, end = gap.layouts.get(stored.layout_digest[:8], (0, 0))
        if start < to_ms(stored.at) < end:
            yield FrameInput(stored.layout_digest, stored.layout, stored.at, stored.values)


async def _settled(
    conn: Connection,
    evaluator: Evaluator,
    scope: HostScope,
    gap: Gap,
    found: list[Episode],
    memory: Memory,
    moved: list[AlertChange],
) -> Memory:
    """Alerts of the past are written; an open alert that began within the gap begins earlier."""
    tracks = dict(memory.tracks)
    for episode in found:
        track = tracks.get(episode.key)
        if track is not None and gaps.continued(episode, track, gap.end):
            tracks[episode.key], change = _earlier(evaluator, scope, episode, track)
            moved.append(change)
        else:
            await conn.execute(Q.record_past_alert, _past(scope, gaps.closed(episode, gap.end)))
    return _changed(memory, tracks=tracks)


def _earlier(
    evaluator: Evaluator, scope: HostScope, episode: Episode, track: Track
) -> tuple[Track, AlertChange]:
    since = episode.alert.since_ms
    told = _changed(track.told, since=since)
    state = State(told.state)
    reason = f"Frames that arrived late show that it began at {from_ms(since):%Y-%m-%d %H:%M:%SZ}."
    change = Change(track.last, state, state, told.priority, None, reason)
    rule = evaluator.rule(scope, track.rule_id)
    described = wording.alert_change(scope, rule[0] if rule else None, episode.key, told, change)
    return _changed(track, told=told), described


def _past(scope: HostScope, episode: Episode) -> dict[str, Any]:
    alert, changes = episode.alert, episode.changes
    return {
        "tenant_id": scope.tenant_id,
        "deployment_id": alert.deployment_id,
        "host_id": alert.host_id,
        "rule_id": alert.rule_id,
        "instance": alert.instance,
        "problem_key": alert.problem_key,
        "state": changes[-1].to_state.value,
        "priority": min(change.priority for change in changes),
        "since": from_ms(alert.since_ms),
        "fired_at": from_ms(next(c.at_ms for c in changes if c.to_state is State.FIRING)),
        "resolved_at": from_ms(changes[-1].at_ms),
        "value": next((c.value for c in reversed(changes) if c.value is not None), None),
        "unit": next((c.unit for c in reversed(changes) if c.value is not None), ""),
        "summary": alert.summary or alert.rule_id,
        "labels": Jsonb(alert.labels or {}),
        "muted": MUTED,
        "ats": [from_ms(c.at_ms) for c in changes],
        "froms": [c.from_state.value if c.from_state else None for c in changes],
        "tos": [c.to_state.value for c in changes],
        "priorities": [c.priority for c in changes],
        "values": [c.value for c in changes],
        "reasons": [c.reason for c in changes],
    }
