"""The escalation matrix: who must hear of a ticket after so many working hours since opening. Pure.

Counted in the plan's hours with Saturdays and holidays (never 24x7), waiting left out, until the ticket is
resolved, also after taking in charge. When priority or plan change, of the steps that are overdue by then
only the highest is taken, at that instant; each step of a priority is taken once in a ticket's life.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from ticketing.calendar import SECOND, WorkingCalendar, escalation_calendar, from_us, to_us
from ticketing.history import ClockEvent, Segment, Timeline, timeline
from ticketing.policy import EscalationStep, Priority, Release

Status = Literal["due", "ahead", "projected", "skipped", "cancelled"]


class Step(msgspec.Struct, frozen=True):
    """One cell of the matrix, for one ticket."""

    after_h: int
    """Working hours since opening, as in the policy."""
    role: str
    """Key of the role, as in ``support-manager``."""
    role_name: str
    due_at: datetime | None
    """UTC. None: skipped, or cancelled by the resolution."""
    status: Status
    """``due``: its time has come (take it if it was not taken). ``ahead``. ``projected``: the clock is
    paused; the time is as if it resumed now. ``skipped``: a higher step was overdue too when the priority
    changed. ``cancelled``: the ticket was resolved first."""
    priority: Priority
    """The priority whose row it belongs to: (priority, after_h) identifies the step."""
    current: bool
    """Whether that priority is in force now."""


class _Run:
    """The matrix while it walks the segments. Times and amounts in microseconds."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.consumed = 0
        self.due: dict[tuple[Priority, EscalationStep], int] = {}
        self.row: tuple[Priority, tuple[EscalationStep, ...]] | None = None

    def walk(self, segment: Segment) -> None:
        terms = segment.terms
        row = (segment.priority, self.release.steps(terms.plan, segment.priority, terms.channel))
        start, end = to_us(segment.start), to_us(segment.end)
        if row != self.row:
            if self.row is not None:
                self._enter(row[0], row[1], start)
            self.row = row
        if segment.counts:
            self._consume(escalation_calendar(self.release, segment.terms), start, end)

    def _enter(self, priority: Priority, steps: Sequence[EscalationStep], now: int) -> None:
        """A change: the highest step already overdue is due now, the lower ones never."""
        overdue = [step for step in steps if _amount(step) <= self.consumed]
        if overdue:
            self.due.setdefault((priority, overdue[-1]), now)

    def _consume(self, calendar: WorkingCalendar, start: int, end: int) -> None:
        assert self.row is not None, "walk sets it"
        after = self.consumed + calendar.elapsed_us(start, end)
        for step in self.row[1]:
            if self.consumed < _amount(step) <= after:
                at = calendar.add_us(start, _amount(step) - self.consumed)
                self.due.setdefault((self.row[0], step), at)
        self.consumed = after


def _amount(step: EscalationStep) -> int:
    return step.after_h * 3600 * SECOND


def steps(release: Release, history: Sequence[ClockEvent], now: datetime) -> list[Step]:
    """Every step of the priority in force, and those of earlier priorities that came due, lowest first.

    Raises HistoryError for a wrong history."""
    return of_timeline(release, timeline(history, now))


def of_timeline(release: Release, line: Timeline) -> list[Step]:
    """``steps`` for a history that is checked and cut already."""
    run = _Run(release)
    for segment in line.segments:
        run.walk(segment)
    assert run.row is not None, "a timeline has a segment"
    priority, row = run.row
    earlier = [key for key in run.due if key[0] != priority or key[1] not in row]
    found = [_step(release, run, line, key, False) for key in earlier]
    found += [_step(release, run, line, (priority, step), True) for step in row]
    return sorted(found, key=lambda s: (s.current, s.priority, s.after_h))


def _step(
    release: Release, run: _Run, line: Timeline, key: tuple[Priority, EscalationStep], current: bool
) -> Step:
    priority, step = key
    status, due = _when(release, run, line, key)
    name = release.escalation.roles[step.role]
    due_at = None if due is None else from_us(due)
    return Step(step.after_h, step.role, name, due_at, status, priority, current)


def _when(
    release: Release, run: _Run, line: Timeline, key: tuple[Priority, EscalationStep]
) -> tuple[Status, int | None]:
    if key in run.due:
        return "due", run.due[key]
    missing = _amount(key[1]) - run.consumed
    if missing <= 0:
        return "skipped", None
    if line.last.resolved:
        return "cancelled", None
    at = escalation_calendar(release, line.last.terms).add_us(to_us(line.now), missing)
    return ("projected" if line.last.waiting_for else "ahead"), at
