"""Rollups: worked out anew from all that lies in a bucket, late data included; read as far as they reach."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from collector import upkeep
from collector.meters import Meters
from collector.rolling import noted_round, roll_up
from collector.rollup import (
    DAY,
    FIVE,
    HOUR,
    SETTLED,
    Progress,
    combine,
    finest,
    floor,
    pieces,
    span_for,
    summarise,
)
from collector.settings import CollectorSettings
from storage import jobs
from tests.collector.kit import Front, WoundClock, event, running, tuned

START = datetime(2026, 11, 23, 8, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
values = st.one_of(st.none(), st.integers(-1000, 1000).map(float))


@given(st.lists(st.lists(st.tuples(values, values), min_size=1, max_size=5), min_size=1, max_size=5))
def test_an_hour_of_parts_is_the_hour_of_their_frames(parts: list[list[tuple[float | None, float | None]]]):
    """Combining summaries gives what summarising all frames gives."""
    assert combine([summarise(part) for part in parts]) == summarise(
        [frame for part in parts for frame in part]
    )


@given(st.integers(0, 4000), st.integers(1, 4000), st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_pieces_cover_a_range_once(start: int, length: int, since: int, five: int, hour: int):
    """Whatever the progress, a chart's pieces follow each other without gap or overlap."""
    begin, end = START + start * MINUTE, START + (start + length) * MINUTE
    zero = START + since * HOUR
    progress = {FIVE: Progress(zero, zero + five * HOUR), HOUR: Progress(zero, zero + min(five, hour) * HOUR)}
    found = list(pieces(begin, end, HOUR, progress))
    assert found[0].start <= begin
    assert found[0].start > begin - HOUR
    assert found[-1].end == end
    assert all(a.end == b.start for a, b in pairwise(found))


def test_a_day_is_read_from_five_minutes_and_a_month_from_hours():
    """With the 500 points of a chart."""
    assert span_for(START, START + HOUR, 500) == timedelta(0)
    assert span_for(START, START + 24 * HOUR, 500) == FIVE
    assert span_for(START, START + 720 * HOUR, 500) == HOUR


def test_buckets_begin_on_the_clock():
    """An hour's bucket begins with the hour, for any instant in it."""
    assert floor(START + 59 * MINUTE, HOUR) == START
    assert floor(START, FIVE) == START


async def _rolled(front: Front) -> list[Any]:
    async with front.pool.connection() as conn:
        query = b"SELECT time, mins, maxs, sums, counts, lasts FROM rollup_five ORDER BY layout_id, time"
        return await (await conn.execute(query)).fetchall()


async def _host(front: Front) -> str:
    async with front.pool.connection() as conn:
        row = await (await conn.execute(b"SELECT host_id FROM host")).fetchone()
    assert row is not None
    return str(row[0])


async def _roll(front: Front) -> None:
    assert await roll_up(front.pool, tuned(frame_retention_days=1), front.clock(), asyncio.Event())


async def test_late_frames_change_their_bucket_and_its_hour(front: Front):
    """Rolled twice nothing changes; a frame that comes later is in its bucket and hour after a round."""
    agent = await front.agent()
    hour = floor(front.clock(), HOUR) - HOUR
    front.clock.now = hour + 2 * MINUTE
    await agent.send((hour + MINUTE, [0.1, 0.2]), (hour + 2 * MINUTE, [0.3, None]))
    front.clock.now = hour + 70 * MINUTE
    await agent.send((hour + 69 * MINUTE, [0.1, 0.2]))
    await _roll(front)
    before = await _rolled(front)
    assert before[0] == (hour, [0.1, 0.2], [0.3, 0.2], [0.4, 0.2], [2, 1], [0.3, 0.2])
    await _roll(front)
    assert await _rolled(front) == before
    await agent.send((hour + 3 * MINUTE, [0.9, 0.9]))
    assert await front.count("rollup_mark") == 1
    await _roll(front)
    assert await front.count("rollup_mark") == 0
    assert (await _rolled(front))[0][4] == [3, 2]
    async with front.pool.connection() as conn:
        rows = await (await conn.execute(b"SELECT time, maxs, counts, lasts FROM rollup_hour")).fetchall()
    assert rows == [(hour, [0.9, 0.9], [3, 2], [0.9, 0.9])]


async def test_a_chart_is_the_same_from_rollups_as_from_frames(front: Front):
    """Least, greatest and count of every step agree, across the end of what is rolled up."""
    agent = await front.agent()
    now = floor(front.clock(), HOUR)
    front.clock.now = now
    first = now - 6 * HOUR
    await agent.send(*[(first + n * MINUTE, [0.001 * n, 0.5]) for n in range(360)])
    query = {"host": await _host(front), "metric": "system.cpu.utilization", "points": "72"}
    query |= {"from": first.isoformat(), "to": now.isoformat()}
    key = await front.key()
    raw = (await front.http.get("/v1/series", params=query, headers=key)).json()
    await _roll(front)
    rolled = (await front.http.get("/v1/series", params=query, headers=key)).json()
    assert await front.count("rollup_five") > 60
    assert len(rolled[0]["points"]) == 72
    for name in ("at", "min", "max", "count"):
        assert [p[name] for p in rolled[0]["points"]] == [p[name] for p in raw[0]["points"]]


