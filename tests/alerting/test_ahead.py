"""Forecasts on their way: a frame asks, the sweep answers from stored frames, the next frame acts on it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import msgspec

from alerting import ahead
from alerting.evaluate import HostScope
from alerting.forecast import FAR_S, Foresight
from alerting.settings import Settings
from alerting.state import Ahead, Memory, dump, load
from alerting.sweep import Sweep
from storage.pool import Pool
from tests.alerting.kit import (
    START,
    digest_of,
    evaluator_in,
    frame,
    history,
    ingest,
    layout_of,
    minutes,
    seed,
)
from wire.layout import encode

DISK = {"system.filesystem.mountpoint": "/data"}
VOLUME = layout_of(("system.filesystem.free_ratio", DISK), ("system.filesystem.free", DISK))
TB = 1e12
DAY = 86_400.0


async def stored(pool: Pool, scope: HostScope, days: float, free: Callable[[float], float]) -> None:
    """Frames each quarter of an hour up to START of a 2 TB volume; ``free`` is asked for days, START = 0."""
    ids = (scope.tenant_id, scope.host_id)
    async with pool.connection() as conn, conn.transaction():
        await conn.execute("CREATE TABLE frame_of_test PARTITION OF frame DEFAULT")
        await conn.execute(
            "INSERT INTO layout (tenant_id, layout_id, digest, body, created_at) "
            "VALUES (%s, 1, %s, %s, now())",
            (scope.tenant_id, digest_of(VOLUME), encode(VOLUME)),
        )
        await conn.execute(
            "INSERT INTO host_layout (tenant_id, host_id, layout_id, first_seen) VALUES (%s, %s, 1, now())",
            ids,
        )
        rows = [(*ids, START - minutes(15 * n), volume(free(-n / 96))) for n in range(int(days * 96))]
        async with conn.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO frame (tenant_id, host_id, layout_id, time, values) VALUES (%s, %s, 1, %s, %s)",
                rows,
            )


def volume(free: float) -> list[float]:
    return [free / (2 * TB), free]


async def sweep(pool: Pool, now: datetime) -> None:
    await Sweep(pool, Settings(), lambda: now).due()


async def told(pool: Pool, scope: HostScope, free: Callable[[float], float]) -> list[str]:
    """Twenty minutes from START, a frame a minute, with a sweep behind each."""
    evaluator = await evaluator_in(pool)
    for minute in range(21):
        at = START + minutes(minute)
        values = volume(free(minute / 1440))
        await ingest(pool, evaluator, scope, [frame(VOLUME, at, *values)], at)
        await sweep(pool, at)
    return [
        f"{(s.at - START).total_seconds() / 60:g} {s.to_state} P{s.priority}"
        for _, steps in await history(pool)
        for s in steps
    ]


async def test_a_large_volume_that_fills_up_is_told_a_day_ahead(pool: Pool) -> None:
    """60 GB free of 2 TB is no small amount; at 100 GB a day it is full in 14 hours, and that is a P2."""
    (scope,) = await seed(pool)

    def free(day: float) -> float:
        return 60e9 - 100e9 * day

    await stored(pool, scope, 9, free)
    assert await told(pool, scope, free) == ["2 pending P2", "6 firing P2"]
    ((_, steps),) = await history(pool)
    assert "system.filesystem.free will reach its limit in 14." in steps[-1].reason
    assert steps[-1].reason.startswith("system.filesystem.free_ratio")


async def test_a_volume_of_nightly_backups_is_not(pool: Pool) -> None:
    """The same room, of which a backup takes 100 GB in the course of each day: nothing is said."""
    (scope,) = await seed(pool)

    def free(day: float) -> float:
        return 60e9 - 100e9 * (day % 1.0) + 90e9 * (day % 1.0 > 0.5)

    await stored(pool, scope, 9, free)
    assert await told(pool, scope, free) == []


async def test_a_healthy_volume_asks_nothing(pool: Pool) -> None:
    """While its gate is closed a series costs no look ahead and no state."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    outcome = await ingest(pool, evaluator, scope, [frame(VOLUME, START, *volume(0.5 * TB))], START)
    assert outcome.state.memory.ahead == {}
    async with pool.connection() as conn:
        assert await (await conn.execute("SELECT due_at FROM host_state")).fetchone() == (None,)


async def test_an_open_gate_asks_once_and_is_asked_again_in_ten_minutes(pool: Pool) -> None:
    """The question is due at once; answered, in ten minutes; when no frame repeats it, it is forgotten."""
    (scope,) = await seed(pool)
    evaluator = await evaluator_in(pool)
    await ingest(pool, evaluator, scope, [frame(VOLUME, START, *volume(60e9))], START)
    for minute, due in ((1, 11), (12, 22), (45, None)):
        await sweep(pool, START + minutes(minute))
        async with pool.connection() as conn:
            row = await (await conn.execute("SELECT due_at FROM host_state")).fetchone()
        assert row == (START + minutes(due) if due else None,)


KEY = ("host.disk", "/data", "full")


def test_an_answer_counts_down_and_grows_old() -> None:
    """24 h at noon are 22 h at two; past three hours nobody knows; 'not in sight' stays so."""
    asked = Ahead(*KEY, "m", (), asked=0, due=0)
    memory = ahead.answered(Memory(ahead={KEY: asked}), {KEY: Foresight(DAY, DAY)}, 0)
    answer = msgspec.structs.replace(memory.ahead[KEY], computed=1)
    hour = 3_600_000
    assert ahead.left(answer, 2 * hour) == DAY - 7200
    assert ahead.left(answer, 4 * hour) is None
    assert ahead.left(msgspec.structs.replace(answer, reached=0), hour) == FAR_S
    assert ahead.left(None, 0) is None


def test_questions_survive_the_blob() -> None:
    """What is written is read again, with and without the older parts."""
    asked = Ahead(*KEY, "m", (("a", "b"),), 1, 2, 3, 4)
    assert load(dump(Memory(ahead={KEY: asked}))).ahead == {KEY: asked}


def test_a_question_that_could_not_be_answered_is_put_off() -> None:
    """Its past could not be read: again in ten minutes, and the value stays unknown."""
    memory = ahead.answered(Memory(ahead={KEY: Ahead(*KEY, "m", (), 0, 0, 0, 0)}), {}, 1000)
    assert (memory.ahead[KEY].due, memory.ahead[KEY].computed) == (1000 + ahead.EVERY_MS, 0)
