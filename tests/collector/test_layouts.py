"""Layouts: stored once under concurrency, by their content, and bounded in number."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest

from collector import layouts
from tests.collector.kit import CPU, Agent, Front, running
from wire import batch as wire_batch
from wire import layout as wire_layout
from wire.layout import Layout, Series


def other(number: int) -> Layout:
    return Layout(1, 10.0, (Series("system.cpu.utilization", {"n": str(number)}),))


async def put(agent: Agent, body: bytes, digest: str | None = None) -> httpx.Response:
    path = f"/v1/layouts/{digest or wire_layout.digest(body).hex()}"
    return await agent.http.put(path, content=body, headers={"Authorization": f"Bearer {agent.token()}"})


async def test_thirty_hosts_register_one_layout_once(front: Front) -> None:
    """All at the same time: one row, everybody is told that it is known."""
    agents = [await front.agent(f"host-{n}") for n in range(6)]
    answers = await asyncio.gather(*(agent.put_layout() for agent in agents for _ in range(5)))
    assert {answer.status_code for answer in answers} == {204}
    assert await front.count("layout") == 1


async def test_tenants_do_not_share_layouts(front: Front) -> None:
    """What one tenant registered, another is asked for."""
    one, two = await front.agent("h", "acme"), await front.agent("h", "other")
    await one.put_layout()
    assert (await two.post(two.batch(frames=[_frame(front)]))).status_code == 409


def _frame(front: Front) -> wire_batch.Frame:
    return wire_batch.Frame(
        wire_layout.digest(wire_layout.encode(CPU)), int(front.clock().timestamp() * 1000), [0.1, 0.2]
    )


async def test_the_address_must_be_the_contents_name(front: Front) -> None:
    """Another digest than the body's is refused and stored nowhere."""
    agent = await front.agent()
    answer = await put(agent, wire_layout.encode(CPU), "0" * 64)
    assert answer.status_code == 422
    assert answer.json()["type"] == "urn:ucx:problem:wrong-digest"
    assert (await put(agent, b"", "xyz")).status_code == 404
    assert await front.count("layout") == 0


async def test_what_is_no_layout_is_refused_with_its_field(front: Front) -> None:
    """422 (or 413) with problem details; also when the client is still sending what is too long."""
    agent = await front.agent()
    for body in (b"", b"\x00", b"\x93\x01\x00\x90", wire_layout.encode(CPU)[:-1], b"x" * 200_000):
        answer = await put(agent, body)
        assert answer.status_code in (413, 422)
        assert answer.headers["Content-Type"] == "application/problem+json"
    assert await front.count("layout") == 0


async def test_there_is_an_end_to_layouts(database_url: str) -> None:
    """A check whose series change all the time is stopped with words; known layouts stay usable."""
    async with running(database_url, layouts_per_tenant=2) as front:
        agent = await front.agent()
        codes = [(await put(agent, wire_layout.encode(other(n)))).status_code for n in (1, 2, 3, 1)]
        refused = await put(agent, wire_layout.encode(other(3)))
    assert codes == [204, 204, 422, 204]
    assert refused.json()["type"] == "urn:ucx:problem:too-many-layouts"


async def test_one_host_does_not_use_up_its_tenants_layouts(database_url: str) -> None:
    """The host that has used its share is stopped, the others go on."""
    async with running(database_url, layouts_per_host=1) as front:
        busy, calm = await front.agent("busy"), await front.agent("calm")
        assert (await busy.send((front.clock(), [0.5]), layout=other(1))).status_code == 200
        assert (await put(busy, wire_layout.encode(other(2)))).status_code == 422
        assert (await put(calm, wire_layout.encode(other(2)))).status_code == 204


@contextlib.asynccontextmanager
async def held_up(front: Front) -> AsyncIterator[None]:
    """As if another collector were taking a layout of this tenant, for long."""
    async with front.pool.connection() as conn, conn.transaction():
        await conn.execute(
            "SELECT pg_advisory_xact_lock(hashtext('series'), tenant_id) FROM tenant WHERE key = 'acme'"
        )
        yield


async def one_waits(front: Front) -> None:
    """Return when somebody waits for what ``held_up`` holds."""
    asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    async with front.pool.connection() as conn:
        for _ in range(100):
            if await (await conn.execute(asked)).fetchone() != (0,):
                return
            await asyncio.sleep(0.05)
    raise AssertionError("nobody waits")


async def test_a_fleets_new_layouts_leave_connections_for_the_batches_of_others(front: Front) -> None:
    """Twenty of one tenant at once, more than there are connections, and none goes on: another tenant's batch
    is stored meanwhile.

    Broken twin, tried: waiting for their turn in the database, they hold all connections."""
    fleet = [await front.agent(f"host-{n}") for n in range(20)]
    calm = await front.agent("calm", tenant="other")
    assert (await calm.send((front.clock(), [0.5, 0.5]))).status_code == 200
    async with held_up(front):
        waiting = [
            asyncio.create_task(put(agent, wire_layout.encode(other(n)))) for n, agent in enumerate(fleet)
        ]
        await one_waits(front)
        async with asyncio.timeout(4):
            assert (await calm.send((front.clock(), [0.5, 0.5]))).status_code == 200
    assert {answer.status_code for answer in await asyncio.gather(*waiting)} == {204}
    assert await front.count("layout") == len(fleet) + 1


async def test_who_waits_for_its_turn_for_too_long_is_told_to_come_again(
    front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """429 with Retry-After; then it is taken."""
    agent = await front.agent()
    monkeypatch.setattr(layouts, "TURN_S", 0.1)
    async with held_up(front):
        first = asyncio.create_task(put(agent, wire_layout.encode(other(1))))
        await one_waits(front)
        busy = await put(agent, wire_layout.encode(other(2)))
    assert (busy.status_code, busy.headers["Retry-After"]) == (429, "5")
    assert (await first).status_code == 204
    assert (await put(agent, wire_layout.encode(other(2)))).status_code == 204
