"""What other rooms read of hosts: one tenant's rows, in time order, with what they mean."""

from __future__ import annotations

from datetime import timedelta

from collector import published
from storage.sql import usage
from tests.collector.kit import CPU, Front
from wire import layout as wire_layout


async def test_a_hosts_facts_and_frames(front: Front) -> None:
    """Frames come oldest first, each with its layout; another tenant's id finds nothing."""
    agent = await front.agent("server-1")
    now = front.clock()
    await agent.send((now - timedelta(seconds=10), [0.2, None]))
    await agent.send((now - timedelta(seconds=20), [0.1, 0.5]))
    async with front.pool.connection() as conn, conn.transaction():
        row = await (await conn.execute("SELECT tenant_id, host_id FROM host")).fetchone()
        assert row is not None
        tenant_id, host_id = row
        facts = await published.host_facts(conn, tenant_id, host_id)
        frames = published.frames_between(conn, tenant_id, host_id, now - timedelta(hours=1), now)
        found = [frame async for frame in frames]
        nobody = await published.host_facts(conn, tenant_id + 1, host_id)
    assert facts is not None
    assert (facts.name, facts.facts, facts.agent_current) == ("server-1", {"os": "linux"}, True)
    assert nobody is None
    assert [(frame.at, frame.values) for frame in found] == [
        (now - timedelta(seconds=20), [0.1, 0.5]),
        (now - timedelta(seconds=10), [0.2, None]),
    ]
    assert found[0].layout == CPU
    assert found[0].layout_digest == wire_layout.digest(wire_layout.encode(CPU))


def test_every_query_is_used_and_every_use_has_its_query() -> None:
    """queries.sql and the code agree."""
    found = usage("collector")
    assert found.missing == ()
    assert found.unused == ()
