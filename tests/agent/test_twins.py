"""Two hosts with one identity, machines put back to last week, hosts enrolled anew: nothing that was
acknowledged is lost, nothing is stored twice, and people are told."""

from __future__ import annotations

import asyncio
import shutil
import threading
from pathlib import Path
from typing import Any, LiteralString

import pytest
from msgspec.structs import replace

from agent import run
from agent.doctor import examine
from agent.enrol import enrol
from agent.finding import Finding
from agent.identity import load_identity, save_identity
from agent.machine import fingerprint, is_another
from agent.options import Options
from agent.rotation import replace_key
from agent.run import Agent
from tests.agent.test_rotation import asker
from tests.agent.test_with_collector import Half, RealClock, WrongClock
from tests.collector.kit import Front, running
from wire.clock import utcnow


async def enrolled(front: Front, state: Path) -> str:
    await front.customer()
    token = await front.enrolment_token()
    return (await asyncio.to_thread(enrol, state, front.url, token, "web-1")).agent_id


async def rows(front: Front, question: LiteralString) -> list[tuple[Any, ...]]:
    async with front.pool.connection() as conn:
        return await (await conn.execute(question)).fetchall()


async def assert_each_stored_once(front: Front, stamps: list[int]) -> None:
    stored = [round(at.timestamp() * 1000) for (at,) in await rows(front, "SELECT time FROM frame")]
    assert sorted(stored) == sorted(stamps)


def look(state: Path) -> dict[str, Finding]:
    """What doctor says, by subject; of several the last."""
    options = Options(state, state / "none.yaml", False)
    return {finding.subject: finding for finding in examine(options)}


async def test_a_cloned_machine_is_noticed_and_loses_nothing(tmp_path: Path, database_url: str) -> None:
    """Two agents from one state directory, both with readings that wait under the same numbers: all are
    stored once; staff see it in the list of agents and as an event, the administrator in doctor."""
    async with running(database_url, RealClock(), credential_cache_s=0) as front:
        one, two = tmp_path / "one", tmp_path / "two"
        agent_id = await enrolled(front, one)
        first = Half(one, front.url, agent_id)
        stamps = [first.put() for _ in range(3)]
        first.close()
        shutil.copytree(one, two)
        clock = WrongClock()
        halves = [Half(state, front.url, agent_id, clock) for state in (one, two)]
        for _ in range(4):
            clock.wrong_s += 1.0  # for tokens that differ: their times are whole seconds
            for half in halves:
                half.tokens.forget()
                stamps.append(half.put())
                await asyncio.to_thread(half.drain)
        for half in halves:
            half.close()
        await assert_each_stored_once(front, stamps)
        assert halves[1].spool.renumbered > 0
        (row,) = (await front.http.get("/v1/agents", headers=await front.key())).json()
        assert row["seen_twice_at"] is not None
        for _ in range(200):
            told = await rows(front, "SELECT severity FROM event WHERE event_id = 'agent.cloned'")
            if told:
                break
            await asyncio.sleep(0.02)
        assert told == [("warning",)]
        finding = (await asyncio.to_thread(look, one))["identity"]
        assert "two agents speak" in finding.what
        assert "enrol --again" in finding.do


async def test_a_machine_put_back_to_a_snapshot_loses_and_doubles_nothing(
    tmp_path: Path, database_url: str
) -> None:
    """Its spool gives numbers that the collector knows with other content: it renumbers, once, and goes on.
    What waited in the snapshot and had been delivered since is known, and forgotten.

    Broken twin: an agent that takes a renumbering for a receipt loses the first batch after the restore."""
    async with running(database_url, RealClock()) as front:
        state, snapshot = tmp_path / "state", tmp_path / "snapshot"
        agent_id = await enrolled(front, state)
        half = Half(state, front.url, agent_id)
        stamps = [half.put() for _ in range(3)]
        half.close()
        shutil.copytree(state, snapshot)
        half = Half(state, front.url, agent_id)
        stamps += [half.put() for _ in range(3)]
        await asyncio.to_thread(half.drain)
        half.close()
        shutil.rmtree(state)
        shutil.copytree(snapshot, state)
        half = Half(state, front.url, agent_id)
        stamps += [half.put() for _ in range(3)]
        await asyncio.to_thread(half.drain)
        incidents = [incident.event_id for incident in half.spool.take_incidents()]
        assert "batch.renumbered" in incidents
        half.close()
        await assert_each_stored_once(front, stamps)


