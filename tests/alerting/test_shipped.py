"""The shipped pack at an upgrade: new rules arrive by themselves, a person's rules are never overwritten."""

from __future__ import annotations

import pytest

from alerting.pack import default_document
from alerting.rulebook import load_evaluator, newest_version, store_pack
from alerting.shipped import Verdict, settle
from storage.pool import Pool

OLD = default_document().replace("value > 95 %, for: 10 min", "value > 94 %, for: 10 min")
NEW = default_document()
OWN = default_document().replace("value > 95 %, for: 10 min", "value > 99 %, for: 10 min")


async def settled(pool: Pool, document: str | None = None) -> Verdict:
    async with pool.connection() as conn:
        return await settle(conn, document)


async def in_force(pool: Pool) -> str:
    async with pool.connection() as conn:
        row = await (
            await conn.execute("SELECT document FROM rule_pack ORDER BY version DESC LIMIT 1")
        ).fetchone()
    assert row is not None
    return str(row[0])


async def test_an_unmodified_shipped_pack_is_replaced_by_the_newer_one(pool: Pool) -> None:
    """First start, the same release again, the next release, and the older one beside it: one upgrade."""
    assert await settled(pool, OLD) is Verdict.TAKEN
    assert await settled(pool, OLD) is Verdict.SAME
    assert await settled(pool, NEW) is Verdict.TAKEN
    assert await settled(pool, OLD) is Verdict.OLDER
    assert await in_force(pool) == NEW
    async with pool.connection() as conn:
        assert await newest_version(conn) == 2


async def test_an_altered_pack_stays_and_is_spoken_of_loudly(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """A person's pack survives the upgrade, and the log says at each start that the newer one waits."""
    await settled(pool, OLD)
    async with pool.connection() as conn:
        await store_pack(conn, OWN, "ours", "carla")
    assert await settled(pool, NEW) is Verdict.ALTERED
    assert await in_force(pool) == OWN
    assert "RULES NOT UPGRADED: version 2 in force was loaded by carla" in caplog.text


async def test_a_person_who_loads_an_older_shipped_pack_keeps_it(pool: Pool) -> None:
    """It was replaced once; that it is back is a decision, and no start undoes it."""
    await settled(pool, OLD)
    await settled(pool, NEW)
    async with pool.connection() as conn:
        await store_pack(conn, OLD, "default", "carla")
    assert await settled(pool, NEW) is Verdict.OLDER
    assert await in_force(pool) == OLD


async def test_what_the_first_load_stored_counts_as_shipped(pool: Pool) -> None:
    """An installation whose first start was the evaluator's is upgraded like any other."""
    async with pool.connection() as conn:
        await load_evaluator(conn)
    assert await settled(pool) is Verdict.SAME
    assert await settled(pool, OLD) is Verdict.TAKEN
