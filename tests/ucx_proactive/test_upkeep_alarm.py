"""A job of upkeep that keeps failing is seen: a row, a gauge, the doctor, an alarm to operations that rings
nobody. What is not at fault goes on meanwhile."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from alerting.published import open_operations_alarms
from collector import upkeep
from collector.meters import Meters
from collector.settings import CollectorSettings
from oncall.auditor import sight
from storage.partition import partition_name
from storage.pool import Pool
from ucx_proactive import upkeep_alarm
from ucx_proactive.checkup import _upkeep
from wire.clock import utcnow


@pytest.mark.parametrize("rounds", [1, 3])
async def test_a_partition_that_cannot_be_made_is_told_from_the_third_round_on(
    pool: Pool, database_url: str, rounds: int
) -> None:
    """A table that somebody made stands in the way of one day: all other days are made; after three rounds
    gauge, doctor and alarm say so, the auditor is not bothered; cleared away, all of it ends."""
    now, settings = utcnow(), CollectorSettings()
    bad = partition_name("event", (now + timedelta(days=3)).date())
    registry = CollectorRegistry()
    meters = Meters(registry)
    async with pool.connection() as conn:
        await conn.execute(f"CREATE TABLE {bad} (stranger integer)".encode())
    for n in range(rounds):
        await upkeep.keep_tables(pool, settings, now + timedelta(minutes=10 * n), meters)
    await upkeep_alarm.look(pool, utcnow)
    failing = rounds == 3
    async with pool.connection() as conn:
        last = partition_name("event", (now + timedelta(days=7)).date())
        assert await (await conn.execute("SELECT to_regclass(%s) IS NOT NULL", (last,))).fetchone() == (True,)
        alarms = await open_operations_alarms(conn)
        assert [alarm.kind for alarm in alarms] == (["upkeep"] if failing else [])
        assert all(
            f"ensure event: failed 3 times in a row since {now:%Y-%m-%d %H:%M}" in a.detail for a in alarms
        )
        assert all(bad in alarm.detail for alarm in alarms)
        assert (await (await conn.execute(sight.Q.operations)).fetchall()) == []
    with psycopg.connect(database_url) as sync:
        assert _upkeep(sync).well is not failing
    gauge = f'ucx_collector_upkeep_failures{{job="ensure",table="event"}} {float(rounds)}'
    assert gauge in generate_latest(registry).decode()
    async with pool.connection() as conn:
        await conn.execute(f"DROP TABLE {bad}".encode())
    await upkeep.keep_tables(pool, settings, now + timedelta(hours=1), meters)
    await upkeep_alarm.look(pool, utcnow)
    async with pool.connection() as conn:
        assert await open_operations_alarms(conn) == []
