"""Calendars in (RFC 5545): somebody's absences from the calendar that they keep anyway.

Every event is an absence, except what is marked free (TRANSP:TRANSPARENT) or cancelled. All-day events are
whole days in the person's zone; times without a zone are read there too. Recurring events are
unfolded within the stretch asked for, never beyond.

Calendars come from strangers. The text is bounded; rules finer than daily, lists of hours, minutes and
seconds and EXRULE are refused (a rota has no use for them, an attacker has); and the unfolding itself runs
in a process of its own (``read``), which is stopped when it takes too long or too much memory: no check of
rules foresees everything that a rule can do.

    BadCalendar   the calendar is refused; the message says why
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
import recurring_ical_events
from icalendar import Calendar

from oncall.errors import OncallError
from oncall.schedule import Absence
from oncall.wall import Span, clipped, instant, merged

MAX_BYTES = 1_000_000
MAX_EVENTS = 2_000
MAX_ABSENCES = 2_000
TIME_LIMIT_S = 20.0
MEMORY_LIMIT_BYTES = 1 << 30
_COARSE = ("DAILY", "WEEKLY", "MONTHLY", "YEARLY")
_FINE_PARTS = ("BYHOUR", "BYMINUTE", "BYSECOND")
_MAX_REASON = 200
_MOST_INTERVAL = 1000


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
    _bounded(task.text)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "oncall.ical_import"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(msgspec.json.encode(task)), time_limit_s)
    except TimeoutError:
        raise BadCalendar(f"the calendar takes longer than {time_limit_s:g} s to unfold") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return _answer(output)


def _answer(output: bytes) -> tuple[Absence, ...]:
    try:
        result = msgspec.json.decode(output, type=Result)
    except msgspec.DecodeError:
        raise BadCalendar("the calendar needs more time or memory than it is given") from None
    if result.refusal is not None:
        raise BadCalendar(result.refusal)
    return result.absences


def absences(task: Task) -> tuple[Absence, ...]:
    """The absences in ``task``'s calendar, merged where they touch. Raises BadCalendar.

    Trusts the calendar to be harmless: use ``read`` for anything from outside."""
    _bounded(task.text)
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


def _bounded(text: str) -> None:
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise BadCalendar(f"the calendar is larger than {MAX_BYTES} bytes")
    if "\x00" in text or any("\ud800" <= c <= "\udfff" for c in text):
        raise BadCalendar("the calendar holds characters that no text has")


def _calendar(text: str) -> Calendar:
    try:
        calendar = Calendar.from_ical(text)
    except Exception as error:  # as above
        raise BadCalendar(f"not a calendar (RFC 5545): {str(error)[:200]}") from None
    if not isinstance(calendar, Calendar) or calendar.name != "VCALENDAR":
        raise BadCalendar("not a calendar: BEGIN:VCALENDAR is missing")
    if not text.rstrip().upper().endswith("END:VCALENDAR"):
        # Half a download would read as a calendar with fewer absences, and put absent people on call.
        raise BadCalendar("the calendar is cut off: END:VCALENDAR is missing")
    events = calendar.walk("VEVENT")
    if len(events) > MAX_EVENTS:
        raise BadCalendar(f"the calendar has more than {MAX_EVENTS} events")
    for event in events:
        _check_rules(event)
    return calendar


def _check_rules(event: Any) -> None:
    if "EXRULE" in event:
        raise BadCalendar("EXRULE is not supported")
    rules = event.get("RRULE", [])
    for rule in rules if isinstance(rules, list) else [rules]:
        frequencies = [str(one).upper() for one in rule.get("FREQ", [])]
        if any(one not in _COARSE for one in frequencies) or any(part in rule for part in _FINE_PARTS):
            raise BadCalendar("absences repeat daily or less often; finer rules are refused")
        if any(not 1 <= int(one) <= _MOST_INTERVAL for one in rule.get("INTERVAL", [1])):
            raise BadCalendar("INTERVAL must be from 1 to 1000")  # 0 would never get on


def _counts(event: Any) -> bool:
    return (
        str(event.get("TRANSP", "OPAQUE")).upper() != "TRANSPARENT"
        and str(event.get("STATUS", "")).upper() != "CANCELLED"
    )


def _reason(event: Any) -> str:
    return " ".join(str(event.get("SUMMARY", "")).split())[:_MAX_REASON]


def _span(event: Any, zone: str) -> Span:
    start, end = event["DTSTART"].dt, event["DTEND"].dt
    return _moment(start, zone), _moment(end, zone)


def _moment(value: date | datetime, zone: str) -> datetime:
    if not isinstance(value, datetime):
        return instant(datetime.combine(value, time()), zone)
    return instant(value, zone) if value.tzinfo is None else value.astimezone(UTC)


def _limit_ourselves() -> None:
    """Let the operating system stop us, where it can."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CPU, (int(TIME_LIMIT_S) + 5,) * 2)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES,) * 2)


def main() -> None:
    """The process that ``read`` starts: a task as JSON in, a result as JSON out."""
    _limit_ourselves()
    try:
        result = Result(absences(msgspec.json.decode(sys.stdin.buffer.read(), type=Task)))
    except BadCalendar as refusal:
        result = Result(refusal=str(refusal))
    sys.stdout.buffer.write(msgspec.json.encode(result))


if __name__ == "__main__":
    main()
