"""Charts: bounded points, holes shown as holes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from collector.series import Point, merge, step_for, with_holes

START = datetime(2026, 11, 23, tzinfo=UTC)
S = timedelta(seconds=1)


def point(second: float, value: float = 1.0, count: int = 1) -> Point:
    return Point(START + second * S, value, value, value, count)


def test_a_hole_is_marked_where_more_than_three_intervals_are_missing() -> None:
    """10 s data: 30 s apart is no hole, 40 s apart is one, marked right after the last value."""
    line = with_holes([point(0), point(30), point(70)], interval=10 * S, step=1 * S)
    assert [(p.at - START).seconds for p in line] == [0, 30, 40, 70]
    assert [p.count for p in line] == [1, 1, 0, 1]
    assert line[2].mean is None


def test_wide_steps_are_no_holes() -> None:
    """A day in a hundred points has steps of a quarter of an hour: neighbours belong together."""
    line = with_holes([point(0), point(864), point(1728)], interval=10 * S, step=864 * S)
    assert len(line) == 3


def test_steps_of_two_layouts_are_combined() -> None:
    """A layout change in the middle of a step: one point, the mean weighted by count."""
    joined = merge([[Point(START, 1, 2, 3, 3)], [Point(START, 0, 6, 9, 1)]])
    assert joined == [Point(START, 0, 3, 9, 4)]


@given(st.lists(st.integers(0, 5000), unique=True, max_size=60), st.integers(1, 60), st.integers(1, 300))
def test_holes_take_nothing_away(seconds: list[int], interval: int, step: int) -> None:
    """All values stay, in order of time, and no two neighbours of a hole are closer than it claims."""
    points = [point(second) for second in sorted(seconds)]
    line = with_holes(points, interval=interval * S, step=step * S)
    assert [p for p in line if p.count] == points
    assert [p.at for p in line] == sorted(p.at for p in line)
    assert len(line) <= 2 * len(points)


@given(st.integers(1, 10**7), st.integers(1, 5000))
def test_a_range_has_no_more_steps_than_asked_for(seconds: int, points: int) -> None:
    """Step times points covers the range."""
    end = START + seconds * S
    assert step_for(START, end, points) * points >= end - START - points * timedelta(microseconds=1)
