"""A pack on trial beside the one in force: it tells what it would have done, and does nothing."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import psycopg
import pytest
from typer.testing import CliRunner

from alerting import mutes, shadow
from alerting.errors import PackError
from alerting.evaluate import EventInput, FrameInput, HostScope
from alerting.mute import Matcher, Mute
from alerting.pack import default_document
from alerting.rulebook import load_evaluator
from alerting.settings import Settings
from alerting.sweep import Sweep
from storage.pool import Pool
from tests.alerting.kit import (
    CPU,
    START,
    digest_of,
    evaluator_in,
    event,
    frame,
    history,
    ingest,
    layout_of,
    minutes,
    seed,
)
from tests.alerting.test_ahead import stored, volume
from ucx_proactive.commands.rules import app
from wire import layout as layouts
from wire.layout import Layout

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

    async def send(self, first: int, values: list[float], layout: Layout = CPU, layout_id: int = 1) -> None:
        """A frame a minute from minute ``first``."""
        frames: list[FrameInput | EventInput] = [
            frame(layout, START + minutes(first + n), v) for n, v in enumerate(values)
        ]
        await ingest(self.pool, self.evaluator, self.scope, frames, START + minutes(first + len(values)))
        async with self.pool.connection() as conn, conn.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO frame (tenant_id, host_id, layout_id, time, values) VALUES (1, %s, %s, %s, %s)",
                [
                    (self.scope.host_id, layout_id, f.at, list(f.values))
                    for f in frames
                    if isinstance(f, FrameInput)
                ],
            )

    async def add_layout(self, layout_id: int, layout: Layout) -> None:
        async with self.pool.connection() as conn:
            await conn.execute(
                "INSERT INTO layout (tenant_id, layout_id, digest, body, created_at) "
                "VALUES (1, %s, %s, %s, now())",
                [layout_id, digest_of(layout), layouts.encode(layout)],
            )
            await conn.execute(
                "INSERT INTO host_layout (tenant_id, host_id, layout_id, first_seen) "
                "VALUES (1, %s, %s, now())",
                [self.scope.host_id, layout_id],
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


async def test_a_series_that_left_the_layouts_ends_on_trial_as_it_does_for_real(pool: Pool) -> None:
    """Looked at every minute: it is stale after ten. (Seen failing: each look began to count anew, and the
    finding had no end.)"""
    site = Site(pool)
    await site.build(LOUDER)
    rest = layout_of("system.memory.utilization")
    await site.add_layout(2, rest)
    await site.send(0, [0.6] * 5)
    await site.send(5, [0.1] * 20, rest, 2)
    await site.sweep(*range(4, 30))
    assert (await site.report())[0].startswith("2026-03-02 14:02:00Z to 2026-03-02 14:15:00Z: P1")


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


class Fleet:
    """Hosts that send events or frames, with the whole sweep beside them, every minute."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.now = START

    async def build(self, document: str, hosts: int = 1) -> None:
        self.scopes = await seed(self.pool, hosts=hosts)
        self.evaluator = await evaluator_in(self.pool)
        async with self.pool.connection() as conn:
            for table in ("frame", "event"):
                await conn.execute(f"CREATE TABLE {table}_of_test PARTITION OF {table} DEFAULT".encode())
            await conn.execute(
                "INSERT INTO layout (tenant_id, layout_id, digest, body, created_at) "
                "VALUES (1, 1, %s, %s, now())",
                [digest_of(CPU), layouts.encode(CPU)],
            )
            await conn.execute(
                "INSERT INTO host_layout (tenant_id, host_id, layout_id, first_seen) "
                "SELECT 1, host_id, 1, now() FROM host"
            )
            await shadow.load(conn, document, "next", "carla")
            loaded = [START - minutes(1)]
            await conn.execute("UPDATE rule_pack SET loaded_at = %s WHERE mode = 'shadow'", loaded)
            await conn.execute("UPDATE host SET enrolled_at = %s", [START - minutes(60)])

    async def until(self, minute: float, reporting: list[HostScope]) -> None:
        while self.now < START + minutes(minute):
            for scope in reporting:
                await self.sends(scope, frame(CPU, self.now, 0.1))
            await Sweep(self.pool, Settings(), lambda: self.now).once()
            self.now += minutes(1)

    async def sends(self, scope: HostScope, item: FrameInput | EventInput) -> None:
        """Judged, and stored, as ingest does."""
        await ingest(self.pool, self.evaluator, scope, [item], self.now)
        key = (scope.tenant_id, scope.host_id)
        async with self.pool.connection() as conn:
            if isinstance(item, FrameInput):
                await conn.execute(
                    "INSERT INTO frame (tenant_id, host_id, layout_id, time, values) "
                    "VALUES (%s, %s, 1, %s, %s)",
                    [*key, item.at, list(item.values)],
                )
            else:
                e = item.event
                await conn.execute(
                    "INSERT INTO event (tenant_id, host_id, time, source, event_id, severity, message) "
                    "VALUES (%s, %s, %s, %s, %s, %s, %s)",
                    [*key, item.at, e.source, e.event_id, e.severity, e.message],
                )

    async def report(self) -> list[str]:
        async with self.pool.connection() as conn:
            found = await shadow.report(conn)
        return [*found.alerts, str(found).split(": ", 1)[1]] if found else []