async def test_a_host_that_is_put_back_behind_a_change_of_its_key_speaks_until_that_retires(
    tmp_path: Path, database_url: str
) -> None:
    """Its old key is good for the overlap; a third key it does not get; doctor says what to do."""
    async with running(database_url, RealClock(), key_overlap_days=1e-4) as front:
        state, snapshot = tmp_path / "state", tmp_path / "snapshot"
        agent_id = await enrolled(front, state)
        shutil.copytree(state, snapshot)
        await asyncio.to_thread(replace_key, state, asker(state, front))
        half = Half(snapshot, front.url, agent_id)
        stamps = [half.put()]
        await asyncio.to_thread(half.drain)
        await assert_each_stored_once(front, stamps)
        await rows(front, "UPDATE agent_key SET retires_at = now() - interval '1 s' RETURNING 1")
        front.process.directory.forget_agent(next(iter(front.process.directory._agents._entries)))
        half.put()
        half.tokens.forget()
        for _ in range(3):
            await asyncio.to_thread(half.shipper.step)
        assert half.spool.total().batches == 2, "kept"
        assert "was replaced" in half.shipper.condition.trouble
        half.close()
        finding = (await asyncio.to_thread(look, snapshot))["credential"]
        assert "enrol --again" in finding.do


async def test_a_host_that_is_enrolled_anew_delivers_what_it_had(tmp_path: Path, database_url: str) -> None:
    """Revoked, so its readings wait; one batch had been stored, but its receipt was lost. Enrolled again,
    under a new id with a new key and a new epoch: everything is stored once.

    Broken twin: the spool of the earlier identity set aside (as for another customer's) loses what waited."""
    async with running(database_url, RealClock(), credential_cache_s=0) as front:
        former = await enrolled(front, tmp_path)
        half = Half(tmp_path, front.url, former)
        stamps = [half.put() for _ in range(3)]
        batch = half.spool.oldest("events")
        assert batch is not None
        await asyncio.to_thread(half.shipper._send, batch)  # stored; the receipt is lost
        await front.http.post(f"/v1/agents/{former}/revoke", headers=await front.key())
        for _ in range(4):
            await asyncio.to_thread(half.shipper.step)
        assert half.spool.total().batches == 6, "a revoked agent keeps everything"
        epoch = half.spool.get("epoch")
        half.close()
        refused = (await asyncio.to_thread(look, tmp_path))["credential"]
        assert "revoked" in refused.what
        assert "enrol --again" in refused.do
        again = await asyncio.to_thread(enrol, tmp_path, front.url, await front.enrolment_token(), "web-1")
        assert (again.agent_id != former, again.predecessors) == (True, (former,))
        half = Half(tmp_path, front.url, again.agent_id)
        stamps.append(half.put())
        assert half.spool.get("epoch") != epoch
        await asyncio.to_thread(half.drain)
        half.close()
        await assert_each_stored_once(front, stamps)
        assert await rows(front, "SELECT count(*) FROM event WHERE source = 'ucx-agent'") == [(4,)]


async def test_another_customers_readings_do_not_come_along(tmp_path: Path, database_url: str) -> None:
    """The host was enrolled for another deployment: what it measured for the first one is set aside."""
    async with running(database_url, RealClock()) as front:
        former = await enrolled(front, tmp_path)
        half = Half(tmp_path, front.url, former)
        half.put()
        half.close()
        await front.customer("other")
        token = await front.enrolment_token("other")
        again = await asyncio.to_thread(enrol, tmp_path, front.url, token, "web-1")
        assert again.predecessors == ()
        half = Half(tmp_path, front.url, again.agent_id)
        assert half.spool.total().batches == 0
        assert "earlier identity were set aside" in half.spool.take_incidents()[0].message
        half.close()


