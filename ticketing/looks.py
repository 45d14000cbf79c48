"""When the desk must look at a ticket again, and what it then does. Pure.

Everything that time alone brings about (a target at risk, a missed target, a step of the escalation matrix,
resolving what recovered by itself, closing what was resolved) is a ``Look``, computed from the history each
time. The earliest one is the ticket's ``next_look_at``; those whose time has come and that the history does
not yet hold are taken, once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from ticketing import clock, escalation, terms
from ticketing.explain import of_state
from ticketing.history import ClockEvent, Timeline, Waiting, timeline
from ticketing.lifecycle import DESK, Entry, Kind, State, Status, fold, in_order, is_open
from ticketing.policy import Release, priority_name
from ticketing.reason import to_documents
from ticketing.releases import load_releases, release_named
from ticketing.settings import Settings
from ticketing.terms import Sla


class Look(msgspec.Struct, frozen=True):
    """Something that time brings about."""

    at: datetime
    entry: Entry
    """What is added to the history when it is taken."""


class Derived(msgspec.Struct, frozen=True):
    """What the history comes to in time."""

    due_at: datetime | None
    """When it must be taken in charge; None: no target, or the clock is paused."""
    next_look_at: datetime | None


class Reckoning(msgspec.Struct, frozen=True):
    """A ticket's clock and its way up the escalation matrix."""

    release: Release
    line: Timeline
    clock: clock.ClockState
    steps: tuple[escalation.Step, ...]


def reckon(snapshot: dict[str, Any], history: Sequence[Entry], now: datetime) -> Reckoning | None:
    """Clock and escalation at ``now``; None while the ticket is held (nothing runs)."""
    events = clock_events(snapshot, history)
    if not events:
        return None
    binding = terms.from_document(snapshot["terms"])
    release = release_named(load_releases(), binding.release)
    line = timeline(events, max(now, events[-1].at))
    return Reckoning(
        release, line, clock.of_timeline(release, line), tuple(escalation.of_timeline(release, line))
    )


def derive(snapshot: dict[str, Any], history: Sequence[Entry], now: datetime, settings: Settings) -> Derived:
    """The ticket's derived times."""
    reckoning = reckon(snapshot, history, now)
    looks = pending(reckoning, history, settings)
    next_look_at = min((look.at for look in looks), default=None)
    if reckoning is None or reckoning.clock.projected:
        return Derived(None, next_look_at)
    return Derived(reckoning.clock.due_at, next_look_at)


def explain(snapshot: dict[str, Any], history: Sequence[Entry], now: datetime) -> list[dict[str, Any]]:
    """The clock's arithmetic in words, as stored reasons; empty while the ticket is held."""
    found = reckon(snapshot, history, now)
    return [] if found is None else to_documents(of_state(found.release, found.line, found.clock))


def due(snapshot: dict[str, Any], history: Sequence[Entry], now: datetime, settings: Settings) -> list[Entry]:
    """What time has brought about and the history does not hold yet, in order of time."""
    looks = pending(reckon(snapshot, history, now), history, settings)
    return [look.entry for look in sorted(looks, key=lambda look: look.at) if look.at <= now]


def pending(reckoning: Reckoning | None, history: Sequence[Entry], settings: Settings) -> list[Look]:
    """All looks ahead, and those overdue that were not taken."""
    status = fold(history)
    looks = [*_tidying(status, settings), *_outlasting(status, history, settings)]
    if is_open(status.state):
        looks += _answers(status, settings)
    if reckoning is not None and status.state not in (State.RESOLVED, State.CLOSED):
        looks += [*_target(reckoning), *_matrix(reckoning)]
    taken = {entry.step for entry in history if entry.step is not None}
    return [look for look in looks if look.entry.step not in taken]


def _tidying(status: Status, settings: Settings) -> Iterator[Look]:
    """Resolving what recovered untouched; closing what was resolved."""
    after = timedelta(hours=settings.auto_resolve_after_h)
    if after and status.state is State.NEW and status.recovered_at is not None and not status.touched:
        hours = f"{settings.auto_resolve_after_h:g} h"
        reason = f"recovered by itself {hours} ago and nobody had to touch it (auto-resolve policy)"
        yield _look(status.recovered_at + after, Kind.RESOLVED, {"auto": True}, reason, None)
    after = timedelta(hours=settings.auto_close_after_h)
    quiet = _quiet_since(status)
    if after and quiet is not None:
        reason = f"resolved, and quiet for {settings.auto_close_after_h:g} h (auto-close policy)"
        yield _look(quiet + after, Kind.CLOSED, {"auto": True}, reason, None)


OUTLASTED = "outlasted"
"""Begins the step at which what still fires of a storm is decided on its own."""


def _outlasting(status: Status, history: Sequence[Entry], settings: Settings) -> Iterator[Look]:
    """A storm's ticket was resolved or closed while some of its alerts fire."""
    over = status.resolved_at or status.closed_at
    if over is None or status.recovered_at is not None or "alerts" not in history[0].detail:
        return
    minutes = f"{settings.storm_outlast_min:g} min"
    reason = f"what still fires {minutes} after the storm's ticket was done with is decided on its own"
    at, step = over + timedelta(minutes=settings.storm_outlast_min), f"{OUTLASTED}:{over.isoformat()}"
    yield _look(at, Kind.NOTE, {}, reason, step)


