"""Looking ahead on recorded series, and on shapes as volumes and databases show them; then the whole way:
frames, rollups, forecast, alert."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from alerting.forecast import STEP_S, Foresight, Point, foresee, stepped, without_step
from collector.rolling import roll_up
from collector.settings import CollectorSettings
from storage.pool import Pool
from tests.alerting.kit import START, history, seed
from tests.alerting.test_ahead import stored, told

DAY = 86_400.0
HOUR = 3600.0
A_SECOND = 600.0
"""What a recorded second stands for."""
RECORDED = Path(__file__).parent / "recorded"
Shape = Callable[[float, random.Random], float]


def recorded(name: str) -> list[Point]:
    """A recording as (seconds, bytes)."""
    lines = (RECORDED / f"{name}.csv").read_text().splitlines()[1:]
    return [(int(second) * A_SECOND, float(free)) for second, free in (line.split(",") for line in lines)]


def looks(
    points: list[Point], limit: float, since: float, every: int = 3
) -> Iterator[tuple[float, Foresight]]:
    """What one would have been told at each moment since a time: (moment, foresight)."""
    for index in range(1, len(points), every):
        if points[index][0] >= since:
            yield points[index][0], foresee(stepped(points[: index + 1]), limit)


@pytest.mark.parametrize("name", ["rotation", "backup", "step"])
@pytest.mark.parametrize("margin", [0.05, 0.3])
def test_what_comes_and_goes_never_cries_wolf_on_recorded_volumes(name: str, margin: float) -> None:
    """Log rotation, nightly and weekly backups, a restore of a large file: the end of the volume lies
    below the lowest ever seen by a twentieth (or a third) of all that it moved; at no moment of eight days
    is it said to be a day away.

    Broken twins: without ``without_step`` the restore cries wolf for two hours; without ``_new_ground`` all
    three do."""
    points = recorded(name)
    values = [free for _, free in points]
    limit = min(values) - margin * (max(values) - min(values))
    cries = [at / DAY for at, found in looks(points, limit, 2 * DAY) if found.latest_s < DAY]
    assert cries == []


def test_recorded_growth_is_told_in_time_and_its_uncertainty_holds_the_truth() -> None:
    """A database that grows for good, to the level that it reached on the tenth day: told between 18 and 30
    hours ahead, never before that; from the fifth day on the likely time is right within a third, and the
    truth lies before the latest time in nearly all looks."""
    points = recorded("growth")
    limit = points[-1][1]
    end = next(at for at, free in points if free <= limit)
    found = list(looks(points[:-40], limit, 5 * DAY))
    first = next(at for at, seen in found if seen.latest_s < DAY)
    assert 18 <= (end - first) / HOUR <= 30
    for at, seen in found:
        if at < end - 6 * HOUR:
            assert abs(seen.likely_s - (end - at)) < (end - at) / 3 + HOUR
    within = [seen.latest_s >= 0.95 * (end - at) for at, seen in found]
    assert sum(within) > 0.9 * len(within)


def test_a_recorded_log_that_runs_away_is_told_hours_ahead() -> None:
    """Debugging left on, six hours before the recording ends: told while at least three hours are left, by
    the pace at which it really fell."""
    points = recorded("runaway")
    begun = points[-1][0] - 6 * HOUR
    pace = (points[-30][1] - points[-1][1]) / (points[-1][0] - points[-30][0])
    limit = points[-1][1] - 2 * HOUR * pace
    end = points[-1][0] + 2 * HOUR
    cries = [at for at, found in looks(points, limit, 2 * DAY, every=1) if found.latest_s < DAY]
    assert cries
    assert min(cries) > begun
    assert end - min(cries) > 3 * HOUR


def saw(period_h: float, depth: float) -> Shape:
    return lambda at, _: 1.0 - depth * ((at / HOUR / period_h) % 1.0)


def weekly(at: float, _: random.Random) -> float:
    """Full backup on Sundays, increments on the other days, all gone on Sunday."""
    day = (at / DAY) % 7
    return 1.0 - (0.3 if day < 7 else 0) - 0.08 * math.floor(day)


def stairs(at: float, rand: random.Random) -> float:
    """A release installed on the eleventh day, a restore on the thirteenth; else it trembles."""
    return 1.0 - 0.2 * (at > -5 * DAY) - 0.25 * (at > -2 * DAY) - rand.uniform(0, 0.01)


def copied(at: float, _: random.Random) -> float:
    """Fifty minutes of copying two hours ago."""
    return 1.0 - 0.5 * min(max((at + 2 * HOUR) / (50 * 60), 0.0), 1.0)


def office(at: float, rand: random.Random) -> float:
    """Temporary files of working days, cleared at night."""
    hour, day = (at / HOUR) % 24, math.floor(at / DAY) % 7
    return (
        1.0 - 0.3 * (max(0.0, min(hour, 18) - 8) / 10 if day < 5 and hour < 20 else 0) - rand.uniform(0, 0.02)
    )


SHAPES: dict[str, Shape] = {
    "hourly log rotation": saw(1, 0.2),
    "daily log rotation": saw(24, 0.6),
    "three-day retention": saw(72, 0.5),
    "weekly backups": weekly,
    "releases and restores": stairs,
    "a copy": copied,
    "office hours": office,
    "noise": lambda _, rand: 1.0 - abs(rand.gauss(0, 0.1)),
    "rare spikes": lambda _, rand: 1.0 - (0.5 if rand.random() < 0.01 else 0.0),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_healthy_volumes_never_cry_wolf(name: str) -> None:
    """Fifteen days of each, with an end a tenth of its depth below its lowest, looked at every three hours
    of the last three days: never a day away."""
    rand = random.Random(name)
    points = [(n * STEP_S, SHAPES[name](n * STEP_S, rand)) for n in range(-15 * 96, 1)]
    values = [free for _, free in points]
    limit = min(values) - 0.1 * (max(values) - min(values))
    told = [foresee(points[: len(points) - back], limit).latest_s for back in range(0, 3 * 96, 12)]
    assert min(told) > DAY


def test_a_step_is_taken_out_and_a_trend_is_not() -> None:
    """Twenty-four quarters of an hour: the drop goes, the slope stays."""
    flat = [(n * STEP_S, 10.0 - 5.0 * (n > 12)) for n in range(24)]
    assert [value for _, value in without_step(flat)] == [10.0] * 24
    line = [(n * STEP_S, 10.0 - n) for n in range(24)]
    assert without_step(line) == line


async def test_growth_in_rolled_up_frames_is_told_with_its_uncertainty(pool: Pool) -> None:
    """Nine days of a 2 TB volume in the database, rolled up by the worker; the raw frames are gone but the
    newest hours. 60 GB are left, 100 GB a day go: a P2 whose reason tells the likely and the latest time."""
    (scope,) = await seed(pool)

    def free(day: float) -> float:
        return 60e9 - 100e9 * day

    await stored(pool, scope, 9, free)
    await _rolled(pool)
    assert await told(pool, scope, free) == ["2 pending P2", "6 firing P2"]
    ((_, steps),) = await history(pool)
    assert "system.filesystem.free reaches its limit likely in" in steps[-1].reason
    assert "at the latest (90 % sure) in" in steps[-1].reason


async def test_nightly_backups_in_rolled_up_frames_are_not_told(pool: Pool) -> None:
    """The same room, of which a backup takes 100 GB in the course of each day: nothing is said."""
    (scope,) = await seed(pool)

    def free(day: float) -> float:
        return 60e9 - 100e9 * (day % 1.0) + 90e9 * (day % 1.0 > 0.5)

    await stored(pool, scope, 9, free)
    await _rolled(pool)
    assert await told(pool, scope, free) == []


async def _rolled(pool: Pool) -> None:
    """The rollup worker's own way over all frames; then all but the newest six hours of these are deleted."""
    async with pool.connection() as conn:
        for table in ("rollup_five", "rollup_hour"):
            await conn.execute(f"CREATE TABLE {table}_of_test PARTITION OF {table} DEFAULT".encode())
        await conn.execute(
            "INSERT INTO host_state (tenant_id, host_id, last_seen)"
            " SELECT tenant_id, host_id, %s FROM host ON CONFLICT DO NOTHING",
            (START,),
        )
    await roll_up(pool, CollectorSettings(), START, asyncio.Event())
    async with pool.connection() as conn:
        gone = await conn.execute("DELETE FROM frame WHERE time < %s", (START - timedelta(hours=6),))
        assert gone.rowcount > 700
        row = await (await conn.execute("SELECT count(*) FROM rollup_five")).fetchone()
    assert row is not None
    assert row[0] > 800
