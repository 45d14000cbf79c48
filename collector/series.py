"""A series as a chart wants it: bounded points, and holes where nothing was measured.

Pure. A point sums up one step of time; steps without any value make no point, and where points lie further
apart than the data's own interval explains, an empty point marks the hole: no line is drawn across it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from wire.layout import Series

Identity = tuple[str, tuple[tuple[str, str], ...]]
"""A series' metric and its attributes, sorted: what makes it the same one in two layouts."""
GAP_INTERVALS = 3
"""So many intervals without a value are a hole (the same number restarts an alert's timers)."""


def identity(series: Series) -> Identity:
    """What makes a series the same one in two layouts."""
    return series.metric, tuple(sorted(series.attributes.items()))


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series; all values None = a hole begins here."""

    at: datetime
    """Start of the step."""
    min: float | None
    mean: float | None
    max: float | None
    count: int
    """Values in the step; 0 = a hole."""


def step_for(start: datetime, end: datetime, points: int) -> timedelta:
    """The length of a step, so that the range has at most ``points`` of them; at least one millisecond."""
    return max((end - start) / points, timedelta(milliseconds=1))


def merge(parts: Iterable[Sequence[Point]]) -> list[Point]:
    """One series out of the parts it has in several layouts, each in time order; steps that occur in several
    are combined."""
    found = [part for part in parts if part]
    if len(found) == 1:
        return list(found[0])
    steps: dict[datetime, Point] = {}
    for point in (point for part in found for point in part):
        other = steps.get(point.at)
        steps[point.at] = point if other is None else _combine(other, point)
    return [steps[at] for at in sorted(steps)]


def _combine(a: Point, b: Point) -> Point:
    if a.mean is None or b.mean is None:
        return b if a.mean is None else a
    count = a.count + b.count
    mean = a.mean * (a.count / count) + b.mean * (b.count / count)
    lows = [low for low in (a.min, b.min) if low is not None]
    highs = [high for high in (a.max, b.max) if high is not None]
    return Point(a.at, min(lows), mean, max(highs), count)


def with_holes(points: Sequence[Point], *, interval: timedelta, step: timedelta) -> list[Point]:
    """``points`` with an empty point one step after each one that is followed by a hole."""
    longest = max(interval * GAP_INTERVALS, step * 2)
    result = list(points)
    holes = [n for n, (one, two) in enumerate(pairwise(points), start=1) if two.at - one.at > longest]
    for n in reversed(holes):
        result.insert(n, Point(points[n - 1].at + max(step, interval), None, None, None, 0))
    return result


def matches(wanted: dict[str, str], attributes: dict[str, str]) -> bool:
    """True when a series has all the wanted attributes (it may have more)."""
    return all(attributes.get(name) == value for name, value in wanted.items())