EAGER = (
    default_document()
    .replace(
        'event: {id: ["1105", "9002", "1827"], source: "MSSQL*", quiet: 60 min}',
        'event: {id: "41", quiet: 5 min}',
    )
    .replace("{priority: P2, after: 10 min}", "{priority: P2, after: 3 min}")
    .replace("{priority: P3, after: 5 min}", "{priority: P3, after: 2 min}")
)


async def test_events_are_tried_too(pool: Pool) -> None:
    """An event that is P3 in force is another rule's P1 on trial, over five minutes later; what the rules in
    force say of event 1105 the trial misses."""
    fleet = Fleet(pool)
    await fleet.build(EAGER)
    (scope,) = fleet.scopes
    await fleet.sends(scope, event(fleet.now, "Kernel-Power", "41"))
    await fleet.sends(scope, event(fleet.now, "MSSQLSERVER", "1105"))
    await fleet.until(12, [scope])
    assert await fleet.report() == [
        "2026-03-02 14:00:00Z to 2026-03-02 14:05:00Z: P1 acme/site/node-1 database.error.full",
        "2026-03-02 14:00:00Z to the end: P3 acme/site/node-1 host.reboot",
        "alerts 2 -> 2, tickets 2 -> 2, pages 1 -> 1, noise 0 -> 1, missed 0",
    ]


async def test_silence_is_tried_on_the_same_receipts(pool: Pool) -> None:
    """Five minutes without a receipt: nobody minds yet in force; on trial a P3 after two minutes, a P2 after
    three, over with the third report; frames that are stored meanwhile do not count as receipts."""
    fleet = Fleet(pool)
    await fleet.build(EAGER)
    await fleet.until(4, fleet.scopes)
    await fleet.until(8, [])
    assert await history(pool) == []
    await fleet.until(12, fleet.scopes)
    assert await fleet.report() == [
        "2026-03-02 14:06:00Z to 2026-03-02 14:10:00Z: P2 acme/site/node-1 host.silent",
        "alerts 0 -> 1, tickets 0 -> 1, pages 0 -> 0, noise 0 -> 1, missed 0",
    ]


async def test_a_whole_clusters_silence_is_one_finding(pool: Pool) -> None:
    """Both packs find one P1 of the deployment; its hosts' silences are consequences, no news."""
    fleet = Fleet(pool)
    await fleet.build(
        default_document().replace("{priority: P1, after: 15 min}", "{priority: P1, after: 12 min}"), 2
    )
    await fleet.until(1, fleet.scopes)
    await fleet.until(18, [])
    await fleet.until(22, fleet.scopes)
    assert await fleet.report() == [
        "2026-03-02 14:13:00Z to 2026-03-02 14:21:00Z: P1 acme/site/(cluster) deployment.silent",
        "alerts 1 -> 1, tickets 1 -> 1, pages 1 -> 1, noise 1 -> 1, missed 0",
    ]


async def test_while_our_door_is_closed_nothing_is_tried_of_silence(pool: Pool) -> None:
    """Our own outage is no customer's silence, on trial neither."""
    fleet = Fleet(pool)
    await fleet.build(EAGER)
    await fleet.until(1, fleet.scopes)
    await shadow.sweep(pool, START + minutes(30), None)
    assert (await fleet.report())[0].startswith("alerts 0 -> 0")
    await shadow.sweep(pool, START + minutes(30), START)
    assert "host.silent" in (await fleet.report())[0]


