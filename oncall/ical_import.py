"""Calendars in (RFC 5545): somebody's absences from the calendar that they keep anyway.

Every event is an absence, except what is marked free (TRANSP:TRANSPARENT) or cancelled. All-day events are
whole days in the person's zone; times without a zone are read there too. Recurring events are
unfolded within the stretch asked for, never beyond.

Calendars come from strangers: what is refused of them, and the process of its own that unfolds them, is in
``wire/ical.py``.

    BadCalendar   the calendar is refused; the message says why
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
import recurring_ical_events
from icalendar import Calendar

from oncall.errors import OncallError
from oncall.schedule import Absence
from oncall.wall import Span, clipped, instant, merged
from wire.ical import (
    TIME_LIMIT_S,
    ReadingStopped,
    RuleFault,
    cancelled,
    cut_off,
    out_of_bounds,
    read_apart,
    rule_faults,
    serve,
    too_many,
)

MAX_ABSENCES = 2_000
_MAX_REASON = 200
_RULE_FAULTS = {
    RuleFault.EXRULE: "EXRULE is not supported",
    RuleFault.FINE: "absences repeat daily or less often; finer rules are refused",
    RuleFault.INTERVAL: "INTERVAL must be from 1 to 1000",
}


class BadCalendar(OncallError):
    """The calendar cannot be used; the message says why."""


class Task(msgspec.Struct, frozen=True):
    """What to read out of a calendar."""

    text: str
    person_key: str
    zone: str
    """The person's IANA zone."""
    start: datetime
    end: datetime


class Result(msgspec.Struct, frozen=True):
    """What came of it: absences, or a refusal."""

    absences: tuple[Absence, ...] = ()
    refusal: str | None = None


async def read(task: Task, time_limit_s: float = TIME_LIMIT_S) -> tuple[Absence, ...]:
    """The absences in ``task``'s calendar, worked out in a process of its own. Raises BadCalendar."""
    _refuse(out_of_bounds(task.text))
    try:
        result = await read_apart("oncall.ical_import", task, Result, time_limit_s)
    except ReadingStopped as stopped:
        raise BadCalendar(f"the calendar {stopped}") from None
    if result.refusal is not None:
        raise BadCalendar(result.refusal)
    return result.absences


def absences(task: Task) -> tuple[Absence, ...]:
    """The absences in ``task``'s calendar, merged where they touch. Raises BadCalendar.

    Trusts the calendar to be harmless: use ``read`` for anything from outside."""
    _refuse(out_of_bounds(task.text))
    try:
        found = _spans(_calendar(task.text), task)
    except BadCalendar:
        raise
    except Exception as error:  # whatever a library raises over a stranger's text is the text's fault
        raise BadCalendar(f"the calendar cannot be unfolded: {str(error)[:200]}") from None
    away = [
        Absence(task.person_key, a, b, reason)
        for reason, spans in found.items()
        for a, b in merged(clipped(spans, task.start, task.end))
    ]
    if len(away) > MAX_ABSENCES:
        raise BadCalendar(f"the calendar has more than {MAX_ABSENCES} absences")
    return tuple(sorted(away, key=lambda absence: absence.start))


def _spans(calendar: Calendar, task: Task) -> dict[str, list[Span]]:
    """Reason -> when, not yet clipped."""
    found: dict[str, list[Span]] = {}
    # A day to spare: the library compares bare dates with instants in ways of its own.
    day = timedelta(days=1)
    for event in recurring_ical_events.of(calendar).between(task.start - day, task.end + day):
        if _counts(event):
            found.setdefault(_reason(event), []).append(_span(event, task.zone))
    return found


def _refuse(wrong: str) -> None:
    if wrong:
        raise BadCalendar(f"the calendar {wrong}")


def _calendar(text: str) -> Calendar:
    try:
        calendar = Calendar.from_ical(text)
    except Exception as error:  # as above
        raise BadCalendar(f"not a calendar (RFC 5545): {str(error)[:200]}") from None
    if not isinstance(calendar, Calendar) or calendar.name != "VCALENDAR":
        raise BadCalendar("not a calendar: BEGIN:VCALENDAR is missing")
    _refuse(cut_off(text))
    events = calendar.walk("VEVENT")
    _refuse(too_many(events))
    for event in events:
        for fault in rule_faults(event):
            raise BadCalendar(_RULE_FAULTS[fault])
    return calendar


def _counts(event: Any) -> bool:
    return str(event.get("TRANSP", "OPAQUE")).upper() != "TRANSPARENT" and not cancelled(event)


def _reason(event: Any) -> str:
    return " ".join(str(event.get("SUMMARY", "")).split())[:_MAX_REASON]


def _span(event: Any, zone: str) -> Span:
    start, end = event["DTSTART"].dt, event["DTEND"].dt
    return _moment(start, zone), _moment(end, zone)


def _moment(value: date | datetime, zone: str) -> datetime:
    if not isinstance(value, datetime):
        return instant(datetime.combine(value, time()), zone)
    return instant(value, zone) if value.tzinfo is None else value.astimezone(UTC)


def _told(task: Task) -> Result:
    """The same as an answer to whoever started this process."""
    try:
        return Result(absences(task))
    except BadCalendar as refusal:
        return Result(refusal=str(refusal))


if __name__ == "__main__":
    serve(Task, _told)
