"""The measuring loop: ticks of each interval, their checks run under deadlines, frames out.

``step`` is called when its own answer says so, or when a check has finished; it never waits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from agent import schedule
from agent.assemble import Assembler, Plan
from agent.checks import Check
from agent.checks.own import CheckHealth
from agent.reading import Reading
from agent.runner import Job, Runner

log = logging.getLogger("ucx.measure")

BAD_BEFORE_EVENT = 3
"""Readings in a row that must fail (or succeed again) before it is told as an event."""

OnTick = Callable[[list[tuple[Plan, list[float | None]]], int], None]
Emit = Callable[[str, str, dict[str, str]], None]


class Health:
    """One check's record."""

    def __init__(self, check: str, emit: Emit) -> None:
        self._check = check
        self._emit = emit
        self._row = 0
        """Bad readings in a row, negative: good ones."""
        self._told = False
        self.duration_s: float | None = None
        self.failures = 0

    def good(self, duration_s: float | None) -> None:
        """A reading came in time."""
        self.duration_s = duration_s
        self._row = min(0, self._row) - 1
        if self._told and self._row <= -BAD_BEFORE_EVENT:
            self._told = False
            self._tell("check.recovered", f"The check '{self._check}' gives readings again.")

    def bad(self, why: str) -> None:
        """It failed, was cut off, or could not be started."""
        self.duration_s = None
        self.failures += 1
        self._row = max(0, self._row) + 1
        log.debug("check %s: %s", self._check, why)
        if not self._told and self._row >= BAD_BEFORE_EVENT:
            self._told = True
            self._tell("check.failed", f"The check '{self._check}' gives no readings: {_redacted(why)}")

    def _tell(self, event_id: str, message: str) -> None:
        log.warning("%s", message)
        self._emit(event_id, message, {"ucx.check": self._check})


def _redacted(why: str) -> str:
    """A fault may quote what a program or a file said; this leaves the host. (Loaded when it is needed.)"""
    from agent.events.redact import redact

    return redact(why)


class Group:
    """All checks of one interval: they share ticks, layouts and frames."""

    def __init__(self, interval_s: float, checks: Sequence[Check], host: str) -> None:
        self.interval_s = interval_s
        self.checks = tuple(checks)
        self.phase_s = schedule.phase_s(host, interval_s)
        self.assembler = Assembler(interval_s, [check.name for check in checks])
        self.due_s = float("-inf")
        """Monotonic; the first tick is at once."""
        self.deadline_s = 0.0
        self.jobs: dict[str, Job | None] | None = None
        """The tick in hand; a check that is still busy with an earlier one has no job."""
        self.at_ms = 0


class Measurer:
    """Groups, their ticks, and what came out."""

    def __init__(
        self,
        groups: Sequence[Group],
        runner: Runner,
        on_tick: OnTick,
        emit: Emit,
        steady_ms: Callable[[], int],
    ) -> None:
        self.groups = tuple(groups)
        self._runner = runner
        self._on_tick = on_tick
        self._steady_ms = steady_ms
        self.health = {c.name: Health(c.name, emit) for group in groups for c in group.checks}

    def check_health(self) -> dict[str, CheckHealth]:
        """For the agent's own metrics."""
        return {name: CheckHealth(h.duration_s, h.failures) for name, h in self.health.items()}

    def step(self, now_s: float) -> float:
        """Start what is due, close what is complete or late; the monotonic time of the next call."""
        for group in self.groups:
            if group.jobs is not None and _is_over(group, now_s):
                self._close(group)
            if group.jobs is None and now_s >= group.due_s:
                self._begin(group, now_s)
        stall_s = self._runner.tend(now_s)
        wake_s = min(group.due_s if group.jobs is None else group.deadline_s for group in self.groups)
        return wake_s if stall_s is None else min(wake_s, now_s + stall_s)

    def _begin(self, group: Group, now_s: float) -> None:
        group.at_ms = self._steady_ms()
        group.deadline_s = now_s + schedule.deadline_s(group.interval_s)
        group.due_s = schedule.next_due_s(now_s, group.interval_s, group.phase_s)
        group.jobs = {check.name: self._runner.submit(check.name, check.read) for check in group.checks}

    def _close(self, group: Group) -> None:
        assert group.jobs is not None
        readings = {name: self._result(name, job) for name, job in group.jobs.items()}
        group.jobs = None
        self._on_tick(group.assembler.frames(readings), group.at_ms)

    def _result(self, name: str, job: Job | None) -> Reading | None:
        health = self.health[name]
        if job is None:
            health.bad("an earlier reading has not come back yet")
        elif job.finished_s is None:
            health.bad("it took too long and was cut off")
        elif job.fault is not None:
            health.bad(f"{type(job.fault).__name__}: {job.fault}")
        else:
            health.good(job.duration_s())
            return job.reading
        return None


def _is_over(group: Group, now_s: float) -> bool:
    assert group.jobs is not None
    done = all(job is None or job.finished_s is not None for job in group.jobs.values())
    return done or now_s >= group.deadline_s
