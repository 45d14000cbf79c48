"""Rollups: worked out anew from all that lies in a bucket, late data included; read as far as they reach."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from collector.rolling import roll_up
from collector.rollup import FIVE, HOUR, Progress, combine, floor, pieces, span_for, summarise
from tests.collector.kit import Front, tuned

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
