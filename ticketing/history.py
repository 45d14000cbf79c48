"""A ticket's history as clocks see it: events, checked, cut into segments. Pure.

A segment is a stretch of time in which nothing that matters changes: one set of terms, one priority, running
or waiting or resolved. SLA clock and escalation both read segments, so they cannot disagree on them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Literal

import msgspec

from ticketing.errors import HistoryError
from ticketing.policy import PRIORITIES, Priority
from ticketing.terms import Terms

Kind = Literal["opened", "paused", "resumed", "priority", "terms", "taken", "resolved", "reopened"]
Waiting = Literal["customer", "third-party"]


class ClockEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a ticket and that moves its clocks."""

    at: datetime
    kind: Kind
    terms: Terms | None = None
    """With ``opened`` and ``terms`` (a plan or calendar that changed)."""
    priority: Priority | None = None
    """With ``opened`` and ``priority``."""
    waiting_for: Waiting | None = None
    """With ``paused``."""
    person: str = ""
    """Who; required with ``priority``."""
    reason: str = ""
    """Why; required with ``priority``."""


class Segment(msgspec.Struct, frozen=True):
    """From ``start`` up to ``end`` nothing changes."""

    start: datetime
    end: datetime
    terms: Terms
    priority: Priority
    waiting_for: Waiting | None
    """For whom the clock waits; None: it runs."""
    resolved: bool
    taken: bool

    @property
    def counts(self) -> bool:
        """Whether open time is consumed."""
        return self.waiting_for is None and not self.resolved


class Timeline(msgspec.Struct, frozen=True):
    """A checked history, up to ``now``."""

    segments: tuple[Segment, ...]
    """Without gaps from opening to ``now``; the last one may be empty (start = end = now)."""
    taken_at: datetime | None
    """The first taking in charge."""
    resolved_at: datetime | None
    """The resolution that stands; None: open."""

    @property
    def opened_at(self) -> datetime:
        return self.segments[0].start

    @property
    def now(self) -> datetime:
        return self.segments[-1].end

    @property
    def last(self) -> Segment:
        """The state of things at ``now``."""
        return self.segments[-1]


def timeline(history: Sequence[ClockEvent], now: datetime) -> Timeline:
    """Check a history and cut it into segments up to ``now``. Raises HistoryError naming the event."""
    opening = _opening(history)
    _in_order(history, now)
    cutter = _Cutter(opening)
    for number, event in enumerate(history[1:], start=2):
        cutter.apply(event, _name(number, event))
    return cutter.finish(now)


def _name(number: int, event: ClockEvent) -> str:
    return f"event {number} ({event.kind} at {event.at.isoformat()})"


def _opening(history: Sequence[ClockEvent]) -> ClockEvent:
    if not history:
        raise HistoryError("the history is empty; it begins with 'opened'")
    first = history[0]
    if first.kind != "opened":
        raise HistoryError(f"{_name(1, first)}: the history must begin with 'opened'")
    if first.terms is None or first.priority not in PRIORITIES:
        raise HistoryError(f"{_name(1, first)}: 'opened' needs terms and a priority from 1 to 4")
    return first


def _in_order(history: Sequence[ClockEvent], now: datetime) -> None:
    for number, event in enumerate(history, start=1):
        if event.at.tzinfo is None:
            raise HistoryError(f"{_name(number, event)}: has no time zone; give Z or an offset")
        if number > 1 and event.at < history[number - 2].at:
            before = _name(number - 1, history[number - 2])
            raise HistoryError(
                f"{_name(number, event)}: happened before {before}; put events in order of time"
            )
    if now < history[-1].at:
        raise HistoryError(f"now ({now.isoformat()}) is before {_name(len(history), history[-1])}")


class _Cutter:
    """Walks the events and cuts a segment at each."""

    def __init__(self, opening: ClockEvent) -> None:
        assert opening.terms is not None, "checked by _opening"
        assert opening.priority is not None, "checked by _opening"
        self.segments: list[Segment] = []
        self.since = opening.at
        self.terms, self.priority = opening.terms, opening.priority
        self.waiting: Waiting | None = None
        self.taken_at: datetime | None = None
        self.taken = False
        self.resolved_at: datetime | None = None

    def apply(self, event: ClockEvent, name: str) -> None:
        if self.resolved_at is not None and event.kind != "reopened":
            raise HistoryError(f"{name}: the ticket is resolved; only 'reopened' can follow")
        self._cut(event.at)
        match event.kind:
            case "opened":
                raise HistoryError(f"{name}: the ticket is open already; it opens once")
            case "paused":
                self._pause(event, name)
            case "resumed":
                self._resume(name)
            case "priority":
                self._change_priority(event, name)
            case "terms":
                self._change_terms(event, name)
            case "taken":
                self._take(event, name)
            case "resolved":
                self.resolved_at, self.waiting = event.at, None
            case "reopened":
                self._reopen(name)

    def _pause(self, event: ClockEvent, name: str) -> None:
        if self.waiting is not None:
            raise HistoryError(f"{name}: the clock waits for the {self.waiting} already; resume it first")
        if event.waiting_for is None:
            raise HistoryError(f"{name}: 'paused' needs whom it waits for, customer or third-party")
        self.waiting = event.waiting_for

    def _resume(self, name: str) -> None:
        if self.waiting is None:
            raise HistoryError(f"{name}: the clock is not paused")
        self.waiting = None

    def _change_priority(self, event: ClockEvent, name: str) -> None:
        if event.priority not in PRIORITIES:
            raise HistoryError(f"{name}: 'priority' needs a priority from 1 to 4")
        if not event.person.strip() or not event.reason.strip():
            raise HistoryError(f"{name}: a change of priority needs a person and a reason")
        self.priority = event.priority

    def _change_terms(self, event: ClockEvent, name: str) -> None:
        if event.terms is None:
            raise HistoryError(f"{name}: 'terms' needs the new terms")
        self.terms = event.terms

    def _take(self, event: ClockEvent, name: str) -> None:
        if self.taken:
            raise HistoryError(f"{name}: the ticket is taken in charge already")
        self.taken = True
        self.taken_at = self.taken_at or event.at

    def _reopen(self, name: str) -> None:
        if self.resolved_at is None:
            raise HistoryError(f"{name}: the ticket is not resolved")
        self.resolved_at, self.taken = None, False

    def _cut(self, at: datetime) -> None:
        resolved = self.resolved_at is not None
        self.segments.append(
            Segment(self.since, at, self.terms, self.priority, self.waiting, resolved, self.taken)
        )
        self.since = at

    def finish(self, now: datetime) -> Timeline:
        self._cut(now)
        return Timeline(tuple(self.segments), self.taken_at, self.resolved_at)
