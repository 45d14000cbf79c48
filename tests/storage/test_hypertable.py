"""What only TimescaleDB does: packing; and which of its editions can do what. What it promises like
plain partitions: test_timed.py."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest

from storage.hypertable import about_server, edition
from storage.partition import ensure_partitions, pack
from storage.pool import Pool
from tests.storage.timed import DAY, NOW, scaled, scaled_url, store, times

__all__ = ["scaled", "scaled_url"]


@pytest.mark.parametrize(
    ("version", "licence", "hypertables", "packs", "words"),
    [
        ("2.29.2", "timescale", True, True, "with packing"),
        ("2.18.0-dev", "timescale", True, True, "with packing"),
        ("2.29.2", "apache", True, False, "Apache edition: no packing"),
        ("2.29.2", None, True, False, "Apache edition: no packing"),
        ("2.17.9", "timescale", True, False, "packing needs 2.18"),
        ("2.9.0", "timescale", False, False, "is older than 2.13"),
        ("", None, False, False, "not used"),
    ],
)
def test_an_edition_is_known_by_its_version_and_licence(
    version: str, licence: str | None, hypertables: bool, packs: bool, words: str
) -> None:
    """What is lacking is done our own way or not at all, and said; nothing is tried that must fail."""
    found = edition(version, licence)
    assert (found.hypertables, found.packs) == (hypertables, packs)
    assert words in found.words


async def test_a_server_without_the_extension_is_asked_without_harm(pool: Pool) -> None:
    """Neither the version nor the setting exists there; a setting of that name alone changes nothing."""
    async with pool.connection() as conn:
        assert not (await about_server(conn)).hypertables
        await conn.execute("SET timescaledb.license = 'timescale'")
        assert not (await about_server(conn)).packs


async def test_packing_changes_no_value_and_late_rows_still_come_in(scaled: Pool) -> None:
    """Every whole day older than asked is packed once; a late row into it is read with the others, and the
    next round packs it too. In the Apache edition nothing is packed and nothing fails."""
    async with scaled.connection() as conn:
        await ensure_partitions(conn, "frame", NOW, behind=15 * DAY)
        for age in range(12):
            await store(conn, NOW - age * DAY)
        before = await times(conn)
        packs = (await about_server(conn)).packs
        assert len((await pack(conn, "frame", NOW, after=3 * DAY)).done) == (8 if packs else 0)
        assert (await pack(conn, "frame", NOW, after=3 * DAY)).done == ()
        assert await times(conn) == before
        await store(conn, NOW - 5 * DAY + timedelta(hours=1))
        assert len(await times(conn)) == 13


async def test_a_chunk_in_use_is_packed_in_a_later_round(scaled: Pool) -> None:
    """A writer that holds a chunk postpones its packing alone, and says so; ingest does not wait."""
    async with scaled.connection() as conn, scaled.connection() as writer:
        await ensure_partitions(conn, "frame", NOW, behind=15 * DAY)
        for age in (9, 8):
            await store(conn, NOW - age * DAY)
        if not (await about_server(conn)).packs:
            pytest.skip("the Apache edition of TimescaleDB does not pack")
        async with writer.transaction():
            await store(writer, NOW - 9 * DAY + timedelta(minutes=1))
            work = await pack(conn, "frame", NOW, after=3 * DAY)
            await store(conn, NOW)
        assert (len(work.done), len(work.postponed)) == (1, 1)
        assert len((await pack(conn, "frame", NOW, after=3 * DAY)).done) == 1


async def test_the_columnstore_refuses_nothing_that_we_ask_of_it(scaled: Pool) -> None:
    """Rollups are replaced in packed days too: delete and insert by key."""
    async with scaled.connection() as conn:
        await ensure_partitions(conn, "rollup_five", NOW, behind=15 * DAY)
        at = NOW - 5 * DAY
        insert = b"INSERT INTO rollup_five VALUES (1, 1, 1, %s, '{1}', '{1}', '{1}', '{1}', '{1}')"
        await conn.execute(insert, (at,))
        await pack(conn, "rollup_five", NOW, after=3 * DAY)
        with pytest.raises(psycopg.errors.UniqueViolation):
            await conn.execute(insert, (at,))
        await conn.execute("DELETE FROM rollup_five WHERE time = %s", (at,))
        await conn.execute(insert, (at,))
        assert await (await conn.execute("SELECT count(*) FROM rollup_five")).fetchone() == (1,)
