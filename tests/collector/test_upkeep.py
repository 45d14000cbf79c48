"""Upkeep: the ledger is kept to its horizon, and what is past its retention goes."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from prometheus_client import CollectorRegistry

from collector import upkeep
from collector.meters import Meters
from collector.settings import CollectorSettings
from storage import jobs
from storage.partition import partition_name
from storage.pool import Pool
from tests.collector.kit import Front, frames, running
from wire.clock import utcnow
from wire.limits import LEDGER_HORIZON_DAYS


async def test_a_key_is_remembered_longer_than_its_frames_are_accepted(front: Front) -> None:
    """At every moment a batch is known to the ledger or too old to be taken: never stored twice. The hardest
    case is a frame that is stamped ten minutes ahead."""
    agent = await front.agent()
    await agent.put_layout()
    body = agent.batch(frames=frames((front.clock() + timedelta(seconds=599), [0.5, 0.5])))
    assert (await agent.post(body)).json()["outcome"] == "stored"
    front.clock.wind(days=LEDGER_HORIZON_DAYS)
    outcomes = set()
    for _ in range(8):
        await upkeep.expire_ledger(front.pool, front.clock())
        outcomes.add((await agent.post(body)).json()["outcome"])
        front.clock.wind(minutes=4)
    assert outcomes == {"stored", "refused"}
    assert await front.count("frame") == 1
    assert await front.count("batch_ledger") == 0


async def test_expiry_works_in_small_steps(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many keys are past the horizon, all go, a bounded number at a time; the others stay."""
    monkeypatch.setattr(upkeep, "EXPIRE_AT_ONCE", 10)
    now = utcnow()
    async with pool.connection() as conn:
        await conn.execute(
            """INSERT INTO batch_ledger
               SELECT 1, gen_random_uuid(), 1, n, '\\x00', %(now)s::timestamptz - n * interval '1 day'
               FROM generate_series(1, 40) n""",
            {"now": now},
        )
        assert await upkeep.expire_ledger(pool, now) == 40 - LEDGER_HORIZON_DAYS
        left = await (await conn.execute("SELECT max(seq), count(*) FROM batch_ledger")).fetchone()
    assert left == (LEDGER_HORIZON_DAYS, LEDGER_HORIZON_DAYS)


async def test_partitions_are_there_before_they_are_needed_and_go_when_they_expired(front: Front) -> None:
    """A week ahead; and a day past the retention its partition is dropped whole."""
    settings = CollectorSettings(frame_retention_days=1)
    now = front.clock()
    async with front.pool.connection() as conn:
        for day, there in ((7, True), (0, True), (-15, True), (-17, False)):
            name = partition_name("frame", (now + timedelta(days=day)).date())
            row = await (await conn.execute("SELECT to_regclass(%s) IS NOT NULL", (name,))).fetchone()
            assert row == (there,), name
    await upkeep.keep_tables(front.pool, settings, now, front.process.meters)
    async with front.pool.connection() as conn:
        name = partition_name("frame", (now - timedelta(days=3)).date())
        row = await (await conn.execute("SELECT to_regclass(%s) IS NULL", (name,))).fetchone()
    assert row == (True,)


async def test_upkeep_leaves_the_limits_of_ingest_alone(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ingest's connections keep their limits for good, so upkeep, which sets and resets its own and may run
    for long, works on others: else, after a round, ingest would wait for locks without end, and packing would
    be cut off after 20 s. (Seen failing while both shared a pool.)"""
    seen: list[Pool] = []

    async def look(
        pool: Pool, _settings: object, _clock: object, stop: asyncio.Event, _meters: object
    ) -> None:
        seen.append(pool)
        await stop.wait()

    monkeypatch.setattr(upkeep, "run", look)
    async with running(database_url) as front:
        agent = await front.agent()
        await agent.send((front.clock(), [0.5, 0.5]))
        ingest = front.process._pool
        assert [pool is ingest for pool in seen] == [False]


async def test_a_ledger_that_cannot_be_kept_short_is_told_of_and_holds_up_nothing(pool: Pool) -> None:
    """The census goes on.

    Broken twin: without ``keep_counts`` the worker ended there each time, and only its log said so."""
    now = utcnow()
    async with pool.connection() as conn:
        await conn.execute("ALTER TABLE batch_ledger RENAME COLUMN received_at TO away")
        for minutes in (0, 1, 20):
            later = now + timedelta(minutes=minutes)
            await upkeep.keep_counts(pool, CollectorSettings(), later, Meters(CollectorRegistry()))
        (job,) = await jobs.failing(conn)
        assert job.words.startswith("expire batch_ledger: failed 3 times in a row")
        row = await (await conn.execute("SELECT failures FROM upkeep_job WHERE job = 'count'")).fetchone()
    assert row == (0,)