# ---- what is kept for how long ------------------------------------------------------------------------


async def _keep(front: Front, settings: CollectorSettings) -> None:
    await upkeep.keep_tables(front.pool, settings, front.clock(), Meters(CollectorRegistry()))


async def _hours(front: Front) -> list[Any]:
    async with front.pool.connection() as conn:
        query = b"SELECT time, maxs, counts, lasts FROM rollup_hour ORDER BY layout_id, time"
        return await (await conn.execute(query)).fetchall()


def test_what_is_not_kept_finely_is_read_from_what_is():
    """By whole days: the day that the keep ends in is still there."""
    kept = 30 * DAY, 400 * DAY
    assert finest(START - 30 * DAY, START, *kept) == timedelta(0)
    assert finest(START - 31 * DAY, START, *kept) == FIVE
    assert finest(START - 401 * DAY, START, *kept) == HOUR


async def test_an_hour_of_long_ago_is_drawn_from_its_rollups(database_url: str):
    """Its frames are gone after their retention: a chart of a short range shows what is kept, not nothing.

    Broken twin: charts that choose by the length of a step alone were empty past ``frame_retention_days``."""
    settings, now = tuned(frame_retention_days=3), floor(datetime.now(UTC), HOUR)
    then = now - 10 * DAY
    async with running(database_url, WoundClock(then + HOUR), frame_retention_days=3) as front:
        agent = await front.agent()
        await agent.send(*[(then + n * MINUTE, [0.5, 0.2]) for n in range(60)])
        await roll_up(front.pool, settings, then + 2 * HOUR, asyncio.Event())
        front.clock.now = now
        await _keep(front, settings)
        assert await front.count("frame") == 0
        query = {"host": await _host(front), "metric": "system.cpu.utilization"}
        query |= {"from": then.isoformat(), "to": (then + HOUR).isoformat()}
        found = (await front.http.get("/v1/series", params=query, headers=await front.key())).json()
    assert [point["count"] for point in found[0]["points"]] == [5] * 12


async def test_rollups_are_kept_for_as_long_as_late_frames_change_them(front: Front):
    """However short their retention: a late frame finds its bucket, and all that its hour is made of.

    Broken twin: with rollups kept for two days a frame of the third had no place, and no rollup was ever
    written again; had it had one, its hour would have become this frame alone."""
    agent, settings = await front.agent(), tuned(five_minute_retention_days=2, hourly_retention_days=2)
    now = floor(front.clock(), HOUR)
    hour = now - 5 * DAY
    front.clock.now = hour + HOUR
    await agent.send((hour + 20 * MINUTE, [0.5, 0.2]))
    await roll_up(front.pool, settings, hour + 2 * HOUR, asyncio.Event())
    front.clock.now = now
    await _keep(front, settings)
    await agent.send((hour + 10 * MINUTE, [0.1, 0.2]))
    await roll_up(front.pool, settings, now, asyncio.Event())
    assert await _hours(front) == [(hour, [0.5, 0.2], [2, 2], [0.5, 0.2])]


async def test_what_frames_came_to_outlives_them(front: Front):
    """A bucket that is done again when its frames are gone is what it was.

    Broken twin: a bucket that is deleted before it is worked out anew vanishes with its frames."""
    agent, settings = await front.agent(), tuned(frame_retention_days=1)
    hour = floor(front.clock(), HOUR) - 3 * HOUR
    front.clock.now = hour + HOUR
    await agent.send((hour + 20 * MINUTE, [0.5, 0.2]))
    await roll_up(front.pool, settings, hour + 2 * HOUR, asyncio.Event())
    before = await _rolled(front), await _hours(front)
    async with front.pool.connection() as conn:
        await conn.execute(b"DELETE FROM frame")
        await conn.execute(b"UPDATE rollup_progress SET until = since")
    await roll_up(front.pool, settings, hour + 2 * HOUR, asyncio.Event())
    assert (await _rolled(front), await _hours(front)) == before


async def test_what_a_clock_that_was_ahead_rolled_up_too_early_is_done_again(front: Front):
    """A collector's clock jumps an hour ahead for a minute: that hour's frames are not late when they come,
    and still are in their rollups.

    Broken twin: without ``_step_back`` the hour stays empty for as long as rollups are kept."""
    agent, settings = await front.agent(), tuned()
    hour = floor(front.clock(), HOUR) - 3 * HOUR
    front.clock.now = hour
    await agent.send((hour - MINUTE, [0.5, 0.2]))
    await roll_up(front.pool, settings, hour + 70 * MINUTE, asyncio.Event())
    await roll_up(front.pool, settings, hour + MINUTE, asyncio.Event())
    for n in range(12):
        front.clock.now = hour + n * FIVE + 2 * MINUTE
        await agent.send((hour + n * FIVE + MINUTE, [0.5, 0.2]))
    assert await front.count("rollup_mark") == 0
    await roll_up(front.pool, settings, hour + 2 * HOUR, asyncio.Event())
    assert await front.count("rollup_five") == 13
    assert [counts for _, _, counts, _ in await _hours(front)] == [[1, 1], [12, 12]]


