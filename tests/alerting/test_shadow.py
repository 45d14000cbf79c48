"""A pack on trial beside the one in force: it tells what it would have done, and does nothing."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from typer.testing import CliRunner

from alerting import shadow
from alerting.errors import PackError
from alerting.evaluate import EventInput, FrameInput
from alerting.pack import default_document
from alerting.rulebook import load_evaluator
from storage.pool import Pool
from tests.alerting.kit import CPU, START, digest_of, evaluator_in, frame, history, ingest, minutes, seed
from ucx_proactive.commands.rules import app
from wire import layout as layouts

LOUDER = default_document().replace(
    "priority: P2, when: value > 95 %, for: 10 min, clear: value < 80 %",
    "priority: P1, when: value > 50 %, for: 2 min, clear: value < 40 %",
)
QUIETER = default_document().replace("value > 95 %, for: 10 min", "value > 98 %, for: 10 min")


class Site:
    """One host whose frames are judged and stored, with a pack on trial beside it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool

    async def build(self, document: str) -> None:
        """The pack is put on trial at START."""
        (self.scope,) = await seed(self.pool)
        self.evaluator = await evaluator_in(self.pool)
        async with self.pool.connection() as conn:
            await conn.execute("CREATE TABLE frame_of_test PARTITION OF frame DEFAULT")
            await conn.execute(
                "INSERT INTO layout (tenant_id, layout_id, digest, body, created_at) "
                "VALUES (1, 1, %s, %s, now())",
                [digest_of(CPU), layouts.encode(CPU)],
            )
            await conn.execute(
                "INSERT INTO host_layout (tenant_id, host_id, layout_id, first_seen) "
                "VALUES (1, %s, 1, now())",
                [self.scope.host_id],
            )
            await shadow.load(conn, document, "next", "carla")
            await conn.execute(
                "UPDATE rule_pack SET loaded_at = %s WHERE mode = 'shadow'", [START - minutes(1)]
            )
            await conn.execute("UPDATE host SET enrolled_at = %s", [START - minutes(60)])

    async def send(self, first: int, values: list[float]) -> None:
        """A frame a minute from minute ``first``."""
        frames: list[FrameInput | EventInput] = [
            frame(CPU, START + minutes(first + n), v) for n, v in enumerate(values)
        ]
        await ingest(self.pool, self.evaluator, self.scope, frames, START + minutes(first + len(values)))
        async with self.pool.connection() as conn, conn.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO frame (tenant_id, host_id, layout_id, time, values) VALUES (1, %s, 1, %s, %s)",
                [(self.scope.host_id, f.at, list(f.values)) for f in frames if isinstance(f, FrameInput)],
            )

    async def sweep(self, *at: float) -> None:
        for minute in at:
            await shadow.sweep(self.pool, START + minutes(minute))

    async def report(self) -> list[str]:
        async with self.pool.connection() as conn:
            found = await shadow.report(conn)
        return [*found.alerts, str(found)] if found else []


async def test_a_louder_pack_is_heard_in_the_report_alone(pool: Pool) -> None:
    """Five minutes at 60 %: in force nobody minds; on trial it would have paged. No alert was written."""
    site = Site(pool)
    await site.build(LOUDER)
    await site.send(0, [0.6] * 5 + [0.1] * 15)
    await site.sweep(23)
    assert await site.report() == [
        "2026-03-02 14:02:00Z to 2026-03-02 14:10:00Z: P1 acme/site/node-1 host.cpu",
        "20 frames: alerts 0 -> 1, tickets 0 -> 1, pages 0 -> 1, noise 0 -> 1, missed 0",
    ]
    assert await history(pool) == []


async def test_a_quieter_pack_misses_what_is_told_today(pool: Pool) -> None:
    """Fourteen minutes at 97 % are a P2 today; the pack on trial misses it, and the report says so."""
    site = Site(pool)
    await site.build(QUIETER.replace("value > 85 %, for: 15 min", "value > 85 %, for: 60 min"))
    await site.send(0, [0.97] * 14 + [0.1] * 16)
    await site.sweep(40)
    assert await site.report() == [
        "30 frames: alerts 1 -> 0, tickets 1 -> 0, pages 0 -> 0, noise 1 -> 0, missed 1"
    ]


async def test_however_often_it_is_looked_at_the_findings_are_the_same(pool: Pool) -> None:
    """A sweep every few minutes, each with only what is in the database, finds what one at the end does;
    frames younger than three minutes wait."""
    site = Site(pool)
    await site.build(LOUDER)
    await site.send(0, [0.6] * 5)
    await site.sweep(4, 5, 6)
    assert await site.report() == [
        "2026-03-02 14:02:00Z to the end: P1 acme/site/node-1 host.cpu",
        "3 frames: alerts 0 -> 1, tickets 0 -> 1, pages 0 -> 1, noise 0 -> 0, missed 0",
    ]
    await site.send(5, [0.1] * 15)
    await site.sweep(9, 9, 14, 23)
    assert (await site.report())[0].startswith("2026-03-02 14:02:00Z to 2026-03-02 14:10:00Z: P1")


async def test_a_pack_on_trial_is_never_in_force(pool: Pool) -> None:
    """Loading it changes the rules' version and none of the rules; a faulty one is refused; a second trial
    takes the first one's place; a stopped one reports nothing and is swept no more."""
    site = Site(pool)
    await site.build(LOUDER)
    async with pool.connection() as conn:
        assert (await load_evaluator(conn)).rules == site.evaluator.rules
        with pytest.raises(PackError):
            await shadow.load(conn, "version: 1", "x", "carla")
        version = await shadow.load(conn, QUIETER, "other", "carla")
        trial = await shadow.on_trial(conn)
        assert trial is not None
        assert trial.version == version
        assert await shadow.stop(conn)
        assert not await shadow.stop(conn)
    await site.sweep(30)
    assert await site.report() == []


def test_the_commands(database_url: str, tmp_path: Path) -> None:
    """``rules load --shadow`` puts a pack on trial, ``rules shadow report`` tells, ``stop`` ends it."""
    pack = tmp_path / "next.yaml"
    pack.write_text(LOUDER, encoding="utf-8")
    where = ["--database-url", database_url]
    run = CliRunner().invoke
    loaded = run(app, ["load", str(pack), "--shadow", *where])
    assert "on trial as version 2" in loaded.output
    told = run(app, ["shadow", "report", *where])
    assert (
        told.output.strip() == "0 frames: alerts 0 -> 0, tickets 0 -> 0, pages 0 -> 0, noise 0 -> 0, missed 0"
    )
    assert run(app, ["shadow", "stop", *where]).exit_code == 0
    assert run(app, ["shadow", "report", *where]).exit_code == 1
    with psycopg.connect(database_url) as conn:
        found = conn.execute("SELECT mode, count(*) FROM rule_pack GROUP BY mode ORDER BY mode").fetchall()
    assert found == [("active", 1), ("retired", 1)]
