"""One binding and one frame: ``(binding, track, values, at) -> (track, change, reason)``, pure.

The levels move by themselves (machine.py); what they amount to is compared with what the alert's row says,
and the difference is the transition to write.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from alerting import condition as cond
from alerting import wording
from alerting.binding import Binding
from alerting.condition import Values
from alerting.inputs import Change
from alerting.machine import IDLE, LevelState, Phase, Reading, Standing, standing, step
from alerting.published import State
from alerting.rule import Level
from alerting.state import Told, Track

GAP_INTERVALS = 3
"""Longer without a known value than this many intervals: timers start again."""
STALE_INTERVALS = 10
"""A series gone from its host's layouts for this many intervals is stale..."""
STALE_MIN_MS = 300_000
"""...and for at least this long, in ms."""

_changed = msgspec.structs.replace


class Step(NamedTuple):
    """What one sample, event or passing of time made of a track."""

    track: Track | None
    """None: healthy again, nothing to remember."""
    told: Told
    """What the alert's row says once ``change`` is written."""
    change: Change | None
    """The transition to write, if any."""


def sample(binding: Binding, track: Track | None, values: Values, at: int, interval: int) -> Step:
    """One more frame for a binding; ``interval`` of its layout, in ms."""
    before = _current(binding, track, at, interval)
    known = any(value is not None for value in values.values())
    apart = GAP_INTERVALS * interval
    levels = tuple(
        step(level, state, _read(level, values), at, known=before.last, apart=apart)
        for level, state in zip(binding.source.levels, before.levels, strict=True)
    )
    last = at if known else before.last
    after = _changed(before, levels=levels, last=last, present=at, interval_ms=interval)
    now = standing(levels)
    if now.state is State.RESOLVED:
        return _end(binding, before, values, at)
    if now.state is State.PENDING:
        return _pend(binding, after, now, values, at)
    return _fire(binding, after, now, values, at)


def _read(level: Level, values: Values) -> Reading:
    return Reading(cond.holds(level.when, values), cond.holds(level.clear, values))


def _current(binding: Binding, track: Track | None, at: int, interval: int) -> Track:
    """The track under this very rule: a new one, the stored one, or the stored one carried over."""
    if track is not None and track.rule == binding.fingerprint:
        return track
    priorities = tuple(level.priority for level in binding.source.levels)
    if track is not None:
        levels = _carried(track, priorities, at)
        return _changed(track, rule=binding.fingerprint, priorities=priorities, levels=levels)
    idle = tuple(IDLE for _ in priorities)
    key = binding.key
    return Track(
        *key, binding.fingerprint, Told(), idle, priorities, last=at, present=at, interval_ms=interval
    )


def _carried(track: Track, priorities: tuple[int, ...], at: int) -> tuple[LevelState, ...]:
    """A changed rule keeps what fires, by priority, and starts every timer again.

    A firing alert whose level is gone goes on at the nearest level that there is, until that one clears."""
    old = dict(zip(track.priorities, track.levels, strict=True))
    active = {p for p, state in old.items() if state.phase in (Phase.ACTIVE, Phase.CLEARING)}
    kept = {min(priorities, key=lambda mine: (abs(mine - p), mine)) for p in active}
    return tuple(LevelState(Phase.ACTIVE, at, 1, at) if p in kept else IDLE for p in priorities)


def _end(binding: Binding, before: Track, values: Values, at: int) -> Step:
    told = before.told
    if not told.state:
        return Step(None, told, None)
    level = binding.source.levels[standing(before.levels).level]
    reason = wording.ended(level, bool(told.fired_at), values, binding)
    value = cond.leading_value(level.clear, values)
    return _told(None, told, State.RESOLVED, told.priority, value, reason, at)


def _pend(binding: Binding, track: Track, now: Standing, values: Values, at: int) -> Step:
    """A pending alert gets its row with the second sample: one over the limit is not yet news."""
    level = binding.source.levels[now.level]
    told = track.told if track.told.fired_at else _changed(track.told, since=_since(track))
    track = _changed(track, told=told)
    if told.state or track.levels[now.level].count < 2:
        return Step(track, told, None)
    reason = wording.pending(level, values, binding)
    value = cond.leading_value(level.when, values)
    return _told(track, told, State.PENDING, level.priority, value, reason, at)


def _fire(binding: Binding, track: Track, now: Standing, values: Values, at: int) -> Step:
    level, told = binding.source.levels[now.level], track.told
    if (now.state, level.priority) == (told.state, told.priority):
        return Step(track, told, None)
    if now.state is State.RECOVERING:
        reason = wording.recovering(level, values, binding)
        return _told(
            track, told, now.state, level.priority, cond.leading_value(level.clear, values), reason, at
        )
    if not told.fired_at:
        told = _changed(told, fired_at=at, since=_since(track))
    reason = wording.firing(level, track.levels[now.level], told, values, binding)
    return _told(track, told, now.state, level.priority, cond.leading_value(level.when, values), reason, at)


def _since(track: Track) -> int:
    """When the earliest of the levels that make the alert began to hold."""
    return min(s.since for s in track.levels if s.phase in (Phase.PENDING, Phase.ACTIVE))


def _told(
    track: Track | None,
    told: Told,
    to: State,
    priority: int,
    shown: tuple[float | None, str],
    reason: str,
    at: int,
) -> Step:
    """``shown``: the value and its unit."""
    before = State(told.state) if told.state else None
    told = _changed(told, state=to.value, priority=priority)
    change = Change(at, before, to, priority, shown[0], reason, shown[1])
    return Step(_changed(track, told=told) if track else None, told, change)


def limit_ms(track: Track) -> int:
    """For how long nobody need have judged a track before it is given up."""
    return max(STALE_INTERVALS * track.interval_ms, STALE_MIN_MS)


def paused(track: Track, at: int, pause: int, apart: int) -> Track:
    """The track when a frame of any layout comes at ``at``, ``pause`` ms after the newest before it.

    While no frame came nothing was said of any series. A pause of more than ``apart``, the frame's own
    measure of a gap, does not count as absence at all; of one that only faster series mind, their own
    measure does."""
    if pause > apart:
        return _changed(track, present=at)
    uncounted = pause - GAP_INTERVALS * track.interval_ms
    return _changed(track, present=track.present + uncounted) if uncounted > 0 else track


def vanished(track: Track, in_force: bool, at: int) -> Step | None:
    """A frame without this series: after a while the alert says that nobody knows. None: wait on."""
    if in_force and at - track.present <= limit_ms(track):
        return None
    if not track.told.state:
        return Step(None, track.told, None)
    reason = wording.gone(at - track.present) if in_force else wording.RULE_GONE
    return _told(None, track.told, State.STALE, track.told.priority, (None, ""), reason, at)