def _quiet_since(status: Status) -> datetime | None:
    """Since when a resolved ticket is over in fact, too; None: it is not, its alert still fires."""
    if status.state is not State.RESOLVED or status.resolved_at is None:
        return None
    if not status.monitored:
        return status.resolved_at
    return None if status.recovered_at is None else max(status.resolved_at, status.recovered_at)


def _answers(status: Status, settings: Settings) -> Iterator[Look]:
    """Somebody on call answered, and then nobody did anything: it must ring again."""
    after = timedelta(minutes=settings.answer_expires_min)
    if after and status.answered_at is not None and status.recovered_at is None:
        minutes = f"{settings.answer_expires_min:g} min"
        reason = f"nobody acted within {minutes} of the answer at {status.answered_at:%H:%M:%S} UTC"
        yield _look(status.answered_at + after, Kind.UNATTENDED, {}, reason, None)


def _look(at: datetime, kind: Kind, detail: dict[str, Any], reason: str, step: str | None) -> Look:
    return Look(at, Entry(at, kind, DESK, detail, reason, step=step))


def _target(reckoning: Reckoning) -> Iterator[Look]:
    """The at-risk marks and the target itself, while nobody has taken charge and the clock runs."""
    state = reckoning.clock
    if state.taken_at is not None or state.due_at is None or state.projected:
        return
    name = priority_name(state.priority)
    due = state.due_at.isoformat()
    if state.met is None:
        for mark in _marks(state):
            reason = f"{mark.percent} % of the time to take charge is used; due {due}"
            detail = {"percent": mark.percent, "due_at": due}
            yield _look(mark.at, Kind.AT_RISK, detail, reason, f"at-risk:{name}:{mark.percent}")
    guaranteed = state.sla is Sla.GUARANTEED
    kind: Literal[Kind.BREACHED, Kind.MISSED] = Kind.BREACHED if guaranteed else Kind.MISSED
    worth = "the guaranteed target" if guaranteed else "the best-effort target"
    reason = f"nobody took charge: {worth} was due {due}"
    yield _look(_missed_from(reckoning, state.due_at), kind, {"due_at": due}, reason, f"due:{name}")


def _missed_from(reckoning: Reckoning, due_at: datetime) -> datetime:
    """The first instant at which taking charge is too late: not yet the deadline, where it is met "at" it."""
    plan = reckoning.release.plans[reckoning.line.last.terms.plan]
    return due_at + timedelta(microseconds=1) if plan.met == "at" else due_at


def _marks(state: clock.ClockState) -> Sequence[clock.Mark]:
    """Of the marks already reached only the highest is worth telling."""
    reached = [mark for mark in state.marks if mark.reached]
    return [*reached[-1:], *(mark for mark in state.marks if not mark.reached)]


def _matrix(reckoning: Reckoning) -> Iterator[Look]:
    for step in reckoning.steps:
        if step.due_at is not None and step.status in ("due", "ahead"):
            name = priority_name(step.priority)
            detail = {"after_h": step.after_h, "role": step.role, "priority": step.priority}
            reason = f"{name} open for {step.after_h} working hours: {step.role_name} must hear of it"
            yield _look(step.due_at, Kind.ESCALATED, detail, reason, f"escalation:{name}:{step.after_h}")


# --- the ticket's history as its clocks see it -----------------------------------------------------------


def clock_events(snapshot: dict[str, Any], history: Sequence[Entry]) -> list[ClockEvent]:
    """The entries that move a clock; empty while the ticket is held. A held ticket opens at its release.

    The first taking in charge counts: a keypress told late may come before one that is recorded already."""
    binding = terms.from_document(snapshot["terms"])
    priority = 0
    events: list[ClockEvent] = []
    resolved = taken = False
    for entry in in_order(history):
        if entry.kind in (Kind.OPENED, Kind.PRIORITY):
            priority = int(entry.detail["to" if entry.kind is Kind.PRIORITY else "priority"])
        if entry.kind is Kind.PLAN:
            binding = terms.from_document(entry.detail["terms"])
        starts = entry.kind is Kind.RELEASED or (entry.kind is Kind.OPENED and not entry.detail.get("held"))
        if starts:
            events.append(ClockEvent(at=entry.at, kind="opened", terms=binding, priority=priority))
        elif events and not (
            (resolved and entry.kind is Kind.CLOSED) or (taken and entry.kind is Kind.TAKEN)
        ):
            events += _moves(entry, binding, priority)
            taken = taken or entry.kind is Kind.TAKEN
            resolved = (resolved or entry.kind is Kind.RESOLVED) and entry.kind is not Kind.REOPENED
    return events


def _moves(entry: Entry, binding: terms.Terms, priority: int) -> Iterator[ClockEvent]:
    at = entry.at
    match entry.kind:
        case Kind.PAUSED:
            waiting: Waiting = "customer" if entry.detail.get("waiting_for") == "customer" else "third-party"
            yield ClockEvent(at=at, kind="paused", waiting_for=waiting)
        case Kind.RESUMED:
            yield ClockEvent(at=at, kind="resumed")
        case Kind.PRIORITY:
            yield ClockEvent(
                at=at, kind="priority", priority=priority, person=entry.actor, reason=entry.reason
            )
        case Kind.PLAN:
            yield ClockEvent(at=at, kind="terms", terms=binding)
        case Kind.TAKEN:
            yield ClockEvent(at=at, kind="taken")
        case Kind.RESOLVED | Kind.CLOSED:
            yield ClockEvent(at=at, kind="resolved")
        case Kind.REOPENED:
            yield ClockEvent(at=at, kind="reopened")
        case _:
            pass