async def test_a_running_agent_goes_on_under_its_new_identity(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`enrol --again` beside it: no restart by hand is needed."""
    monkeypatch.setattr(run, "_HOUSEKEEPING_S", 0.2)
    async with running(database_url, RealClock(), credential_cache_s=0) as front:
        former = await enrolled(front, tmp_path)
        options = Options(tmp_path, tmp_path / "none.yaml", False, interval_s=0.5, max_backoff_s=0.2)
        ended: list[bool] = []
        agent = Agent(options)
        thread = threading.Thread(target=lambda: ended.append(agent.run()))
        thread.start()
        again = await asyncio.to_thread(enrol, tmp_path, front.url, await front.enrolment_token(), "web-1")
        await asyncio.to_thread(thread.join, 30)
        assert ended == [True]
        second = Agent(options)
        thread = threading.Thread(target=second.run)
        thread.start()
        spoke: LiteralString = "SELECT DISTINCT agent_id FROM batch_ledger"
        for _ in range(400):
            ids = {agent_id.hex for (agent_id,) in await rows(front, spoke)}
            if again.agent_id in ids:
                break
            await asyncio.sleep(0.05)
        second.inbox.put(run.STOP)
        await asyncio.to_thread(thread.join, 30)
        assert again.agent_id in ids
        assert former != again.agent_id


async def test_a_spool_that_could_not_be_used_at_the_start_is_used_as_soon_as_it_can(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that started with a full disk: what waited in the spool goes out without a restart by hand, and
    what comes is on disk again.

    Broken twin: without ``may_return`` it stayed in memory only, and what waited grew too old."""
    monkeypatch.setattr(run, "_HOUSEKEEPING_S", 0.2)
    async with running(database_url, RealClock(), credential_cache_s=0) as front:
        agent_id = await enrolled(front, tmp_path)
        half = Half(tmp_path, front.url, agent_id)
        waiting = half.put()
        half.close()
        file, away = tmp_path / "spool.db", tmp_path / "away"
        file.rename(away)
        file.mkdir()
        options = Options(tmp_path, tmp_path / "none.yaml", False, interval_s=0.5, max_backoff_s=0.2)
        ended: list[bool] = []
        agent = Agent(options)
        thread = threading.Thread(target=lambda: ended.append(agent.run()))
        thread.start()
        question: LiteralString = "SELECT time FROM frame"
        for _ in range(400):
            if await rows(front, question):
                break
            await asyncio.sleep(0.05)
        assert not ended
        file.rmdir()
        away.rename(file)
        await asyncio.to_thread(thread.join, 30)
        assert ended == [True]
        agent = Agent(options)
        thread = threading.Thread(target=agent.run)
        thread.start()
        for _ in range(400):
            there = [round(at.timestamp() * 1000) for (at,) in await rows(front, question)]
            if waiting in there:
                break
            await asyncio.sleep(0.05)
        agent.inbox.put(run.STOP)
        await asyncio.to_thread(thread.join, 30)
        assert there.count(waiting) == 1


def test_a_copied_state_directory_is_noticed_on_the_other_machine(tmp_path: Path) -> None:
    """By the system's own identifier, hashed; where it has none, nothing is said."""
    name = tmp_path / "machine-id"
    assert fingerprint((tmp_path / "none", name)) == ""
    name.write_text("0123456789abcdef0123456789abcdef\n")
    here = fingerprint((tmp_path / "none", name))
    assert len(here) == 16
    name.write_text("ffff456789abcdef0123456789abcdef\n")
    assert is_another(here, fingerprint((name,)))
    assert not is_another("", here)
    assert not is_another(here, "")


async def test_doctor_says_that_the_files_are_of_another_machine(tmp_path: Path, database_url: str) -> None:
    """And nothing while all is well; a wrong clock is no revoked credential."""
    async with running(database_url, RealClock()) as front:
        await enrolled(front, tmp_path)
        found = await asyncio.to_thread(look, tmp_path)
        assert "machine" not in found
        assert found["key"].what.startswith(f"in force since {utcnow():%Y-}")
        identity = load_identity(tmp_path)
        save_identity(tmp_path, replace(identity, machine="x"))
        if fingerprint():
            assert "another machine" in (await asyncio.to_thread(look, tmp_path))["machine"].what
