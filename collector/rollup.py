"""Rollups: what a bucket of frames comes to, and from which of them a chart is read. Pure.

    raw frames --summarise--> 5 minutes --combine--> 1 hour

A bucket is always worked out anew from all that lies in it, never added to: doing it twice changes nothing,
and late data needs no other way than the first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

FIVE = timedelta(minutes=5)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
SETTLED = timedelta(minutes=3)
"""A bucket is rolled up this long after its end."""
LATE = timedelta(minutes=1)
"""What is committed later than this after a bucket's end marks it. In between lie two minutes, for commits
under way and for clocks that differ between machines."""
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)

Column = Sequence[float | None]


class Summary(NamedTuple):
    """A bucket of one layout; each list has one entry per series."""

    mins: list[float | None]
    maxs: list[float | None]
    sums: list[float]
    counts: list[int]
    lasts: list[float | None]


class Progress(NamedTuple):
    """Which buckets of one span are there."""

    since: datetime
    until: datetime


class Piece(NamedTuple):
    """A part of a chart's range, and what it is read from."""

    span: timedelta
    """FIVE, HOUR, or zero: raw frames."""
    start: datetime
    end: datetime


def floor(at: datetime, span: timedelta) -> datetime:
    """Start of the bucket that ``at`` lies in."""
    return at - (at - _EPOCH) % span


def summarise(frames: Iterable[Column]) -> Summary:
    """What frames of one layout, in time order, come to; at least one."""
    found = [
        _series([value for value in column if value is not None]) for column in zip(*frames, strict=True)
    ]
    mins, maxs, sums, counts, lasts = zip(*found, strict=True)
    return Summary(list(mins), list(maxs), list(sums), list(counts), list(lasts))


def _series(values: list[float]) -> tuple[float | None, float | None, float, int, float | None]:
    if not values:
        return None, None, 0.0, 0, None
    return min(values), max(values), sum(values), len(values), values[-1]


def combine(parts: Sequence[Summary]) -> Summary:
    """What buckets of one layout, in time order, come to together; at least one."""
    return Summary(
        [_pick(min, column) for column in zip(*(part.mins for part in parts), strict=True)],
        [_pick(max, column) for column in zip(*(part.maxs for part in parts), strict=True)],
        [sum(column) for column in zip(*(part.sums for part in parts), strict=True)],
        [sum(column) for column in zip(*(part.counts for part in parts), strict=True)],
        [_newest(column) for column in zip(*(part.lasts for part in parts), strict=True)],
    )


def _pick(best: Callable[[list[float]], float], column: Column) -> float | None:
    values = [value for value in column if value is not None]
    return best(values) if values else None


def _newest(column: Column) -> float | None:
    return next((value for value in reversed(column) if value is not None), None)


def late_before(now: datetime) -> datetime:
    """Frames older than this, committed at ``now``, fall into buckets that may be rolled up already."""
    return floor(now - LATE, FIVE)


def due_until(now: datetime) -> datetime:
    """End of the newest 5-minute bucket that has settled."""
    return floor(now - SETTLED, FIVE)


def span_for(start: datetime, end: datetime, points: int) -> timedelta:
    """What a chart of ``points`` steps is read from: buckets about as long as a step; zero: frames."""
    step = (end - start) / points
    if step >= HOUR / 2:
        return HOUR
    return FIVE if step >= FIVE / 2 else timedelta(0)


def finest(start: datetime, now: datetime, frames: timedelta, fives: timedelta) -> timedelta:
    """The finest of what is still there from ``start`` on. ``frames``, ``fives``: kept for so long, by whole
    days."""
    if start >= floor(now - frames, DAY):
        return timedelta(0)
    return FIVE if start >= floor(now - fives, DAY) else HOUR


def pieces(
    start: datetime, end: datetime, span: timedelta, progress: Mapping[timedelta, Progress]
) -> Iterator[Piece]:
    """``[start, end)`` from buckets of ``span`` as far as they are there, around them from finer ones."""
    if not span:
        yield Piece(span, start, end)
        return
    finer = FIVE if span == HOUR else timedelta(0)
    there = progress.get(span, Progress(end, end))
    first, last = max(floor(start, span), there.since), min(end, there.until)
    if first >= last:
        yield from pieces(start, end, finer, progress)
        return
    if start < first:
        yield from pieces(start, first, finer, progress)
    yield Piece(span, first, last)
    if last < end:
        yield from pieces(last, end, finer, progress)


def aligned(step: timedelta, span: timedelta) -> timedelta:
    """``step`` in whole buckets, rounded up: else some steps of a chart would hold one bucket more."""
    return -(-step // span) * span if span else step
