"""Looking ahead: steady growth is foreseen, what comes and goes is not taken for it."""

from __future__ import annotations

import math
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.forecast import FAR_S, NOTHING, STEP_S, Point, foresee, slopes, stepped

DAY = 86_400.0
HOUR = 3600.0
QUICK = settings(max_examples=30, deadline=None)


def series(days: float, value: object) -> list[Point]:
    """A point a step, newest at 0 s, of ``value(seconds)``."""
    count = int(days * DAY / STEP_S)
    return [(at, value(at)) for at in ((n - count) * STEP_S for n in range(count + 1))]  # type: ignore[operator]


@QUICK
@given(
    st.integers(0, 2**32),
    st.floats(3, 15),
    st.floats(0.2, 5),
    st.floats(0, 0.3),
)
def test_steady_growth_is_foreseen(seed: int, days: float, left_days: float, noise: float) -> None:
    """A volume that loses the same amount every day, with noise of up to 30 % of an hour's loss: the likely
    time is within a quarter of the truth, and the latest is not before the likely one."""
    rand = random.Random(seed)
    points = series(days, lambda at: left_days - at / DAY + rand.uniform(-noise, noise) / 24)
    found = foresee(points, 0.0)
    assert abs(found.likely_s - left_days * DAY) < 0.25 * left_days * DAY
    assert found.latest_s >= found.likely_s


@QUICK
@given(
    st.integers(0, 2**32),
    st.floats(1, 168),
    st.floats(0.05, 0.98),
    st.floats(0.05, 2.0),
    st.floats(0, 0.1),
    st.floats(0, 1),
)
def test_a_saw_tooth_never_cries_wolf(
    seed: int, period_h: float, falling: float, above: float, noise: float, phase: float
) -> None:
    """Backups that are deleted, logs that rotate: whatever the period (up to a week), the share of it in
    which it falls, how close to the end it comes and when one looks, nothing is foreseen within a day."""
    rand = random.Random(seed)

    def value(at: float) -> float:
        turn = (at / HOUR / period_h + phase) % 1.0
        share = turn / falling if turn < falling else (1 - turn) / (1 - falling)
        return above + 1.0 - share + rand.uniform(-noise, noise) * above

    assert foresee(series(15, value), 0.0).latest_s > DAY


@QUICK
@given(
    st.integers(0, 2**32), st.floats(1, 24), st.floats(0.05, 0.98), st.floats(0.05, 2.0), st.floats(2.25, 15)
)
def test_daily_saws_need_little_history(
    seed: int, period_h: float, falling: float, above: float, days: float
) -> None:
    """What comes and goes by the day or faster is known for what it is as soon as anything is said at all."""
    rand = random.Random(seed)
    phase = rand.random()

    def value(at: float) -> float:
        turn = (at / HOUR / period_h + phase) % 1.0
        return above + 1.0 - (turn / falling if turn < falling else (1 - turn) / (1 - falling))

    assert foresee(series(days, value), 0.0).latest_s > DAY


@QUICK
@given(st.integers(0, 2**32), st.floats(0.01, 1.0), st.floats(2.25, 15))
def test_noise_never_cries_wolf(seed: int, noise: float, days: float) -> None:
    """A level that only trembles stays out of sight, however little is known of its past."""
    rand = random.Random(seed)
    points = series(days, lambda _: 1.0 + noise + rand.gauss(0, noise / 3))
    assert foresee(points, 0.0).latest_s > DAY


@QUICK
@given(st.integers(0, 2**32), st.floats(0, 1), st.floats(4, 10))
def test_a_run_away_log_is_foreseen_within_hours(seed: int, phase: float, left_h: float) -> None:
    """Daily backups of a tenth of the room as ever, and since six hours something that eats it up."""
    rand = random.Random(seed)

    def value(at: float) -> float:
        daily = 0.1 * ((at / DAY + phase) % 1.0)
        eaten = max(0.0, at / HOUR + 6) / (6 + left_h)
        return 1.0 - eaten - daily + 0.001 * rand.random()

    found = foresee(series(10, value), 0.0)
    assert found.latest_s < DAY


def test_a_rising_series_is_the_mirror_of_a_falling_one() -> None:
    """A share that grows to 100 % is foreseen like an amount that falls to nothing."""
    up = foresee(series(8, lambda at: 0.9 + 0.1 * at / DAY), 1.0)
    down = foresee(series(8, lambda at: 0.1 - 0.1 * at / DAY), 0.0)
    assert math.isclose(up.latest_s, down.latest_s, rel_tol=1e-6)
    assert math.isclose(up.likely_s, DAY, rel_tol=0.02)


def test_with_little_history_nothing_is_said() -> None:
    """Less than two days of past, none at all, or a limit already reached."""
    assert foresee(series(2, lambda at: 0.01 - at / DAY), 0.0) == NOTHING
    assert foresee([], 0.0) == NOTHING
    assert foresee([(0.0, 0.0)], 0.0).latest_s == 0.0
    assert foresee([(0.0, 5.0)], 0.0).latest_s == FAR_S


def test_slopes_are_those_of_the_middle_pair() -> None:
    """One wild point among ten does not move the slope."""
    points = [(float(n), 2.0 * n) for n in range(10)]
    points[4] = (4.0, 500.0)
    low, middle, high = slopes(points)
    assert middle == 2.0
    assert low <= middle <= high


def test_steps_keep_the_worst() -> None:
    """Of each quarter of an hour the value nearest to the end."""
    assert stepped([(0.0, 3.0), (60.0, 1.0), (120.0, 2.0), (900.0, 5.0)]) == [(120.0, 1.0), (900.0, 5.0)]
    assert stepped([(0.0, 3.0), (60.0, 1.0)], rising=True) == [(60.0, 3.0)]
