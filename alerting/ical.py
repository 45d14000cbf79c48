"""Calendars in (RFC 5545): maintenance windows as a customer's own calendar has them. Pure but for ``read``.

Every event is a window, except what is cancelled. All-day events are whole days in the zone given; times
without a zone are read there too. A plain recurrence stays one (in the wall time of its own zone); one with
exceptions, extra dates or moved occurrences is unfolded within ``AHEAD``, each occurrence a window.

A window's id follows from the calendar's name, the event's UID and, where that recurs, the occurrence: read
again, it is the same.

Calendars come from strangers: what is refused of them, and the process of its own that reads them, is in
``wire/ical.py``.

    BadCalendar   the calendar is refused; every fault that was found
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

import msgspec
import recurring_ical_events
from icalendar import Calendar

from alerting.errors import BadCalendar
from alerting.mute import Matcher, Mute, faults, read_recurrence
from wire.ical import (
    TIME_LIMIT_S,
    ReadingStopped,
    RuleFault,
    cancelled,
    cut_off,
    out_of_bounds,
    read_apart,
    rule_faults,
    rules,
    serve,
    too_many,
)

MAX_WINDOWS = 1_000
AHEAD = timedelta(days=400)
"""How far ahead what is not plain is unfolded."""
_SPACE = UUID("6f1d5a52-5b5b-4a0e-9f0e-5f2f6a3b9d11")
_EXCEPTIONS = ("EXDATE", "RDATE", "EXRULE", "RECURRENCE-ID")
_RULE_FAULTS = {
    RuleFault.EXRULE: "has an EXRULE, which is not read",
    RuleFault.FINE: "repeats more often than daily, which is refused",
    RuleFault.INTERVAL: "has an INTERVAL that is not 1 .. 1000",
}


class Task(msgspec.Struct, frozen=True):
    """What to read out of a calendar."""

    text: str
    scope: str
    """Names the calendar: tenant, deployment, host and source."""
    matchers: tuple[tuple[str, str, str], ...]
    """(label, operator, pattern) of every window."""
    author: str
    zone: str
    """IANA zone of times that name none."""
    now: datetime


class Result(msgspec.Struct, frozen=True):
    """Windows, or every fault."""

    windows: tuple[Mute, ...] = ()
    faults: tuple[tuple[str, str], ...] = ()
    """(event, what is wrong)."""


async def read(task: Task, time_limit_s: float = TIME_LIMIT_S) -> tuple[Mute, ...]:
    """The windows in a calendar that are not over, read in a process of its own. Raises BadCalendar."""
    if wrong := _unreadable(task.text):
        raise BadCalendar([("calendar", wrong)])
    try:
        result = await read_apart("alerting.ical", task, Result, time_limit_s)
    except ReadingStopped as stopped:
        raise BadCalendar([("calendar", str(stopped))]) from None
    if result.faults:
        raise BadCalendar(result.faults)
    return result.windows


def windows(task: Task) -> Result:
    """The same in this process: trusts the calendar to be harmless."""
    if wrong := _unreadable(task.text):
        return Result(faults=(("calendar", wrong),))
    try:
        return _windows(task, Calendar.from_ical(task.text))
    except Exception as error:  # whatever a library raises over a stranger's text is the text's fault
        return Result(faults=(("calendar", f"cannot be read (RFC 5545): {str(error)[:200]}"),))


def _unreadable(text: str) -> str:
    if wrong := out_of_bounds(text):
        return wrong
    if not text.lstrip("\ufeff \r\n\t").upper().startswith("BEGIN:VCALENDAR"):
        return "is none: BEGIN:VCALENDAR is missing"
    return cut_off(text)


def _windows(task: Task, calendar: Any) -> Result:
    events = calendar.walk("VEVENT")
    if many := too_many(events):
        return Result(faults=(("calendar", many),))
    wrong = [(_name(n, event), text) for n, event in enumerate(events) for text in _refused(event)]
    if wrong:
        return Result(faults=tuple(wrong))
    times = Counter(str(event.get("UID", "")) for event in events)
    plain = [event for event in events if _plain(event, times, task)]
    found = [_recurring(task, event) for event in plain] + list(_unfolded(task, calendar, plain))
    lasting = [window for window in found if window.recurrence or window.ends_at > task.now]
    wrong = [(window.title, text) for window in lasting for _, text in faults(window)]
    if len(lasting) > MAX_WINDOWS:
        wrong = [("calendar", f"comes to more than {MAX_WINDOWS} windows within {AHEAD.days} days")]
    return Result(tuple(lasting), tuple(wrong)) if not wrong else Result(faults=tuple(wrong))


def _name(number: int, event: Any) -> str:
    return f"event {number + 1} ({_text(event.get('SUMMARY')) or 'no summary'})"


def _refused(event: Any) -> Iterator[str]:
    """What is wrong with an event before anything is worked out."""
    if not str(event.get("UID", "")).strip():
        yield "has no UID: a later import could not tell it from the others"
    if "DTSTART" not in event or not isinstance(event["DTSTART"].dt, date):
        yield "has no start (DTSTART)"
    if (
        "DTEND" not in event
        and "DURATION" not in event
        and isinstance(event.get("DTSTART", _NONE).dt, datetime)
    ):
        yield "has no end (DTEND or DURATION)"
    for fault in rule_faults(event):
        yield _RULE_FAULTS[fault]


class _Nothing:
    dt: Any = None


_NONE = _Nothing()


def _plain(event: Any, times: Counter[str], task: Task) -> bool:
    """Whether one recurrence says all: no exceptions, and a rule that windows themselves follow."""
    recurring = rules(event)
    alone = times[str(event.get("UID", ""))] == 1 and not any(name in event for name in _EXCEPTIONS)
    if len(recurring) != 1 or not alone or cancelled(event):
        return False
    start, zone = event["DTSTART"].dt, _zone(event["DTSTART"].dt, task.zone)
    try:
        first = _instant(start, task.zone).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
        rule = read_recurrence(recurring[0].to_ical().decode(), first, ZoneInfo(zone))
    except (ValueError, OSError, KeyError):
        return False
    return next(iter(rule), None) == first  # else the start is an occurrence that the rule does not know


def _recurring(task: Task, event: Any) -> Mute:
    recurrence = rules(event)[0].to_ical().decode()
    start, end = _span(event)
    return _window(task, event, "", start, end, recurrence)


def _unfolded(task: Task, calendar: Any, plain: list[Any]) -> Iterator[Mute]:
    """The events that happen once, and the occurrences of the others."""
    once = _happening_once(calendar)
    for event in once:
        if not cancelled(event):
            yield _window(task, event, "", *_span(event), "")
    told = {id(event) for event in [*plain, *once]}
    rest = Calendar()
    for part in calendar.subcomponents:
        if id(part) not in told:
            rest.add_component(part)
    day = timedelta(days=1)  # the library compares bare dates with instants in ways of its own
    for event in recurring_ical_events.of(rest).between(task.now - day, task.now + AHEAD):
        if not cancelled(event):
            start, end = _span(event)
            at = event.get("RECURRENCE-ID")
            which = _instant(at.dt if at is not None else start, task.zone).isoformat()
            yield _window(task, event, which, start, end, "")


def _happening_once(calendar: Any) -> list[Any]:
    events = calendar.walk("VEVENT")
    times = Counter(str(event.get("UID", "")) for event in events)
    again = ("RRULE", "RDATE", "RECURRENCE-ID")
    return [e for e in events if times[str(e.get("UID", ""))] == 1 and not any(name in e for name in again)]


def _window(task: Task, event: Any, which: str, start: date, end: date, recurrence: str) -> Mute:
    return Mute(
        uuid5(_SPACE, "\x1f".join((task.scope, str(event["UID"]), which))),
        "maintenance",
        tuple(Matcher(label, op, pattern) for label, op, pattern in task.matchers),  # type: ignore[arg-type]
        _text(event.get("SUMMARY")) or "maintenance",
        task.author,
        _instant(start, task.zone),
        _instant(end, task.zone),
        recurrence,
        _zone(start, task.zone),
    )


def _span(event: Any) -> tuple[date, date]:
    start = event["DTSTART"].dt
    if "DTEND" in event:
        return start, event["DTEND"].dt
    lasts = event["DURATION"].dt if "DURATION" in event else timedelta(days=1)
    if not isinstance(start, datetime):
        return start, start + max(lasts, timedelta(days=1))
    # A duration is exact (RFC 5545, 3.3.6), whatever the clocks do meanwhile.
    exact = start if start.tzinfo is None else start.astimezone(UTC)
    return start, (exact + lasts).astimezone(start.tzinfo) if start.tzinfo else exact + lasts


def _zone(value: date, zone: str) -> str:
    """The IANA zone in whose wall time a start is told."""
    return getattr(getattr(value, "tzinfo", None), "key", None) or (
        "UTC" if getattr(value, "tzinfo", None) is UTC else zone
    )


def _instant(value: date, zone: str) -> datetime:
    if not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return (value.replace(tzinfo=ZoneInfo(zone)) if value.tzinfo is None else value).astimezone(UTC)


def _text(value: Any) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in str(value or "")).split())[:500]


if __name__ == "__main__":
    serve(Task, windows)
