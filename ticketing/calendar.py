"""Working time: when a team is open, and what instant it is after so much open time.

A calendar is the set of instants whose wall clock, in the calendar's zone, shows an open hour. So a gap in
local time (spring) shortens a day that it cuts and a fold (autumn) lengthens it, exactly. Windows are half
open: open at 09:00, closed at 18:00.

Fast because a year of UTC becomes three sorted arrays once (opening instants, closing instants, open time
before each): a deadline is two bisections, whatever lies between. All arithmetic is in whole microseconds.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from ticketing.errors import CalendarError
from ticketing.holiday import holidays_of
from ticketing.hours import Hours, parse_hours
from ticketing.policy import WEEKDAYS, Priority, Release, Theatre
from ticketing.terms import Terms

SECOND = 1_000_000
"""Microseconds."""
DAY = 86_400 * SECOND
FIRST_YEAR, LAST_YEAR = 1970, 2199
"""Years that calendars cover; times outside are refused."""
MAX_EMPTY_YEARS = 11
"""Years without any open hour after which a target counts as unreachable."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
Windows = tuple[Hours, ...]
Cover = Literal["base", "extended", "always"]
Closing = Literal["closed", "holiday"]
DayKind = Literal["working", "special", "holiday", "closing", "closed", "always"]


def to_us(at: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    if at.tzinfo is None:
        raise CalendarError(f"{at.isoformat()} has no time zone; give Z or an offset")
    return (at - _EPOCH) // _US


def from_us(us: int) -> datetime:
    """Aware UTC."""
    return _EPOCH + timedelta(microseconds=us)


class Spec(msgspec.Struct, frozen=True):
    """All that decides a calendar: equal specs share one table."""

    zone: str
    cover: Cover
    weekdays: tuple[Windows, ...]
    """Monday first; empty: closed."""
    holiday: Windows
    """Hours of a listed holiday, whatever its weekday; empty: closed."""
    country: str
    region: str | None = None
    closing_days: tuple[date, ...] = ()
    """Days that are closed (or, by policy, have the holiday's hours)."""
    closing: Closing = "closed"
    specials: tuple[int, ...] = ()
    """Weekdays (0 Monday) with special hours; tells them apart in texts."""


class Day(msgspec.Struct, frozen=True):
    """A local day, told for people."""

    on: date
    windows: Windows
    kind: DayKind
    holiday: str | None = None
    """Name of the public holiday."""


class _Table:
    """One UTC year: open intervals in order, and the open time before each."""

    __slots__ = ("before", "ends", "starts", "through", "total")

    def __init__(self, intervals: Iterator[tuple[int, int]]) -> None:
        self.starts, self.ends = array("q"), array("q")
        self.before, self.through = array("q"), array("q")
        self.total = 0
        for start, end in intervals:
            self._append(start, end)

    def _append(self, start: int, end: int) -> None:
        if self.ends and self.ends[-1] == start:
            self.ends[-1] = end
            self.total += end - start
            self.through[-1] = self.total
            return
        self.starts.append(start)
        self.ends.append(end)
        self.before.append(self.total)
        self.total += end - start
        self.through.append(self.total)

    def open_until(self, us: int) -> int:
        """Open microseconds of the year before an instant."""
        index = bisect_right(self.starts, us) - 1
        if index < 0:
            return 0
        return self.before[index] + min(us, self.ends[index]) - self.starts[index]

    def instant(self, open_us: int) -> int:
        """The earliest instant with so much open time before it (0 < open_us <= total)."""
        index = bisect_left(self.through, open_us)
        return self.starts[index] + open_us - self.before[index]


class WorkingCalendar:
    """Open time of one ``Spec``. Get it from ``calendar``: there equal specs share their tables."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.zone = ZoneInfo(spec.zone)
        self._tables: dict[int, _Table] = {}
        self._bases = {n: spec.weekdays[n] for n in range(7)}
        self._closing = frozenset(spec.closing_days)

    # --- days -------------------------------------------------------------------------------------------

    def day(self, on: date) -> Day:
        """What a local date is: its windows and why."""
        spec = self.spec
        if spec.cover == "always":
            return Day(on, (Hours(0, 1440),), "always")
        name = holidays_of(spec.country, spec.region, on.year).get(on)
        if on in self._closing:
            windows = spec.holiday if spec.closing == "holiday" else ()
            return Day(on, windows, "closing", name)
        if name is not None:
            return Day(on, spec.holiday, "holiday", name)
        windows = self._bases[on.weekday()]
        kind: DayKind = "special" if on.weekday() in spec.specials else "working"
        return Day(on, windows, kind if windows else "closed")

    def local_date(self, at: datetime) -> date:
        """The date on the wall in the calendar's zone."""
        return at.astimezone(self.zone).date()

    def next_working_day_close(self, n: int, after: date) -> datetime:
        """Closing time of the n-th open day after a local date."""
        on, left = after, n
        for _ in range(366 * MAX_EMPTY_YEARS):
            on = _next_day(on)
            left -= bool(self.day(on).windows)
            if left == 0:
                close = self._closes(on)
                if close is not None:
                    return close
                left = 1  # the zone skipped this local day: the next one counts
        raise CalendarError(f"no working day within {MAX_EMPTY_YEARS} years after {after}")

    def _closes(self, on: date) -> datetime | None:
        """The last closing instant of a local date; None if the zone has no such open instant."""
        around = to_us(datetime(on.year, on.month, on.day, tzinfo=UTC))
        pieces = [end for _, end, day in self._pieces(around - DAY, around + 2 * DAY) if day == on]
        return from_us(max(pieces)) if pieces else None

    # --- time -------------------------------------------------------------------------------------------

    def add(self, start: datetime, seconds: float) -> datetime:
        """The earliest instant at which ``seconds`` of open time have passed since ``start``.

        A target that ends exactly at closing is due at closing. Zero: ``start`` itself."""
        return from_us(self.add_us(to_us(start), round(seconds * SECOND)))

    def elapsed(self, start: datetime, end: datetime) -> float:
        """Open seconds between two instants (negative when they are reversed)."""
        return self.elapsed_us(to_us(start), to_us(end)) / SECOND

    def is_open(self, at: datetime) -> bool:
        """Whether the team is open at this instant."""
        us = to_us(at)
        table = self._table(_year_of(us))
        index = bisect_right(table.starts, us) - 1
        return index >= 0 and us < table.ends[index]

    def open_intervals(self, start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
        """Open intervals within [start, end), in order, touching ones joined."""
        joined: list[tuple[int, int]] = []
        for opens, closes in self._clipped(to_us(start), to_us(end)):
            if joined and joined[-1][1] == opens:
                joined[-1] = (joined[-1][0], closes)
            else:
                joined.append((opens, closes))
        return [(from_us(opens), from_us(closes)) for opens, closes in joined]

    def _clipped(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        if end <= start:
            return
        for year in range(_year_of(start), _year_of(end - 1) + 1):
            table = self._table(year)
            for opens, closes in zip(table.starts, table.ends, strict=True):
                if closes > start and opens < end:
                    yield max(opens, start), min(closes, end)

    def add_us(self, start: int, target: int) -> int:
        """``add`` in microseconds since 1970."""
        if target <= 0:
            return start
        year = _year_of(start)
        position = self._table(year).open_until(start) + target
        empty = 0
        while position > (total := self._table(year).total):
            position -= total
            year += 1
            empty = 0 if total else empty + 1
            if year > LAST_YEAR or empty >= MAX_EMPTY_YEARS:
                raise CalendarError("the target is never reached: the calendar has no open hours left")
        return self._table(year).instant(position)

    def elapsed_us(self, start: int, end: int) -> int:
        """``elapsed`` in microseconds."""
        if end < start:
            return -self.elapsed_us(end, start)
        first, last = _year_of(start), _year_of(end)
        whole = sum(self._table(year).total for year in range(first, last))
        return whole + self._table(last).open_until(end) - self._table(first).open_until(start)

    # --- tables -----------------------------------------------------------------------------------------

    def _table(self, year: int) -> _Table:
        table = self._tables.get(year)
        if table is None:
            table = self._tables[year] = _Table(self._year(year))
        return table

    def _year(self, year: int) -> Iterator[tuple[int, int]]:
        start, end = _year_starts(year), _year_starts(year + 1)
        if self.spec.cover == "always":
            yield start, end
            return
        for opens, closes, _ in self._pieces(start, end):
            yield opens, closes

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int, date]]:
        """Open pieces within [start, end) and their local dates, in order of time."""
        for since, until, offset in _offsets(self.spec.zone, start, end):
            on = from_us(since + offset).date()
            while (midnight := to_us(datetime(on.year, on.month, on.day, tzinfo=UTC)) - offset) < until:
                for window in self.day(on).windows:
                    opens = max(since, midnight + window.start * 60 * SECOND)
                    closes = min(until, midnight + window.end * 60 * SECOND)
                    if opens < closes:
                        yield opens, closes, on
                on = _next_day(on)


def _next_day(on: date) -> date:
    if on.year > LAST_YEAR:
        raise CalendarError(f"{on} is beyond the years that calendars cover ({FIRST_YEAR} to {LAST_YEAR})")
    return on + timedelta(days=1)


def _year_of(us: int) -> int:
    year = from_us(us).year if -(10**17) < us < 10**17 else 0
    if not FIRST_YEAR <= year <= LAST_YEAR:
        raise CalendarError(f"a time is outside the years that calendars cover ({FIRST_YEAR} to {LAST_YEAR})")
    return year


@lru_cache(maxsize=512)
def _year_starts(year: int) -> int:
    return to_us(datetime(year, 1, 1, tzinfo=UTC))


def _offsets(zone: str, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """[start, end) cut where the zone's UTC offset changes: (since, until, offset in microseconds)."""
    since, tz = start, ZoneInfo(zone)
    offset = _offset(tz, start)
    step = DAY // 4
    probe = start
    while probe < end:
        following = min(probe + step, end)
        new = _offset(tz, following)
        if new != offset:
            change = _change(tz, probe, following, offset)
            if change < end:
                yield since, change, offset
                since, offset = change, new
        probe = following
    yield since, end, offset


def _change(tz: ZoneInfo, low: int, high: int, offset: int) -> int:
    """The first instant in (low, high] that has another offset; zones change on whole seconds."""
    low, high = low // SECOND, -(-high // SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(tz, middle * SECOND) == offset:
            low = middle
        else:
            high = middle
    return high * SECOND


def _offset(tz: ZoneInfo, us: int) -> int:
    offset = from_us(us).astimezone(tz).utcoffset()
    assert offset is not None, "a zone always has an offset"
    return offset // _US


# --- from the policy ---------------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def calendar(spec: Spec) -> WorkingCalendar:
    """The shared calendar of a spec."""
    return WorkingCalendar(spec)


def calendar_for(release: Release, terms: Terms, priority: Priority) -> WorkingCalendar:
    """The calendar in which the SLA clock of this priority runs under these terms."""
    reaches = release.on_call.asia_pacific or not terms.asia_pacific
    always = release.around_the_clock(terms.plan, priority) and reaches
    return _calendar(release, terms, "always" if always else release.plans[terms.plan].hours)


def escalation_calendar(release: Release, terms: Terms) -> WorkingCalendar:
    """The calendar of the escalation matrix: the plan's hours, never 24x7."""
    return _calendar(release, terms, release.plans[terms.plan].hours)


def base_calendar(release: Release, terms: Terms) -> WorkingCalendar:
    """Base hours: working days without public holidays; day targets count in it."""
    return _calendar(release, terms, "base")


def _calendar(release: Release, terms: Terms, cover: Cover) -> WorkingCalendar:
    site = (terms.zone, terms.country, terms.region, terms.closing_days)
    return _found(release.theatres[terms.theatre], release.holidays.closing_days, site, cover)


Site = tuple[str, str, str | None, tuple[date, ...]]
"""Zone, country, region, closing days."""


@lru_cache(maxsize=4096)
def _found(theatre: Theatre, closing: Closing, site: Site, cover: Cover) -> WorkingCalendar:
    """Every look at a clock asks for its calendar several times: spares building and hashing its spec."""
    return calendar(_spec(theatre, closing, site, cover))


def spec_for(release: Release, terms: Terms, cover: Cover) -> Spec:
    """What the theatre's hours come to for one kind of cover."""
    site = (terms.zone, terms.country, terms.region, terms.closing_days)
    return _spec(release.theatres[terms.theatre], release.holidays.closing_days, site, cover)


def _spec(theatre: Theatre, closing: Closing, site: Site, cover: Cover) -> Spec:
    zone, country, region, closing_days = site
    extended = cover == "extended"
    hours, special = parse_hours(theatre.hours), parse_hours(theatre.special_hours)

    def windows(name: str) -> Windows:
        if name in theatre.working_days:
            return hours
        return special if extended and name in theatre.special_days else ()

    return Spec(
        zone=zone,
        cover=cover,
        weekdays=tuple(windows(name) for name in WEEKDAYS),
        holiday=special if extended else (),
        country=country,
        region=region,
        closing_days=closing_days,
        closing=closing,
        specials=tuple(WEEKDAYS.index(name) for name in theatre.special_days) if extended else (),
    )