async def test_what_maintenance_covers_bothers_nobody_until_it_ends(pool: Pool) -> None:
    """A window over the site: the trial's P1 is found and muted, like the one in force; when the window ends
    both are told from then on."""
    fleet = Fleet(pool)
    await fleet.build(default_document())
    (scope,) = fleet.scopes
    window = Mute(
        *(UUID(int=1), "maintenance", (Matcher("deployment", "=", "site"),), "update", "anna"),
        *(START - minutes(5), START + minutes(10), "", "UTC"),
    )
    async with pool.connection() as conn:
        await mutes.store(conn, scope.tenant_id, window)
    await fleet.sends(scope, event(fleet.now, "MSSQLSERVER", "1105"))
    await fleet.until(8, [scope])
    assert await fleet.report() == [
        "2026-03-02 14:00:00Z to the end: P1 acme/site/node-1 database.error.full (muted)",
        "alerts 0 -> 0, tickets 0 -> 0, pages 0 -> 0, noise 0 -> 0, muted 1 -> 1, missed 0",
    ]
    await fleet.until(16, [scope])
    (found, counted) = await fleet.report()
    assert found == "2026-03-02 14:10:00Z to the end: P1 acme/site/node-1 database.error.full"
    assert counted == "alerts 1 -> 1, tickets 1 -> 1, pages 1 -> 1, noise 0 -> 0, missed 0"


_POISON = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
CREATE TRIGGER refuse BEFORE UPDATE ON shadow_host FOR EACH ROW WHEN (NEW.tenant_id = 1)
EXECUTE FUNCTION refuse()"""


async def test_a_customer_that_cannot_be_tried_keeps_no_other_from_it(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing of the first customer's two hosts can be saved: the other one's host is judged by its values
    and by its silence, though the first one's alone fill a sweep.

    Broken twins, each seen to fail: a host, or a deployment's silence, that fails and ends the round; the
    longest waiting first whoever's they are."""
    monkeypatch.setattr(shadow, "BATCH", 2)
    fleet = Fleet(pool)
    await fleet.build(EAGER, hosts=2)
    (other,) = await seed(pool, tenant="beta")
    async with pool.connection() as conn:
        await conn.execute("UPDATE host SET enrolled_at = %s", [START - minutes(60)])
        await conn.execute("INSERT INTO layout SELECT 2, layout_id, digest, body, created_at FROM layout")
        await conn.execute(
            "INSERT INTO host_layout (tenant_id, host_id, layout_id, first_seen) VALUES (2, %s, 1, now())",
            [other.host_id],
        )
        await conn.execute(_POISON.encode())
    await fleet.until(1, [*fleet.scopes, other])
    await fleet.until(10, [])
    async with pool.connection() as conn:
        found = await (await conn.execute("SELECT tenant_id, rule_id FROM shadow_fired")).fetchall()
        judged = await (
            await conn.execute("SELECT tenant_id, max(judged_to) FROM shadow_host GROUP BY 1 ORDER BY 1")
        ).fetchall()
    assert found == [(2, "host.silent")]
    assert judged == [(1, START - minutes(1)), (2, START + minutes(6))]
    assert "shadow of host 1 of tenant 1 failed" in caplog.text
    assert "shadow of deployment 1 of tenant 1 failed" in caplog.text


async def test_a_trial_looks_ahead(pool: Pool) -> None:
    """A volume that will be full in 14 hours: found on trial, from stored history, as it is in force."""
    (scope,) = await seed(pool)

    def free(day: float) -> float:
        return 60e9 - 100e9 * day

    await stored(pool, scope, 9, free)
    async with pool.connection() as conn:
        await shadow.load(conn, default_document(), "next", "carla")
        await conn.execute("UPDATE rule_pack SET loaded_at = %s WHERE mode = 'shadow'", [START - minutes(31)])
        await conn.execute("UPDATE host SET enrolled_at = %s", [START - minutes(60)])
    for minute in range(20):
        async with pool.connection() as conn:
            await conn.execute(
                "INSERT INTO frame (tenant_id, host_id, layout_id, time, values) VALUES (%s, %s, 1, %s, %s)",
                [scope.tenant_id, scope.host_id, START + minutes(minute), volume(free(minute / 1440))],
            )
        await shadow.sweep(pool, START + minutes(minute + 4))
    async with pool.connection() as conn:
        found = await shadow.report(conn)
    assert found is not None
    assert [line for line in found.alerts if "P2" in line and "host.disk /data" in line]
