"""The SLA clock: time to take charge, recomputed from a ticket's whole history. Pure.

Open time is consumed in the calendar in force during each segment; waiting for the customer or a third party
consumes none; what was consumed stays consumed when priority, plan or calendar change. The deadline is the
earliest instant at which the consumed time equals the target; where a change makes the consumed time reach
the new target, it is due at the instant of the change. A target in working days becomes an amount of time
when it comes into force (up to the close of that day, moved by the base hours spent waiting so far), so both
kinds follow the same rules afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from ticketing.calendar import (
    SECOND,
    WorkingCalendar,
    base_calendar,
    calendar_for,
    from_us,
    to_us,
)
from ticketing.history import ClockEvent, Segment, Timeline, timeline
from ticketing.policy import Priority, Release, Target
from ticketing.terms import Sla, sla

State = Literal["running", "paused", "met", "breached", "none"]


class Mark(msgspec.Struct, frozen=True):
    """A part of the target at which a clock is at risk."""

    percent: int
    at: datetime
    """When it was, or (if nothing happens) will be reached; projected while paused."""
    reached: bool


class Missed(msgspec.Struct, frozen=True):
    """A deadline that passed before a change gave the ticket another target."""

    priority: Priority
    plan: str
    due_at: datetime


class ClockState(msgspec.Struct, frozen=True, kw_only=True):
    """What a history comes to at ``now``."""

    state: State
    """``breached`` only where the target is guaranteed; a missed best-effort target is ``met`` = False with
    ``state`` ``running`` or ``paused`` while nobody has taken charge, ``none`` afterwards."""
    sla: Sla
    consumed_s: float
    """Open seconds from opening until taking in charge or now, without waiting."""
    target_s: float | None
    """None: no deadline."""
    remaining_s: float | None
    """target - consumed; negative when overdue; None: no deadline."""
    due_at: datetime | None
    """UTC; projected while paused, as if resumed now; None: no deadline."""
    projected: bool
    """The clock is paused, so ``due_at`` and the marks ahead move on with every minute of waiting."""
    met: bool | None
    """None: not decided yet, or nothing to meet."""
    taken_at: datetime | None
    """The instant that settles it: taking in charge, or resolution of a ticket that nobody had taken."""
    priority: Priority
    marks: tuple[Mark, ...]
    missed: tuple[Missed, ...]


class _Goal:
    """An amount of consumed time, and the instant at which it is reached."""

    __slots__ = ("amount", "at")

    def __init__(self, amount: int) -> None:
        self.amount = amount
        self.at: int | None = None


class _Run:
    """The clock while it walks the segments. Times and amounts in microseconds."""

    def __init__(self, release: Release) -> None:
        self.release = release
        self.consumed = 0
        self.waited: list[tuple[int, int]] = []
        self.rule: Target | None = None
        self.goals: list[_Goal] = []
        """One per at-risk percentage, then the target itself; empty: no deadline."""
        self.missed: list[Missed] = []
        self.previous: Segment | None = None

    @property
    def target(self) -> _Goal | None:
        return self.goals[-1] if self.goals else None

    def walk(self, segment: Segment, opened_at: datetime) -> None:
        if self.previous is None or _differs(self.previous, segment):
            self._retarget(segment, opened_at)
        start, end = to_us(segment.start), to_us(segment.end)
        if segment.counts:
            self._consume(calendar_for(self.release, segment.terms, segment.priority), start, end)
        elif end > start:
            self.waited.append((start, end))
        self.previous = segment

    def _consume(self, calendar: WorkingCalendar, start: int, end: int) -> None:
        after = self.consumed + calendar.elapsed_us(start, end)
        for goal in self.goals:
            if goal.at is None and goal.amount <= after:
                goal.at = calendar.add_us(start, goal.amount - self.consumed)
        self.consumed = after

    def _retarget(self, segment: Segment, opened_at: datetime) -> None:
        amount = self._amount(segment, opened_at)
        now = to_us(segment.start)
        if amount is not None and self.target is not None and amount == self.target.amount:
            return
        self._note_missed(now)
        self.goals = [] if amount is None else [_Goal(n) for n in self._amounts(amount)]
        for goal in self.goals:
            if goal.amount <= self.consumed and self.previous is not None:
                goal.at = now

    def _amounts(self, amount: int) -> list[int]:
        return [*(amount * percent // 100 for percent in self.release.clock.at_risk_percent), amount]

    def _note_missed(self, now: int) -> None:
        before, target = self.previous, self.target
        if before is not None and target is not None and target.at is not None and target.at < now:
            self.missed.append(Missed(before.priority, before.terms.plan, from_us(target.at)))

    def _amount(self, segment: Segment, opened_at: datetime) -> int | None:
        """The target that comes into force with a segment, as consumed time."""
        if sla(self.release, segment.terms) is Sla.NONE:
            return None
        rule = self.release.target(segment.terms.plan, segment.priority)
        if rule.working_days is not None:
            return self._days(segment, opened_at, rule.working_days)
        return None if rule.minutes is None else rule.minutes * 60 * SECOND

    def _days(self, segment: Segment, opened_at: datetime, days: int) -> int:
        base = base_calendar(self.release, segment.terms)
        close = to_us(base.next_working_day_close(days, base.local_date(opened_at)))
        waited = sum(base.elapsed_us(start, min(end, close)) for start, end in self.waited if start < close)
        deadline = base.add_us(close, waited)
        return self.consumed + max(0, base.elapsed_us(to_us(segment.start), deadline))

    def reached(self, goal: _Goal, segment: Segment, now: int) -> datetime:
        """When a goal was reached, or will be if the clock runs from ``now`` on."""
        if goal.at is not None:
            return from_us(goal.at)
        calendar = calendar_for(self.release, segment.terms, segment.priority)
        return from_us(calendar.add_us(now, goal.amount - self.consumed))


def _differs(before: Segment, after: Segment) -> bool:
    return before.priority != after.priority or before.terms != after.terms


def compute(release: Release, history: Sequence[ClockEvent], now: datetime) -> ClockState:
    """The clock at ``now``. Raises HistoryError for a wrong history."""
    return of_timeline(release, timeline(history, now))


def of_timeline(release: Release, line: Timeline) -> ClockState:
    """``compute`` for a history that is checked and cut already."""
    segments, settled_at = until_settled(line)
    run = _Run(release)
    for segment in segments:
        run.walk(segment, line.opened_at)
    return _state(run, segments[-1], settled_at)


def until_settled(line: Timeline) -> tuple[tuple[Segment, ...], datetime | None]:
    """The segments that the clock walks: up to taking in charge, else to a resolution that stands."""
    if line.taken_at is not None:
        # what lies before it; of segments at that very instant the one in which it was taken is the last
        return tuple(s for s in line.segments if not s.taken and s.end <= line.taken_at), line.taken_at
    if line.resolved_at is not None:
        return line.segments[:-1], line.resolved_at
    return line.segments, None


def _state(run: _Run, last: Segment, settled_at: datetime | None) -> ClockState:
    now = to_us(settled_at or last.end)
    worth = sla(run.release, last.terms)
    target = run.target
    due_at = None if target is None else run.reached(target, last, now)
    met = _met(run.release, last, due_at, settled_at)
    paused = last.waiting_for is not None and settled_at is None
    return ClockState(
        state=_name(worth, met, settled_at, paused, due_at),
        sla=worth,
        consumed_s=_seconds(run.consumed),
        target_s=None if target is None else _seconds(target.amount),
        remaining_s=None if target is None else _seconds(target.amount - run.consumed),
        due_at=due_at,
        projected=paused and target is not None and target.at is None,
        met=met,
        taken_at=settled_at,
        priority=last.priority,
        marks=_marks(run, last, now),
        missed=tuple(run.missed),
    )


def _met(
    release: Release, last: Segment, due_at: datetime | None, settled_at: datetime | None
) -> bool | None:
    if due_at is None:
        return None
    at = settled_at or last.end
    in_time = at <= due_at if release.plans[last.terms.plan].met == "at" else at < due_at
    if settled_at is None:
        return None if in_time else False
    return in_time


def _name(
    worth: Sla, met: bool | None, settled_at: datetime | None, paused: bool, due_at: datetime | None
) -> State:
    if due_at is None or worth is Sla.NONE:
        return "none"
    if met:
        return "met"
    if met is False and worth is Sla.GUARANTEED:
        return "breached"
    if settled_at is not None:
        return "none"
    return "paused" if paused else "running"


def _marks(run: _Run, last: Segment, now: int) -> tuple[Mark, ...]:
    percents = run.release.clock.at_risk_percent
    return tuple(
        Mark(percent, run.reached(goal, last, now), goal.at is not None)
        for percent, goal in zip(percents, run.goals, strict=False)
    )


def _seconds(us: int) -> float:
    """Whole seconds stay whole numbers."""
    return us // SECOND if us % SECOND == 0 else us / SECOND
