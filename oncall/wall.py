"""From wall clocks to instants: the one place that knows what daylight saving does to a rota.

The rule, for hand-overs, windows and absences alike: a wall time ``w`` stands for **the first instant at
which the zone's clock, having run without being held, reads ``w`` or later**. So

- in a gap (clocks jump over ``w``) it is the instant of the jump,
- in a fold (clocks read ``w`` twice) it is the first of the two readings,
- everywhere else it is the ordinary conversion.

That map never runs backwards, hence two shifts that touch on the wall touch in time: no jump of the
clocks, be it of 30 minutes or of a day, can open a hole between them or lay one over the other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Annotated
from zoneinfo import ZoneInfo, available_timezones

import msgspec

MINUTES_PER_DAY = 24 * 60
MINUTES_PER_WEEK = 7 * MINUTES_PER_DAY
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""Rotas are computed from here ..."""
LATEST = datetime(2200, 1, 1, tzinfo=UTC)
"""... to here; times outside are refused at the door, so that no arithmetic can leave the calendar."""

Span = tuple[datetime, datetime]
"""Half-open stretch of time [start, end), aware UTC."""


class Window(msgspec.Struct, frozen=True, order=True):
    """A stretch of the week that comes back every week, on the wall clock of whoever owns it."""

    opens: Annotated[int, msgspec.Meta(ge=0, lt=MINUTES_PER_WEEK)]
    """Minute of the week at which it opens; 0 is Monday 00:00."""
    length: Annotated[int, msgspec.Meta(gt=0, le=MINUTES_PER_WEEK)]
    """Minutes on the wall from opening to closing; it may run over midnight and over Sunday."""


ALWAYS = (Window(0, MINUTES_PER_WEEK),)
"""Every minute of the week."""


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """The IANA zone names that this machine knows."""
    return frozenset(available_timezones())


@lru_cache(maxsize=8192)
def instant(wall: datetime, zone: str) -> datetime:
    """The instant (aware UTC) that ``wall`` (naive, on ``zone``'s clock) stands for; see the module."""
    tz = ZoneInfo(zone)
    first, second = wall.replace(tzinfo=tz, fold=0), wall.replace(tzinfo=tz, fold=1)
    before, after = first.utcoffset(), second.utcoffset()
    assert before is not None
    assert after is not None
    if before >= after:  # ordinary, or a fold: the first reading
        return first.astimezone(UTC)
    return _jump(second.astimezone(UTC), first.astimezone(UTC), tz)


def _jump(low: datetime, high: datetime, tz: ZoneInfo) -> datetime:
    """The instant between ``low`` (old offset) and ``high`` (new offset) at which the clocks jump."""
    old = low.astimezone(tz).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + timedelta(seconds=int((high - low).total_seconds()) // 2)
        if middle.astimezone(tz).utcoffset() == old:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def reading(at: datetime, zone: str) -> datetime:
    """What ``zone``'s clock shows at ``at`` (naive)."""
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None, fold=0)


def openings(windows: Iterable[Window], zone: str, start: datetime, end: datetime) -> list[Span]:
    """When ``windows`` are open within [start, end): sorted, disjoint, merged where they touch."""
    spans = (span for window in windows for span in _weeks(window, zone, start, end))
    return merged(clipped(spans, start, end))


def is_open(windows: Iterable[Window], zone: str, at: datetime) -> bool:
    """Whether one of ``windows`` is open at ``at``."""
    return any(a <= at < b for window in windows for a, b in _weeks(window, zone, at, at))


def _weeks(window: Window, zone: str, start: datetime, end: datetime) -> Iterator[Span]:
    """The window's occurrences that can touch [start, end], with a week and a day to spare."""
    margin = timedelta(days=8, minutes=window.length)
    first = reading(start, zone) - margin
    monday = datetime.combine(first.date() - timedelta(days=first.weekday()), time())
    last = reading(end, zone) + timedelta(days=2)
    opens, length = timedelta(minutes=window.opens), timedelta(minutes=window.length)
    while monday <= last:
        yield instant(monday + opens, zone), instant(monday + opens + length, zone)
        monday += timedelta(days=7)


def clipped(spans: Iterable[Span], start: datetime, end: datetime) -> list[Span]:
    """``spans`` within [start, end); what is empty is left out."""
    cut = ((max(a, start), min(b, end)) for a, b in spans)
    return [(a, b) for a, b in cut if a < b]


def merged(spans: Iterable[Span]) -> list[Span]:
    """The same time as sorted, disjoint spans."""
    result: list[Span] = []
    for a, b in sorted(spans):
        if result and a <= result[-1][1]:
            result[-1] = (result[-1][0], max(b, result[-1][1]))
        else:
            result.append((a, b))
    return result


def within(spans: Sequence[Span], at: datetime) -> bool:
    """Whether sorted, disjoint ``spans`` hold ``at``."""
    index = bisect_right(spans, at, key=lambda span: span[1])
    return index < len(spans) and spans[index][0] <= at


def without(spans: Iterable[Span], holes: Iterable[Span]) -> list[Span]:
    """The time in ``spans`` that is in none of ``holes``: sorted, disjoint."""
    result: list[Span] = []
    cuts = merged(holes)
    for a, b in merged(spans):
        at = a
        for hole_start, hole_end in cuts:
            if hole_end <= at:
                continue
            if hole_start >= b:
                break
            if hole_start > at:
                result.append((at, hole_start))
            at = max(at, hole_end)
        if at < b:
            result.append((at, b))
    return result
