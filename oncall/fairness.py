"""Who carries how much: hours, weekends, nights and public holidays per person, against an equal share.

Fairness is shown, not enforced: who may carry Christmas is for people to settle, with overrides and swaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta

import msgspec

from oncall.rota_terms import midnight, windows
from oncall.schedule import Schedule, Shift, people_of, shifts
from oncall.wall import Span, clipped, openings, reading

WEEKEND = windows("sat 00:00 - mon 00:00")
NIGHT = windows("22:00-06:00")


class Burden(msgspec.Struct, frozen=True):
    """What one person carries in a stretch of time. Hours are elapsed hours."""

    person_key: str
    shifts: int
    hours: float
    night_hours: float
    """On the schedule's wall clock, 22:00-06:00."""
    weekend_hours: float
    holiday_hours: float
    holidays: tuple[date, ...]
    """Public holidays on which this person is on call for at least an hour, in order."""
    holiday_balance: float
    """Holiday hours above (+) or below (-) an equal share among the schedule's people."""


def burdens(schedule: Schedule, holidays: Iterable[date], start: datetime, end: datetime) -> list[Burden]:
    """One line per person of the schedule, those with most holiday hours first."""
    zone = schedule.zone
    found = shifts(schedule, start, end)
    first, last = reading(start, zone).date(), reading(end, zone).date()
    days = {day: _day(day, zone) for day in sorted(set(holidays)) if first <= day <= last}
    nights, weekends = (openings(each, zone, start, end) for each in (NIGHT, WEEKEND))
    everybody = sorted(people_of(schedule) | {shift.person_key for shift in found})
    share = _hours(_overlap(_spans(found), list(days.values()))) / max(1, len(everybody))
    lines = []
    for key in everybody:
        own = [shift for shift in found if shift.person_key == key]
        spans = _spans(own)
        feast = {day: _hours(_overlap(spans, [span])) for day, span in days.items()}
        carried = sum(feast.values())
        lines.append(
            Burden(
                key,
                len(own),
                _hours(spans),
                _hours(_overlap(spans, nights)),
                _hours(_overlap(spans, weekends)),
                round(carried, 2),
                tuple(day for day, hours in feast.items() if hours >= 1),
                round(carried - share, 2),
            )
        )
    return sorted(lines, key=lambda line: (-line.holiday_hours, -line.hours, line.person_key))


def _day(day: date, zone: str) -> Span:
    return midnight(day, zone), midnight(day + timedelta(days=1), zone)


def _spans(found: Iterable[Shift]) -> list[Span]:
    return [(shift.start, shift.end) for shift in found]


def _overlap(spans: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    return [piece for a, b in others for piece in clipped(spans, a, b)]


def _hours(spans: Iterable[Span]) -> float:
    return round(sum((b - a).total_seconds() for a, b in spans) / 3600, 2)
