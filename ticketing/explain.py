"""The clock's arithmetic in words: which target, which hours, what was counted, and how the deadline follows.

It walks the same segments and calendars as the clock and never decides anything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from ticketing.calendar import (
    SECOND,
    Day,
    WorkingCalendar,
    base_calendar,
    calendar_for,
    from_us,
    to_us,
)
from ticketing.clock import ClockState, of_timeline, until_settled
from ticketing.history import ClockEvent, Segment, Timeline, timeline
from ticketing.policy import WEEKDAYS, Release, Target, priority_name
from ticketing.reason import Reason
from ticketing.terms import Sla, Terms

LISTED_DAYS = 8
"""Days that a deadline lists one by one; longer ways are summed up."""


def reasons(release: Release, history: Sequence[ClockEvent], now: datetime) -> tuple[Reason, ...]:
    """Why the clock says what it says. Raises HistoryError."""
    line = timeline(history, now)
    return of_state(release, line, of_timeline(release, line))


def of_state(release: Release, line: Timeline, state: ClockState) -> tuple[Reason, ...]:
    """``reasons`` for a clock that is computed already."""
    segments, _ = until_settled(line)
    last = segments[-1]
    title = {"title": release.title, "valid_on": release.valid_from.isoformat()}
    found = [Reason("policy", title), _target(release, last, state), *_hours(release, last)]
    found += _story(release, segments)
    if state.due_at is not None:
        found.append(_deadline(release, segments, state))
    found += _outcome(release, line, last, state)
    final = line.last
    escalates = release.steps(final.terms.plan, final.priority, final.terms.channel)
    code = "escalation-hours" if escalates else "no-escalation"
    return (*found, Reason(code, {"plan": release.plans[line.last.terms.plan].name}, "§4.3"))


# --- target and hours --------------------------------------------------------------------------------------


def _target(release: Release, last: Segment, state: ClockState) -> Reason:
    plan = release.plans[last.terms.plan]
    rule = release.target(last.terms.plan, last.priority)
    params: dict[str, Any] = {"priority": priority_name(last.priority), "plan": plan.name}
    if state.sla is Sla.NONE:
        return Reason("no-sla-by-channel", {"channel": last.terms.channel}, "§5")
    if rule.minutes is not None:
        code = "target-minutes" if plan.met == "before" else "target-minutes-at"
        return Reason(code, params | {"target_s": rule.minutes * 60}, "§4")
    if rule.working_days is None:
        return Reason("target-none", params, "§4")
    code = "target-next-day" if rule.working_days == 1 else "target-days"
    return Reason(code, params | {"days": rule.working_days}, "§4")


def _hours(release: Release, last: Segment) -> Iterator[Reason]:
    terms, theatre = last.terms, release.theatres[last.terms.theatre]
    calendar = calendar_for(release, terms, last.priority)
    plan = release.plans[terms.plan].name
    params = {
        "plan": plan,
        "priority": priority_name(last.priority),
        "theatre": theatre.name,
        "days": _weekdays(theatre.working_days),
        "hours": theatre.hours,
        "specials": _weekdays(theatre.special_days),
        "special_hours": theatre.special_hours,
        "country": f"{terms.country}-{terms.region}" if terms.region else terms.country,
    }
    yield Reason(f"calendar-{calendar.spec.cover}", params, "§5.3")
    if terms.asia_pacific and release.around_the_clock(terms.plan, last.priority):
        yield Reason("asia-pacific-hours", {"priority": params["priority"]}, "§6.1")


def _weekdays(names: Sequence[str]) -> str:
    """``Mon-Fri`` or ``Sun-Thu``; days that do not follow each other are listed."""
    if not names:
        return ""
    known = [WEEKDAYS.index(name) for name in WEEKDAYS if name in names]
    for first in known:
        run = [(first + n) % 7 for n in range(len(known))]
        if len(known) > 2 and set(run) == set(known):
            return f"{WEEKDAYS[run[0]].title()}-{WEEKDAYS[run[-1]].title()}"
    return ", ".join(WEEKDAYS[n].title() for n in known)


# --- what happened so far ----------------------------------------------------------------------------------


def _story(release: Release, segments: Sequence[Segment]) -> Iterator[Reason]:
    """What each segment counted, where there is more than one; changes tell what stays consumed."""
    consumed = 0
    for index, segment in enumerate(segments):
        if index > 0:
            yield from _change(release, segments[index - 1], segment, consumed)
        last = index == len(segments) - 1
        if segment.start < segment.end and not (last and segment.counts):
            yield _told(release, segment)
        consumed += _counted(release, segment)


def _counted(release: Release, segment: Segment) -> int:
    """Microseconds that a segment consumed."""
    if not segment.counts:
        return 0
    calendar = calendar_for(release, segment.terms, segment.priority)
    return calendar.elapsed_us(to_us(segment.start), to_us(segment.end))


def _told(release: Release, segment: Segment) -> Reason:
    params = {"start_at": segment.start.isoformat(), "end_short": segment.end.isoformat()}
    params["zone"] = segment.terms.zone
    if segment.resolved:
        return Reason("was-resolved", params, "§4.3")
    if segment.waiting_for is not None:
        return Reason(f"waited-{segment.waiting_for}", params, "§4.3")
    return Reason("counted", params | {"counted_s": _counted(release, segment) // SECOND}, "§4.3")


def _change(release: Release, before: Segment, after: Segment, consumed: int) -> Iterator[Reason]:
    params = {
        "start_at": after.start.isoformat(),
        "zone": after.terms.zone,
        "counted_s": consumed // SECOND,
        "priority": priority_name(after.priority),
        "plan": release.plans[after.terms.plan].name,
    }
    if before.priority != after.priority:
        yield Reason("priority-changed", params, "§4")
    if before.terms != after.terms:
        yield Reason("terms-changed", params, "§4")


# --- the deadline ------------------------------------------------------------------------------------------


def _deadline(release: Release, segments: Sequence[Segment], state: ClockState) -> Reason:
    """From where the rest of the target was counted, day by day, to the due time."""
    assert state.due_at is not None, "asked only with a deadline"
    assert state.target_s is not None, "a deadline has a target"
    left, since = round(state.target_s * SECOND), _target_since(segments, state.due_at)
    for index, segment in enumerate(segments):
        counted = _counted(release, segment)
        inside = index >= since and segment.counts and segment.start <= state.due_at <= segment.end
        if inside and 0 < left <= counted:
            return _way(release, segments, segment, segment.start, left, state)
        left -= counted
    last = segments[-1]
    if left <= 0:
        return _at_change(release, segments, state)
    start = last.start if last.counts else last.end
    return _way(release, segments, last, start, left + _counted(release, last), state)


def _target_since(segments: Sequence[Segment], due_at: datetime) -> int:
    """Index of the segment from which the target is the one that decided ``due_at``."""
    changes = [n for n in range(1, len(segments)) if _differs(segments[n - 1], segments[n])]
    return max((n for n in changes if segments[n].start <= due_at), default=0)


def _differs(before: Segment, after: Segment) -> bool:
    return before.priority != after.priority or before.terms != after.terms


def _at_change(release: Release, segments: Sequence[Segment], state: ClockState) -> Reason:
    assert state.due_at is not None, "asked only with a deadline"
    before = sum(_counted(release, s) for s in segments if s.end <= state.due_at)
    params = {
        "counted_s": before // SECOND,
        "target_s": state.target_s,
        "due_short": state.due_at.isoformat(),
        "zone": segments[-1].terms.zone,
    }
    return Reason("deadline-at-change", params, "§4.3")


def _way(
    release: Release,
    segments: Sequence[Segment],
    segment: Segment,
    start: datetime,
    left: int,
    state: ClockState,
) -> Reason:
    assert state.due_at is not None, "asked only with a deadline"
    rule = release.target(segment.terms.plan, segment.priority)
    unchanged = not any(_differs(segment, other) for other in segments)
    if rule.working_days is not None and unchanged:
        return _days(release, segments, segment, rule, state)
    calendar = calendar_for(release, segment.terms, segment.priority)
    parts = (*_days_until(release, calendar, segment.terms, start, state.due_at), _due(segment, state))
    return Reason(*_amount(calendar, segment, start, left), "§4", parts)


def _due(segment: Segment, state: ClockState) -> Reason:
    assert state.due_at is not None, "asked only with a deadline"
    params = {"due_short": state.due_at.isoformat(), "zone": segment.terms.zone}
    return Reason("due-projected" if state.projected else "due", params)


def _amount(
    calendar: WorkingCalendar, segment: Segment, start: datetime, left: int
) -> tuple[str, dict[str, Any]]:
    seconds = left // SECOND
    params = {"start_at": start.isoformat(), "zone": segment.terms.zone, "amount_s": seconds}
    if calendar.spec.cover == "always":
        return "deadline-always", params
    hours, rest = divmod(seconds, 3600)
    if rest or hours == 0:
        return "deadline-time", params
    return ("deadline-1" if hours == 1 else "deadline-hours"), params | {"hours": hours}


def _days(
    release: Release, segments: Sequence[Segment], segment: Segment, rule: Target, state: ClockState
) -> Reason:
    """A target in working days: the days after the local date of opening, and what waiting moved."""
    assert state.due_at is not None, "asked only with a deadline"
    opened, base = segments[0].start, base_calendar(release, segment.terms)
    params = {"start_at": opened.isoformat(), "zone": segment.terms.zone, "days": rule.working_days}
    parts = [_named(release, segment.terms, day, 0) for day in _after(base, opened, state.due_at)]
    waited = sum(base.elapsed_us(to_us(s.start), to_us(s.end)) for s in segments if s.waiting_for) // SECOND
    if waited:
        parts.append(Reason("moved-by-waiting", {"waited_s": waited}, "§4.3"))
    code = "deadline-next-day" if rule.working_days == 1 else "deadline-days"
    return Reason(code, params, "§4", (*parts[-LISTED_DAYS:], _due(segment, state)))


def _after(base: WorkingCalendar, opened: datetime, due_at: datetime) -> Iterator[Day]:
    on, last = base.local_date(opened), base.local_date(due_at)
    while on < last:
        on += timedelta(days=1)
        yield base.day(on)


def _days_until(
    release: Release, calendar: WorkingCalendar, terms: Terms, start: datetime, due_at: datetime
) -> Iterator[Reason]:
    """The days between, told one by one; of a long way only the sum."""
    if calendar.spec.cover == "always":
        return
    first, last = calendar.local_date(start), calendar.local_date(due_at)
    yield from _first_day(calendar, start, first, first == last)
    if (last - first).days > LISTED_DAYS:
        yield from _summed(calendar, first, last)
        first = last - timedelta(days=1)
    on = first
    while on < last:
        on += timedelta(days=1)
        day = calendar.day(on)
        if on < last or day.kind not in ("working",):
            yield _named(release, terms, day, _open_us(calendar, on))


def _first_day(calendar: WorkingCalendar, start: datetime, on: date, due_then: bool) -> Iterator[Reason]:
    intervals = calendar.open_intervals(start, _midnight_after(calendar, on))
    zone = calendar.spec.zone
    if not intervals:
        day = calendar.day(on)
        code = "day-over" if day.windows else "day-closed"
        yield Reason(code, {"on_day": on.isoformat()})
        return
    if intervals[0][0] > start:
        opening = {"on_day": on.isoformat(), "open_time": intervals[0][0].isoformat(), "zone": zone}
        yield Reason("day-from-opening", opening)
    if not due_then:
        open_s = sum((b - a).total_seconds() for a, b in intervals)
        closing = {"open_s": open_s, "close_time": intervals[-1][1].isoformat(), "zone": zone}
        yield Reason("day-until-closing", closing)


def _summed(calendar: WorkingCalendar, first: date, last: date) -> Iterator[Reason]:
    start, end = _midnight_after(calendar, first), _midnight_after(calendar, last - timedelta(days=1))
    params = {"open_s": calendar.elapsed(start, end), "on_day": (last - timedelta(days=1)).isoformat()}
    yield Reason("days-between", params)


def _open_us(calendar: WorkingCalendar, on: date) -> int:
    start, end = _midnight_after(calendar, on - timedelta(days=1)), _midnight_after(calendar, on)
    return calendar.elapsed_us(to_us(start), to_us(end))


def _midnight_after(calendar: WorkingCalendar, on: date) -> datetime:
    """The instant at which the next local date begins."""
    following = on + timedelta(days=1)
    local = datetime(following.year, following.month, following.day, tzinfo=calendar.zone)
    return from_us(to_us(local))


def _named(release: Release, terms: Terms, day: Day, open_us: int) -> Reason:
    params: dict[str, Any] = {
        "on_day": day.on.isoformat(),
        "plan": release.plans[terms.plan].name,
        "hours": ", ".join(map(str, day.windows)),
        "open_s": open_us // SECOND,
    }
    if day.holiday:
        params["name"] = day.holiday
    return Reason(_day_code(day, bool(open_us)), params, "§5.3")


def _day_code(day: Day, counted: bool) -> str:
    match day.kind:
        case "holiday":
            return "day-holiday" if day.windows else "day-holiday-closed"
        case "closing":
            return "day-closing-hours" if day.windows else "day-closing"
        case "special":
            return "day-special"
        case "closed":
            return "day-closed"
    return "day-working" if counted else "day-is-working"


# --- the outcome -------------------------------------------------------------------------------------------


def _outcome(release: Release, line: Timeline, last: Segment, state: ClockState) -> Iterator[Reason]:
    zone = last.terms.zone
    for missed in state.missed:
        plan = release.plans[missed.plan].name
        params = {"priority": priority_name(missed.priority), "plan": plan, "zone": zone}
        yield Reason("missed-before", params | {"due_at": missed.due_at.isoformat()}, "§4")
    if state.taken_at is not None:
        yield Reason(
            _taken(release, last, state), {"taken_at": state.taken_at.isoformat(), "zone": zone}, "§4"
        )
    elif state.met is False and state.due_at is not None:
        code = "overdue" if state.sla is Sla.GUARANTEED else "overdue-best-effort"
        yield Reason(code, {"due_at": state.due_at.isoformat(), "zone": zone}, "§4")
    if line.last.waiting_for is not None and state.taken_at is None:
        params = {"since_at": line.last.start.isoformat(), "zone": zone}
        yield Reason(f"waiting-{line.last.waiting_for}", params, "§4.3")


def _taken(release: Release, last: Segment, state: ClockState) -> str:
    if state.met is None:
        return "taken-without-target"
    if state.met:
        return "met-at" if release.plans[last.terms.plan].met == "at" else "met-taken"
    return "late-taken" if state.sla is Sla.GUARANTEED else "late-taken-best-effort"