async def test_a_clock_that_is_wrong_by_years_undoes_nothing(front: Front):
    """It is said, and what is there stays."""
    agent, settings = await front.agent(), tuned()
    hour = floor(front.clock(), HOUR) - 3 * HOUR
    front.clock.now = hour + HOUR
    await agent.send((hour + 20 * MINUTE, [0.5, 0.2]))
    await roll_up(front.pool, settings, hour + 2 * HOUR, asyncio.Event())
    before = await _rolled(front), await _hours(front)
    await roll_up(front.pool, settings, hour - 9 * 365 * DAY, asyncio.Event())
    async with front.pool.connection() as conn:
        row = await (await conn.execute(b"SELECT max(until) FROM rollup_progress")).fetchone()
    assert row == (hour + 2 * HOUR - FIVE,)
    assert (await _rolled(front), await _hours(front)) == before


async def test_events_past_their_retention_are_refused_for_good(database_url: str):
    """There is no place for them any more: the agent is told so, instead of to try again for ever.

    Broken twin: judged by the frames' retention they were answered 503 each time, and held up what waited."""
    async with running(database_url, event_retention_days=2) as front:
        agent = await front.agent()
        await _keep(front, tuned(event_retention_days=2))
        old, new = (front.clock() - timedelta(hours=hours) for hours in (49, 47))
        assert (await agent.post(agent.batch(events=[event(old)]))).json()["outcome"] == "refused"
        assert (await agent.post(agent.batch(events=[event(new)]))).json()["outcome"] == "stored"


# ---- commits that take long ---------------------------------------------------------------------------


async def test_a_bucket_waits_for_commits_that_began_before_it_settled(front: Front):
    """A disk that stands still for minutes: what such a commit brings was not late when it began, and is in
    its bucket all the same.

    Broken twin: without ``_under_way`` the bucket is rolled up without it, and nothing marks it."""
    agent, settings = await front.agent(), tuned()
    hour = floor(front.clock(), HOUR) - 3 * HOUR
    front.clock.now = hour + MINUTE
    await agent.send((hour, [0.1, 0.1]))
    async with front.pool.connection() as slow, slow.transaction():
        await slow.execute(
            b"INSERT INTO frame SELECT tenant_id, host_id, layout_id, time + interval '1 minute',"
            b" '{0.9,0.9}' FROM frame"
        )
        await roll_up(front.pool, settings, hour + FIVE + SETTLED, asyncio.Event())
        assert await front.count("rollup_five") == 0
    await roll_up(front.pool, settings, hour + FIVE + SETTLED, asyncio.Event())
    assert [row[2] for row in await _rolled(front)] == [[0.9, 0.9]]


# ---- who is told --------------------------------------------------------------------------------------


async def _failing(front: Front) -> list[str]:
    async with front.pool.connection() as conn:
        return [job.words for job in await jobs.failing(conn)]


async def _rounds(front: Front, *minutes: int) -> None:
    for minute in minutes:
        await noted_round(front.pool, tuned(), front.clock() + minute * MINUTE, asyncio.Event())


async def test_rollups_that_fail_are_told_of_before_their_frames_are_gone(front: Front):
    """With PostgreSQL's reason, until a round is well again.

    Broken twin: a worker that is started again and again shows it in its log alone."""
    async with front.pool.connection() as conn:
        await conn.execute(b"ALTER TABLE rollup_mark RENAME TO away")
        await _rounds(front, 0, 1, 20)
        (words,) = await _failing(front)
        assert words.startswith("roll up frame: failed 3 times in a row")
        assert "rollup_mark" in words
        await conn.execute(b"ALTER TABLE away RENAME TO rollup_mark")
    await _rounds(front, 21)
    assert await _failing(front) == []


async def test_a_worker_that_holds_the_lock_and_stands_still_is_told_of(front: Front):
    """Stopped or cut off, it keeps all others from the rollups: they say since when, and whose lock it is."""
    await _rounds(front, 0)
    async with front.pool.connection() as conn:
        await conn.execute(b"SELECT pg_advisory_lock(hashtext('rollup'))")
        await _rounds(front, 1, 2, 30)
        assert await _failing(front) == []
        await _rounds(front, 70, 80, 90)
        (words,) = await _failing(front)
        assert f"process {conn.info.backend_pid} holds their lock" in words
        await conn.execute(b"SELECT pg_advisory_unlock(hashtext('rollup'))")
    await _rounds(front, 91)
    assert await _failing(front) == []
