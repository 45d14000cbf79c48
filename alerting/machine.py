"""How an alert lives: pure steps, one sample at a time, no clock.

    idle -> pending -> active -> clearing -> idle         each level of a rule, by its own conditions
    (nothing) -> pending -> firing -> recovering -> resolved      the alert: the levels taken together

- The most severe active level gives the alert its priority; levels move on their own.
- Unknown (None) neither advances nor clears. A gap restarts timers and undoes nothing.
- A pending alert becomes visible with its second sample: one sample over the limit is not yet news.
Times are milliseconds since 1970, UTC, of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

import msgspec

from alerting.published import State
from alerting.rule import Level


class Phase(IntEnum):
    """Where one level is."""

    IDLE = 0
    PENDING = 1
    ACTIVE = 2
    CLEARING = 3


class LevelState(msgspec.Struct, frozen=True, array_like=True):
    """All that one level remembers."""

    phase: Phase = Phase.IDLE
    since: int = 0
    """PENDING, ACTIVE: when its condition began to hold; CLEARING: when its clear condition did. ms."""
    count: int = 0
    """Samples in a row that said so."""
    last: int = 0
    """The newest of them, ms; 0 = an older release wrote this."""


IDLE = LevelState()


class Reading(msgspec.Struct, frozen=True, array_like=True):
    """What one frame says of one level."""

    breach: bool | None
    """Its condition; None = unknown."""
    clear: bool | None
    """Its clear condition; None = unknown."""


def step(level: Level, state: LevelState, reading: Reading, at: int, *, known: int, apart: int) -> LevelState:
    """The level after one more sample.

    A sample more than ``apart`` ms after the last one that was known is not in a row with it; ``known``, the
    rule's newest known sample in ms, stands for that one where the state does not say."""
    gap = at - (state.last or known) > apart
    if state.phase is Phase.IDLE or state.phase is Phase.PENDING:
        return _towards_active(level, state, reading.breach, at, gap)
    return _towards_idle(level, state, reading.clear, at, gap)


def _towards_active(level: Level, state: LevelState, breach: bool | None, at: int, gap: bool) -> LevelState:
    if breach is None:
        return state
    if not breach:
        return IDLE
    begun = _counted(state, Phase.PENDING, at, gap)
    done = _held(begun, at, level.for_s, level.for_samples)
    return LevelState(Phase.ACTIVE, begun.since, begun.count, at) if done else begun


def _towards_idle(level: Level, state: LevelState, clear: bool | None, at: int, gap: bool) -> LevelState:
    if clear is None:
        return state
    if not clear:
        return state if state.phase is Phase.ACTIVE else LevelState(Phase.ACTIVE, at, 1, at)
    begun = _counted(state, Phase.CLEARING, at, gap)
    return IDLE if _held(begun, at, level.clear_for_s, level.clear_samples) else begun


def _counted(state: LevelState, phase: Phase, at: int, gap: bool) -> LevelState:
    """One more sample of a timer that runs in ``phase``, or its first."""
    if state.phase is not phase or gap:
        return LevelState(phase, at, 1, at)
    return LevelState(phase, state.since, state.count + 1, at)


def _held(state: LevelState, at: int, seconds: float, samples: int) -> bool:
    return state.count >= samples and at - state.since >= seconds * 1000


class Standing(msgspec.Struct, frozen=True):
    """The levels taken together."""

    state: State
    """PENDING, FIRING or RECOVERING; RESOLVED = every level is idle."""
    level: int
    """Index of the level that speaks: the most severe of those that made the state."""


def standing(states: Sequence[LevelState]) -> Standing:
    """What an alert with these levels (most severe first) is."""
    active = [i for i, s in enumerate(states) if s.phase in (Phase.ACTIVE, Phase.CLEARING)]
    if active:
        recovering = all(states[i].phase is Phase.CLEARING for i in active)
        return Standing(State.RECOVERING if recovering else State.FIRING, active[0])
    pending = [i for i, s in enumerate(states) if s.phase is Phase.PENDING]
    return Standing(State.PENDING, pending[0]) if pending else Standing(State.RESOLVED, 0)
