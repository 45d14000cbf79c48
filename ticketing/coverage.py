"""Contracted time: how many minutes each plan covers in each theatre between two instants. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

import msgspec

from ticketing.calendar import WorkingCalendar, calendar_for
from ticketing.errors import CalendarError
from ticketing.policy import PRIORITIES, Priority, Release, priority_name
from ticketing.terms import Terms, resolve


class Row(msgspec.Struct, frozen=True):
    """The cover of one plan in one theatre, for priorities that share their hours."""

    theatre: str
    plan: str
    priorities: tuple[str, ...]
    """``P1`` .. ``P4``"""
    minutes: float
    """Covered minutes in the span."""
    from_: datetime = msgspec.field(name="from")
    """Start of the span, UTC."""
    to: datetime
    """End of the span, UTC, not included."""


def coverage(
    release: Release,
    start: date | datetime,
    end: date | datetime,
    *,
    theatre: str | None = None,
    country: str | None = None,
) -> Iterator[Row]:
    """Every theatre (or one) and plan over [start, end). A date means midnight in the theatre's zone.

    ``country`` replaces the theatre's public holidays. Raises CalendarError, ContractError."""
    licence = next(iter(release.licences))
    for name in [theatre] if theatre else release.theatres:
        for plan in release.plans:
            at = (
                start
                if isinstance(start, datetime)
                else datetime(start.year, start.month, start.day, tzinfo=UTC)
            )
            terms, _ = resolve(
                release,
                plan=plan,
                licence=licence,
                theatre=name,
                at=at,
                country=country,
                asia_pacific=False,
            )
            yield from _rows(release, terms, start, end)


def _rows(release: Release, terms: Terms, start: date | datetime, end: date | datetime) -> Iterator[Row]:
    groups: dict[WorkingCalendar, list[Priority]] = {}
    for priority in PRIORITIES:
        groups.setdefault(calendar_for(release, terms, priority), []).append(priority)
    for calendar, priorities in groups.items():
        since, until = instant(start, calendar), instant(end, calendar)
        if until < since:
            raise CalendarError(f"the span ends ({end}) before it starts ({start})")
        minutes = calendar.elapsed(since, until) / 60
        names = tuple(priority_name(p) for p in priorities)
        yield Row(terms.theatre, terms.plan, names, minutes, since, until)


def instant(when: date | datetime, calendar: WorkingCalendar) -> datetime:
    """An instant as it is; a date as midnight in the calendar's zone."""
    if isinstance(when, datetime):
        return when
    return datetime(when.year, when.month, when.day, tzinfo=calendar.zone)
