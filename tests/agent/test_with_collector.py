"""The agent's own parts against the collector's: what one sends the other stores, once."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from agent.clock import Timekeeper
from agent.enrol import enrol
from agent.identity import load_identity, load_key
from agent.shipper import Shipper
from agent.spool import Spool
from agent.token import TokenMaker, new_run
from agent.transport import Transport
from tests.agent.kit import LAYOUT
from tests.collector.kit import WoundClock, running
from wire import layout as wire_layout
from wire.batch import Event, Frame, Severity
from wire.clock import Clock, utcnow

DIGEST = wire_layout.digest(LAYOUT)


@pytest.mark.asyncio
async def test_enrolment_and_delivery_meet_the_real_collector(tmp_path: Path, database_url: str) -> None:
    """Enrol, deliver events and frames (with the layout asked for), lose an answer, deliver again: stored
    once, and nothing waits any more."""
    async with running(database_url) as front:
        await front.customer()
        token = await front.enrolment_token()
        identity = await asyncio.to_thread(enrol, tmp_path, front.url, token, "web-1")
        assert (identity.tenant, identity.deployment, identity.host) == ("acme", "main", "web-1")
        (tmp_path / "agent.json").unlink()
        again = await asyncio.to_thread(enrol, tmp_path, front.url, token, "web-1")
        assert again == identity, "the answer was lost: the same token and key get the same answer"
        await asyncio.to_thread(deliver, tmp_path, front.url, identity.agent_id)
        assert (await front.count("frame"), await front.count("event")) == (3, 1)


def deliver(state: Path, url: str, agent_id: str) -> None:
    timekeeper = Timekeeper(utcnow)
    spool = Spool(state, agent_id, max_bytes=1 << 20, max_age_s=1e6, now_ms=timekeeper.stamp_ms)
    transport = Transport(url)
    tokens = TokenMaker(load_key(state), agent_id)
    shipper = Shipper(spool, transport, tokens, timekeeper, longest_backoff_s=1.0)
    spool.put_layout(DIGEST, LAYOUT)
    now = timekeeper.stamp_ms()
    spool.put_events([Event(now, "ucx-agent", "agent.start", Severity.INFO, "hello", {"a.b": "c"})], 0)
    for step in range(3):
        spool.put_frames([Frame(DIGEST, now - 1000 * step, [0.5, None])], 0)
    batch = spool.oldest("frames")
    assert batch is not None
    shipper._send(batch)  # the layout is asked for
    steps = 0
    while spool.total().batches:
        shipper.step()
        steps += 1
        assert steps < 20, shipper.condition
        if steps == 4:  # as if the answer had been lost: the same bytes again
            shipper._send(batch)
    offset = timekeeper.offset_s()
    assert offset is not None
    assert spool.counters == {
        "frames_dropped": 0,
        "events_dropped": 0,
        "batches_refused": 0,
        "samples_refused": 0,
    }
    transport.close()
    spool.close()


@pytest.mark.asyncio
@pytest.mark.parametrize(
    ("wrong_s", "then_s"),
    [(-86_400, -86_400), (86_400, 86_400), (-86_400, 0), (86_400, 0)],
    ids=["a day behind", "a day ahead", "a day behind, then set right", "a day ahead, then set right"],
)
async def test_readings_of_a_wrong_clock_arrive_at_their_true_time(
    tmp_path: Path, database_url: str, wrong_s: int, then_s: int
) -> None:
    """Measured before the collector could be asked for the time, and after: all stored, all as of now.

    Broken twin: see the collector's own test of the window; without it the first batches were refused."""
    async with running(database_url, RealClock()) as front:
        await front.customer()
        token = await front.enrolment_token()
        identity = await asyncio.to_thread(enrol, tmp_path, front.url, token, "web-1")
        host = WrongClock(wrong_s)
        half = Half(tmp_path, front.url, identity.agent_id, host)
        half.put()
        host.wrong_s = then_s
        half.put()
        await asyncio.to_thread(half.drain)
        half.put()
        await asyncio.to_thread(half.drain)
        half.close()
        async with front.pool.connection() as conn:
            stored = await (
                await conn.execute("SELECT time FROM frame UNION ALL SELECT time FROM event")
            ).fetchall()
        assert len(stored) == 6
        assert all(abs(utcnow() - time) < timedelta(minutes=2) for (time,) in stored)
        assert half.spool.counters["batches_refused"] == 0


class RealClock(WoundClock):
    """Goes on by itself."""

    def __init__(self) -> None:
        super().__init__(utcnow())

    def __call__(self) -> datetime:
        return utcnow()


class WrongClock:
    """A host's clock; ``wrong_s`` ahead."""

    def __init__(self, wrong_s: float = 0.0) -> None:
        self.wrong_s = wrong_s

    def __call__(self) -> datetime:
        return utcnow() + timedelta(seconds=self.wrong_s)


class Half:
    """An agent's delivering half, on its own state directory, with a clock that the test sets."""

    def __init__(self, state: Path, url: str, agent_id: str, clock: Clock = utcnow) -> None:
        self.time = Timekeeper(clock)
        self.spool = Spool(
            state,
            agent_id,
            max_bytes=1 << 20,
            max_age_s=1e6,
            now_ms=self.time.steady_ms,
            predecessors=load_identity(state).predecessors,
        )
        self.time.resume(self.spool.get)
        self.transport = Transport(url)
        self.tokens = TokenMaker(load_key(state), agent_id, new_run())
        self.shipper = Shipper(self.spool, self.transport, self.tokens, self.time, longest_backoff_s=0.01)
        self.spool.put_layout(DIGEST, LAYOUT)

    def put(self) -> int:
        """One frame and one event, as the outbox makes them; the frame's stamp."""
        now, scale = self.time.stamp_ms(), self.time.scale_ms
        self.spool.put_frames([Frame(DIGEST, now, [0.5, None])], scale)
        self.spool.put_events([Event(now, "ucx-agent", "agent.start", Severity.INFO, "hello", {})], scale)
        return now

    def drain(self) -> None:
        """Deliver until nothing waits."""
        for _ in range(60):
            self.shipper.step()
            if not self.spool.total().batches:
                return
        raise AssertionError(self.shipper.condition)

    def close(self) -> None:
        self.transport.close()
        self.spool.close()
