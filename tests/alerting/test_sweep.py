"""Silence and what else happens when nothing happens, told with a wound clock."""

from __future__ import annotations

from datetime import datetime

import pytest

from alerting import sweep
from alerting.evaluate import HostScope
from alerting.published import open_operations_alarms
from alerting.settings import Settings
from alerting.sweep import Sweep
from storage.pool import Pool
from tests.alerting.kit import CPU, START, evaluator_in, event, frame, history, ingest, minutes, seed


class Watch:
    """A sweep on a clock that the test winds, and hosts that report when told."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.now = START
        self.sweep = Sweep(pool, Settings(), lambda: self.now)

    async def until(self, minute: float, reporting: list[HostScope]) -> None:
        """Every half minute: a sweep, and a report of each host in ``reporting``."""
        evaluator = await evaluator_in(self.pool)
        while self.now < START + minutes(minute):
            for scope in reporting:
                await ingest(self.pool, evaluator, scope, [frame(CPU, self.now, 0.1)], self.now)
            await self.sweep.once()
            self.now += minutes(0.5)

    async def story(self) -> list[str]:
        told = []
        for alert, steps in await history(self.pool):
            key = alert.problem_key.split("/", 2)[2]
            told += [
                f"{_minute(s.at):g} {key} {s.to_state} P{s.priority}{' muted' * bool(s.muted)}" for s in steps
            ]
        return sorted(told, key=lambda t: float(t.split()[0]))


def _minute(at: datetime) -> float:
    return (at - START).total_seconds() / 60


async def customers(pool: Pool, count: int, *, hosts: int) -> list[HostScope]:
    """So many customers with so many hosts each."""
    return [scope for n in range(count) for scope in await seed(pool, hosts=hosts, tenant=f"t{n}")]


async def run_full(pool: Pool, scopes: list[HostScope], *, apart_s: float = 0) -> None:
    """On each host, one ``apart_s`` seconds after the other, SQL Server tells that a database is full."""
    evaluator = await evaluator_in(pool)
    for number, scope in enumerate(scopes):
        at = START + minutes(number * apart_s / 60)
        await ingest(pool, evaluator, scope, [event(at, "MSSQLSERVER", "1105", "no space")], at)


_POISON = """
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$;
CREATE TRIGGER refuse BEFORE INSERT OR UPDATE ON alert FOR EACH ROW WHEN (NEW.tenant_id = 1)
EXECUTE FUNCTION refuse()"""


async def poison(pool: Pool) -> None:
    """From now on no alert of the first customer can be written."""
    async with pool.connection() as conn:
        await conn.execute(_POISON.encode())


async def test_a_silent_agent_is_told_worsens_and_ends_after_three_reports(pool: Pool) -> None:
    """P3 past 5 minutes, P2 past 10, over with the third report; the reason is readable."""
    scopes = await seed(pool)
    watch = Watch(pool)
    await watch.until(2, scopes)
    await watch.until(20, [])
    await watch.until(23, scopes)
    assert await watch.story() == [
        "7 node-1/host.silent/ firing P3",
        "12 node-1/host.silent/ firing P2",
        "20 node-1/host.silent/ recovering P2",
        "21 node-1/host.silent/ resolved P2",
    ]
    ((alert, steps),) = await history(pool)
    assert steps[0].reason == "Nothing received for more than 5 min."
    assert alert.since == START + minutes(1.5)


async def test_a_deployment_of_one_host_is_never_a_silent_cluster(pool: Pool) -> None:
    """Its silence is 'agent silent', however long."""
    scopes = await seed(pool)
    watch = Watch(pool)
    await watch.until(1, scopes)
    await watch.until(40, [])
    assert {a.rule_id for a, _ in await history(pool)} == {"host.silent"}


async def test_a_silent_cluster_is_one_p1_and_hides_its_hosts(pool: Pool) -> None:
    """Every node silent for 15 minutes: one P1 of the deployment; the hosts' own silences are muted from the
    first, so that no ticket is made of each; when one node is back the cluster's alert ends, and the other's
    silence is shown."""
    scopes = await seed(pool, hosts=2)
    watch = Watch(pool)
    await watch.until(1, scopes)
    await watch.until(18, [])
    await watch.until(21, scopes[:1])
    story = await watch.story()
    assert "16 (cluster)/deployment.silent/ firing P1" in story
    assert "6 node-1/host.silent/ firing P3 muted" in story
    assert "6 node-2/host.silent/ firing P3 muted" in story
    assert "19 (cluster)/deployment.silent/ resolved P1" in story
    assert "19.5 node-2/host.silent/ firing P2" in story
    assert "19 node-1/host.silent/ resolved P2 muted" in story


async def test_our_own_outage_pages_operations_once_and_nobody_else(pool: Pool) -> None:
    """30 % of all hosts, of several deployments, silent at once: held back, one alarm of our own; when they
    are back it ends, and no alert was ever made."""
    scopes = await customers(pool, 7, hosts=3)
    watch = Watch(pool)
    await watch.until(2, scopes)
    await watch.until(20, scopes[7:])
    async with pool.connection() as conn:
        (alarm,) = await open_operations_alarms(conn)
    assert alarm.kind == "mass-silence"
    assert alarm.detail.startswith("7 of 21 hosts (33 %) of 3 deployments")
    assert await history(pool) == []
    await watch.until(23, scopes)
    async with pool.connection() as conn:
        assert await open_operations_alarms(conn) == []
    assert await history(pool) == []


async def test_a_person_can_release_what_is_held_back(pool: Pool) -> None:
    """After the release the silent hosts are told, and no second alarm is made of the same silence."""
    scopes = await customers(pool, 4, hosts=2)
    watch = Watch(pool)
    await watch.until(2, scopes)
    await watch.until(15, scopes[5:])
    async with pool.connection() as conn:
        await conn.execute("UPDATE operations_alarm SET released_at = now(), released_by = 'duty'")
    await watch.until(17, scopes[5:])
    firing = {a.rule_id for a, _ in await history(pool)}
    assert firing == {"host.silent"}
    async with pool.connection() as conn:
        count = await (await conn.execute("SELECT count(*) FROM operations_alarm")).fetchone()
    assert count == (1,)


async def test_silence_is_not_counted_while_our_door_was_closed(pool: Pool) -> None:
    """Nobody swept (we were down) for half an hour: hosts get their full time again from when we are back."""
    scopes = await seed(pool)
    watch = Watch(pool)
    await watch.until(2, scopes)
    watch.now += minutes(30)
    await watch.until(36, [])
    assert await history(pool) == []
    await watch.until(38, [])
    assert [a.rule_id for a, _ in await history(pool)] == ["host.silent"]


async def test_a_door_that_does_not_answer_holds_every_silence(pool: Pool) -> None:
    """With a probe address that nobody serves, silence is not judged at all."""
    scopes = await seed(pool)
    watch = Watch(pool)
    watch.sweep = Sweep(pool, Settings(front_door_url="http://127.0.0.1:9/healthz"), lambda: watch.now)
    await watch.until(1, scopes)
    await watch.until(12, [])
    assert await history(pool) == []


async def test_an_event_alert_ends_by_itself_when_it_has_been_quiet(pool: Pool) -> None:
    """Error 1105 is over an hour after the last one, although the host sends nothing more."""
    scopes = await seed(pool)
    watch = Watch(pool)
    await run_full(pool, scopes)
    watch.now = START + minutes(59)
    await watch.sweep.due()
    assert len(await watch.story()) == 1
    watch.now = START + minutes(61)
    await watch.sweep.due()
    assert await watch.story() == [
        "0 node-1/database.error.full/ firing P1",
        "60 node-1/database.error.full/ resolved P1",
    ]


async def test_a_host_taken_out_of_service_leaves_no_open_alert(pool: Pool) -> None:
    """Its alerts end as stale with that reason, and it is not missed any more."""
    scopes = await seed(pool)
    watch = Watch(pool)
    await run_full(pool, scopes)
    async with pool.connection() as conn:
        await conn.execute("UPDATE host SET retired_at = now()")
    watch.now = START + minutes(20)
    await watch.sweep.once()
    ((alert, steps),) = await history(pool)
    assert (alert.state, steps[-1].reason) == ("stale", "The host was taken out of service.")


async def test_a_job_that_fails_does_not_stop_the_others(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The failure is logged with its job, and the sweep goes on."""
    watch = Watch(pool)
    done = []

    async def broken() -> None:
        raise RuntimeError("no")

    async def works() -> None:
        done.append(1)

    monkeypatch.setattr(watch.sweep, "silence", broken)
    monkeypatch.setattr(watch.sweep, "due", works)
    await watch.sweep.once()
    assert done == [1]
    assert "broken failed" in caplog.text


