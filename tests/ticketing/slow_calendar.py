"""An independent, slow reference for working time: every minute is looked at.

It shares nothing with the calendar under test: hours, weekdays and holidays are its own, and a minute is open
when the wall clock of the zone, at that minute, shows an open one. Offsets are read every quarter of an hour
of UTC (zones of 2020 to 2040 change at quarters only).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

import holidays

MINUTE = timedelta(minutes=1)


@cache
def public_holidays(country: str, year: int) -> frozenset[date]:
    with warnings.catch_warnings():  # "moving feasts of this year are not settled"
        warnings.simplefilter("ignore")
        return frozenset(holidays.country_holidays(country, years=year))


@dataclass
class SlowCalendar:
    """Open minutes of a zone; hours are (first minute, minute after the last) of the local day."""

    zone: str
    hours: dict[int, tuple[int, int]]
    """Weekday (0 Monday) -> hours."""
    holiday_hours: tuple[int, int] | None
    country: str
    closed: frozenset[date]
    days: dict[int, bytes] = field(default_factory=dict)

    def hours_of(self, on: date) -> tuple[int, int]:
        """The hours of a local date; (0, 0): closed."""
        if on in self.closed:
            return 0, 0
        if on in public_holidays(self.country, on.year):
            return self.holiday_hours or (0, 0)
        return self.hours.get(on.weekday(), (0, 0))

    def day(self, number: int) -> bytes:
        """The 1440 minutes of a UTC day (days since 1970), 1 = open."""
        if number not in self.days:
            self.days[number] = bytes(self._minutes(number))
        return self.days[number]

    def _minutes(self, number: int) -> list[int]:
        zone = ZoneInfo(self.zone)
        flags: list[int] = []
        start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=number)
        for quarter in range(96):
            local = (start + 15 * quarter * MINUTE).astimezone(zone)
            opens, closes = self.hours_of(local.date())  # a quarter never crosses a local midnight
            first = local.hour * 60 + local.minute
            flags += [opens <= minute < closes for minute in range(first, first + 15)]
        return flags

    def is_open(self, minute: int) -> bool:
        """Whether a minute (minutes since 1970) is open."""
        return bool(self.day(minute // 1440)[minute % 1440])

    def add(self, minute: int, target: int) -> int:
        """Walk until ``target`` open minutes (> 0) have passed; the minute at which they have."""
        while True:
            day, offset = divmod(minute, 1440)
            left = self.day(day)[offset:]
            if left.count(1) >= target:
                break
            target -= left.count(1)
            minute = (day + 1) * 1440
        for flag in left:
            minute += 1
            target -= flag
            if target == 0:
                return minute
        raise AssertionError("the day had enough minutes")

    def elapsed(self, start: int, end: int) -> int:
        """Open minutes in [start, end)."""
        total = 0
        while start < end:
            day, offset = divmod(start, 1440)
            until = min(end, (day + 1) * 1440)
            total += self.day(day)[offset : until - day * 1440].count(1)
            start = until
        return total
