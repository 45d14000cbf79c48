"""How the service answers the service control manager: pure.

    starting --ready--> running --stop, shutdown, preshutdown--> stopping --> stopped

While it stops, every report carries a higher checkpoint, so that the manager sees that it is alive and waits.
That it has stopped says pywin32's framework, with an error when the agent raised one.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

STOP_HINT_MS = 15_000
"""What stopping may take until the next report: the shipper is given 5 s, the spool is closed after that."""
START_HINT_MS = 30_000


class Phase(IntEnum):
    """Numbers of dwCurrentState."""

    STARTING = 2
    STOPPING = 3
    RUNNING = 4


class Control(IntEnum):
    """Numbers of the controls that we know."""

    STOP = 1
    INTERROGATE = 4
    SHUTDOWN = 5
    PARAMCHANGE = 6
    PRESHUTDOWN = 15


ACCEPTED = 0x1 | 0x4 | 0x8 | 0x100
"""While it runs: stop, shutdown, parameter change, preshutdown."""
_ENDINGS = frozenset((Control.STOP, Control.SHUTDOWN, Control.PRESHUTDOWN))


class State(NamedTuple):
    """What was reported last."""

    phase: Phase = Phase.STARTING
    checkpoint: int = 0


class Report(NamedTuple):
    """What the manager is told (SERVICE_STATUS)."""

    phase: Phase
    accepted: int
    checkpoint: int
    wait_hint_ms: int


class Answer(NamedTuple):
    """The reaction to a control."""

    state: State
    report: Report
    order: str
    """``stop`` or ``reload`` for the agent; empty = nothing."""
    reason: str


def ready(state: State) -> tuple[State, Report]:
    """The agent measures. A stop that came while it started is not taken back."""
    if state.phase is not Phase.STARTING:
        return state, report(state)
    now = State(Phase.RUNNING)
    return now, report(now)


def progress(state: State) -> tuple[State, Report]:
    """A sign of life while it starts or stops."""
    if state.phase not in (Phase.STARTING, Phase.STOPPING):
        return state, report(state)
    now = state._replace(checkpoint=state.checkpoint + 1)
    return now, report(now)


def respond(state: State, control: int) -> Answer:
    """The answer to one control; what is unknown changes nothing."""
    if control in _ENDINGS:
        if state.phase is Phase.STOPPING:
            return Answer(state, report(state), "", "it is stopping already")
        now = State(Phase.STOPPING, 1)
        return Answer(now, report(now), "stop", Control(control).name.lower())
    if control == Control.PARAMCHANGE and state.phase is Phase.RUNNING:
        return Answer(state, report(state), "reload", "paramchange")
    return Answer(state, report(state), "", "nothing to do")


def report(state: State) -> Report:
    """What is so now."""
    if state.phase is Phase.RUNNING:
        return Report(state.phase, ACCEPTED, 0, 0)
    hint = STOP_HINT_MS if state.phase is Phase.STOPPING else START_HINT_MS
    return Report(state.phase, 0, state.checkpoint, hint)