async def test_a_customer_whose_alerts_cannot_be_written_keeps_no_other_unwatched(
    pool: Pool, caplog: pytest.LogCaptureFixture
) -> None:
    """The first in order fails at every sweep: the second one's silence, and its event that is over, are told
    all the same.

    Broken twin: with one failure ending the job, nobody behind it is ever looked at (seen to fail)."""
    scopes = await seed(pool) + await seed(pool, tenant="beta")
    await run_full(pool, scopes)
    await poison(pool)
    watch = Watch(pool)
    watch.now = START + minutes(61)
    await watch.sweep.due()
    await watch.until(68, [])
    told = {(a.tenant_id, a.rule_id, str(a.state)) for a, _ in await history(pool)}
    assert told == {
        (1, "database.error.full", "firing"),
        (2, "database.error.full", "resolved"),
        (2, "host.silent", "firing"),
    }
    assert "not this one" in caplog.text


async def test_however_many_of_a_customers_hosts_fail_those_behind_them_are_looked_at(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two at a time are read, the two longest due fail at every sweep: the third one's event ends by itself.

    Broken twin: always read from the longest due on, the first page comes again and again (seen to fail)."""
    monkeypatch.setattr(sweep, "BATCH", 2)
    scopes = await seed(pool, hosts=2) + await seed(pool, tenant="beta")
    await run_full(pool, scopes, apart_s=1)
    await poison(pool)
    watch = Watch(pool)
    watch.now = START + minutes(62)
    await watch.sweep.due()
    told = [(a.tenant_id, str(a.state)) for a, _ in await history(pool)]
    assert told == [(1, "firing"), (1, "firing"), (2, "resolved")]


async def test_what_was_known_to_be_silent_before_we_were_down_holds_nothing_back(pool: Pool) -> None:
    """Five hosts of three customers are off since long, one after the other, and told. We are down for two
    minutes, so all silence is measured anew: theirs is no sign of a fault of ours, and a cluster that falls
    silent afterwards rings. (Seen failing: a mass silence, and everything held until a person came.)"""
    scopes = await customers(pool, 6, hosts=2)
    watch = Watch(pool)
    off = [scopes[0], scopes[2], scopes[4], scopes[6], scopes[8]]
    on = [scope for scope in scopes if scope not in off]
    for number in range(5):
        await watch.until(16 * number + 1, on + off[number:])
    await watch.until(80, on)
    watch.now += minutes(2)
    await watch.until(92, on)
    async with pool.connection() as conn:
        assert await open_operations_alarms(conn) == []
    await watch.until(110, on[:-2])
    assert {(a.rule_id, str(a.state)) for a, _ in await history(pool) if a.priority == 1} == {
        ("deployment.silent", "firing")
    }
