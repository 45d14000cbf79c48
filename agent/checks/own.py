"""The agent about itself: its cost, what waits in its spool, what it gave up, how its checks do."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

from agent.checks import rate
from agent.reading import Column, Reading
from agent.sources import Source


class CheckHealth(NamedTuple):
    """How one check does."""

    duration_s: float | None
    """Of the latest reading; None while it hangs."""
    failures: int
    """Since the agent started: failed, cut off or skipped."""


class OwnState(NamedTuple):
    """What the rest of the agent knows at this moment."""

    spool_bytes: int
    spool_batches: int
    frames_dropped: int
    events_dropped: int
    batches_refused: int
    samples_refused: int
    checks: Mapping[str, CheckHealth]


_METRICS = (
    "ucx.agent.cpu.utilization",
    "ucx.agent.memory.usage",
    "ucx.agent.spool.size",
    "ucx.agent.spool.batches",
    "ucx.agent.frames.dropped",
    "ucx.agent.events.dropped",
    "ucx.agent.batches.refused",
    "ucx.agent.samples.refused",
)


class OwnCheck:
    name: ClassVar[str] = "agent"
    interval_s: ClassVar[float] = 60.0

    def __init__(self, source: Source, state: Callable[[], OwnState]) -> None:
        self._source = source
        self._state = state
        self._before: tuple[float, float] | None = None
        self._names: tuple[str, ...] = ()
        self._columns: tuple[Column, ...] = ()

    def read(self, now_s: float) -> Reading:
        state = self._state()
        self._name_columns(tuple(sorted(state.checks)))
        used = time.process_time()
        busy = rate(used, self._before[0], now_s - self._before[1]) if self._before else None
        self._before = (used, now_s)
        head = [busy, self._source.own_memory(), *state[:6]]
        return Reading(self._columns, [*head, *(v for name in self._names for v in state.checks[name])])

    def _name_columns(self, names: tuple[str, ...]) -> None:
        if names == self._names and self._columns:
            return
        self._names = names
        per_check = ("ucx.agent.check.duration", "ucx.agent.check.failures")
        self._columns = (
            *(Column(metric) for metric in _METRICS),
            *(Column(metric, (("ucx.check", name),)) for name in names for metric in per_check),
        )
