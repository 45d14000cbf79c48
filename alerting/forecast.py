"""When a series will reach a limit: robust, cautious, pure.

    points (15 min steps) -> the shape of their past -> reached in likely, at the latest so many seconds

Two looks at the same past; either may speak:

    days     the worst value of each of the last days         steady growth
    hours    the worst value of each step of the last hours   something that runs away now

The slope is Theil and Sen's (the median of all pairs' slopes), with its 90 % interval after Kendall; what
counts is the weaker end of the interval. A saw-tooth (backups that are deleted, logs that rotate) falls
steeply and comes back: so a trend counts only on new ground, beyond the worst of the past by more than half
of the largest recovery that the past has seen, and only if it makes as much by itself. A step (a restore, a
copy) is taken out of the newest hours first. With less than two days of past nothing is said, and what comes
and goes by the week must have been seen once. Times are seconds, values the metric's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, median

import msgspec

STEP_S = 900.0
"""Length of the steps that the past is read in, seconds."""
PAST_S = 15 * 86_400.0
"""How far back it is read: two weekly cycles and a day."""
FAR_S = 3650 * 86_400.0
"""What stands for 'not in sight'."""
_DAY_S = 86_400.0
_HOURS_S = 6 * 3600.0
_DAYS = 7
_LEAST_DAYS = 4
_PAST_LEAST_S = 2 * _DAY_S
"""Of past before the hours looked at: daily comings and goings have then been seen."""
_LEAST_STEPS = 12
_STEP_LASTS = 4
"""Steps of the past that a single large fall may take: an hour."""
_STEEP = 3
"""So many times as steep as the rest is a step."""
_Z = 1.645
"""Two-sided 90 %."""

Point = tuple[float, float]
"""(time in seconds, value)."""


class Foresight(msgspec.Struct, frozen=True):
    """When a limit will be reached, in seconds from the newest point; ``FAR_S`` = not in sight."""

    likely_s: float
    latest_s: float
    """With the weaker end of the slope's interval: what rules are held against."""


NOTHING = Foresight(FAR_S, FAR_S)


def foresee(points: Sequence[Point], limit: float) -> Foresight:
    """When the series will reach ``limit``, from points in time order (one per step, the worst of each)."""
    if not points:
        return NOTHING
    rising = points[-1][1] < limit
    left = [(at, value if not rising else -value) for at, value in points]
    return _falling(left, limit if not rising else -limit)


def _falling(points: Sequence[Point], limit: float) -> Foresight:
    now = points[-1][0]
    if points[-1][1] <= limit:
        return Foresight(0.0, 0.0)
    days = _reach(points, _worst_of_days(points, now), _DAY_S, _LEAST_DAYS, limit)
    newest = without_step([p for p in points if p[0] > now - _HOURS_S])
    hours = _reach(points, newest, _HOURS_S, _LEAST_STEPS, limit)
    return min(days, hours, key=lambda f: f.latest_s)


def _worst_of_days(points: Sequence[Point], now: float) -> list[Point]:
    """The lowest value of each whole day back from now, at the day's middle."""
    days: dict[int, float] = {}
    for at, value in points:
        days.setdefault(int((now - at) // _DAY_S), value)
        days[int((now - at) // _DAY_S)] = min(days[int((now - at) // _DAY_S)], value)
    whole = [day for day in days if day < _DAYS and now - (day + 1) * _DAY_S >= points[0][0] - STEP_S]
    return [(now - (day + 0.5) * _DAY_S, days[day]) for day in sorted(whole, reverse=True)]


def _reach(
    points: Sequence[Point], trend: Sequence[Point], recent_s: float, least: int, limit: float
) -> Foresight:
    """One look: the trend's points, judged against all that is older than ``recent_s``."""
    now = points[-1][0]
    past = [value for at, value in points if at <= now - recent_s]
    long_enough = past and now - recent_s - points[0][0] >= _PAST_LEAST_S
    if len(trend) < least or not long_enough or not _new_ground(points, past):
        return NOTHING
    _, likely, weakest = slopes(trend)
    if not _outgrows(trend, weakest, past):
        return NOTHING
    level = _level(points)
    return Foresight(_until(level - limit, likely), _until(level - limit, weakest))


def _outgrows(trend: Sequence[Point], weakest: float, past: Sequence[float]) -> bool:
    """Whether the trend itself, not a step beside it, makes more than the past's coming and going."""
    return -weakest * (trend[-1][0] - trend[0][0]) > recovery(past) / 2


def _new_ground(points: Sequence[Point], past: Sequence[float]) -> bool:
    """Whether it is now lower than it ever was, by more than the past's coming and going explains."""
    return min(past) - _level(points) > recovery(past) / 2


def _level(points: Sequence[Point]) -> float:
    """Where the series stands: the middle of its newest hour."""
    return median(value for at, value in points if at > points[-1][0] - 4 * STEP_S)


def without_step(points: Sequence[Point]) -> list[Point]:
    """The same without its steepest fall of an hour, if that is far steeper than the rest, which goes on
    there instead: a restore or a copy is no trend."""
    rates = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(points)]
    if len(rates) <= 2 * _STEP_LASTS:
        return list(points)
    starts = range(len(rates) - _STEP_LASTS + 1)
    first = min(starts, key=lambda start: sum(rates[start : start + _STEP_LASTS]))
    rest = fmean(rates[:first] + rates[first + _STEP_LASTS :])  # the noise between two steps cancels out
    if sum(rates[first : first + _STEP_LASTS]) > _STEP_LASTS * _STEEP * min(rest, 0.0):
        return list(points)
    rates[first : first + _STEP_LASTS] = [max(rate, rest) for rate in rates[first : first + _STEP_LASTS]]
    found = [points[0]]
    for (before, _), (at, _), rate in zip(points, points[1:], rates, strict=False):
        found.append((at, found[-1][1] + rate * (at - before)))
    return found


def recovery(values: Sequence[float]) -> float:
    """The largest rise from a low to a later value."""
    low, largest = math.inf, 0.0
    for value in values:
        low = min(low, value)
        largest = max(largest, value - low)
    return largest


def slopes(points: Sequence[Point]) -> tuple[float, float, float]:
    """Theil and Sen's slope per second with its 90 % interval: (lowest, median, highest)."""
    found = sorted((b[1] - a[1]) / (b[0] - a[0]) for i, a in enumerate(points) for b in points[i + 1 :])
    n, pairs = len(points), len(found)
    width = _Z * math.sqrt(n * (n - 1) * (2 * n + 5) / 18)
    low = max(0, math.floor((pairs - width) / 2))
    high = min(pairs - 1, math.ceil((pairs + width) / 2))
    return found[low], median(found), found[high]


def _until(room: float, slope: float) -> float:
    """Seconds until a fall of ``room`` at ``slope`` per second."""
    return min(room / -slope, FAR_S) if slope < 0 else FAR_S


def stepped(values: Sequence[Point], *, rising: bool = False) -> list[Point]:
    """The worst value of each step, at the step's newest value's time."""
    worst = max if rising else min
    steps: dict[int, Point] = {}
    for at, value in values:
        before = steps.get(int(at // STEP_S))
        steps[int(at // STEP_S)] = (at, value if before is None else worst(before[1], value))
    return [steps[number] for number in sorted(steps)]
