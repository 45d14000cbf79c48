"""The agent's own parts against the collector's: what one sends the other stores, once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from agent.clock import Timekeeper
from agent.enrol import enrol
from agent.identity import load_key
from agent.shipper import Shipper
from agent.spool import Spool
from agent.token import TokenMaker
from agent.transport import Transport
from tests.agent.kit import LAYOUT
from tests.collector.kit import running
from wire import layout as wire_layout
from wire.batch import Event, Frame, Severity
from wire.clock import utcnow

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
        again = await asyncio.to_thread(enrol, tmp_path, front.url, token, "web-1")
        assert again == identity, "the answer was lost: the same token and key get the same answer"
        await asyncio.to_thread(deliver, tmp_path, front.url, identity.agent_id)
        assert (await front.count("frame"), await front.count("event")) == (3, 1)


def deliver(state: Path, url: str, agent_id: str) -> None:
    timekeeper = Timekeeper(utcnow)
    spool = Spool(state, agent_id, max_bytes=1 << 20, max_age_s=1e6, now_ms=timekeeper.stamp_ms)
    transport = Transport(url)
    tokens = TokenMaker(load_key(state), agent_id)
    shipper = Shipper(spool, transport, tokens, timekeeper, agent_id, longest_backoff_s=1.0)
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
    assert spool.counters == {"frames_dropped": 0, "events_dropped": 0, "batches_refused": 0}
    transport.close()
    spool.close()
