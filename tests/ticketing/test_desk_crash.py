"""The desk killed between any two statements: afterwards another desk ends where an undisturbed one would.

Broken twin (tried once): saving the alert's progress in a transaction of its own before the ticket's loses
the ticket when killed in between; ``test_killed_at_every_statement`` then finds no ticket.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from storage.pool import Pool
from ticketing import casebook, desk

from .desk_world import World


class Killed(BaseException):
    """The process is gone."""


@contextlib.contextmanager
def killed_at(number: int) -> Iterator[list[int]]:
    """Within, the ``number``-th statement of any connection kills the worker before it is sent."""
    count = [0]
    original = psycopg.AsyncConnection.execute

    async def execute(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(query, str) or query.startswith(b"SET TimeZone"):  # the pool's own
            return await original(self, query, *arguments, **options)
        count[0] += 1
        if count[0] == number:
            raise Killed
        return await original(self, query, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(psycopg.AsyncConnection, "execute", execute)
        yield count


async def _life(world: World, rule: str, kill_at: int) -> bool:
    """One problem's life, each stage begun by a desk that is killed at its ``kill_at``-th statement; False:
    no stage had so many."""
    alert = await world.fires(rule=rule)
    killed = await _stage(world, kill_at)
    await world.acknowledge()
    killed |= await _stage(world, kill_at)
    await alert.goes("resolved")
    return killed | await _stage(world, kill_at)


async def _stage(world: World, kill_at: int) -> bool:
    with killed_at(kill_at) as count, contextlib.suppress(Killed):
        await desk.work(world.pool, world.settings, world.now)
    await world.round()
    return count[0] >= kill_at


async def test_killed_at_every_statement(pool: Pool) -> None:
    """One ticket, one page, one taking in charge, one recovery per problem, wherever the desk was killed."""
    world = World(pool)
    await world.registry()
    number = 1
    while await _life(world, f"rule-{number}", number):
        number += 1
    assert number > 10, "the desk does more than ten statements for a ticket"
    expected = ["opened", "paging", "taken", "paging_ended", "recovered"]
    rows = await world.rows("SELECT tenant_id, ticket_id FROM ticket ORDER BY ticket_id")
    assert len(rows) == number
    async with pool.connection() as conn:
        for tenant_id, ticket_id in rows:
            history = await casebook.history(conn, tenant_id, ticket_id)
            assert [str(entry.kind) for entry in history] == expected
    assert await world.rows("SELECT count(*) FROM page_request") == [(number,)]
    assert await world.rows("SELECT count(*) FROM desk_progress WHERE failures > 0") == [(0,)]


async def test_cancelled_in_flight(pool: Pool) -> None:
    """Workers cancelled in the middle of anything leave nothing half done; the last one finishes all."""
    world = World(pool)
    await world.registry()
    for n in range(8):
        await world.fires(rule=f"rule-{n}")
    for steps in range(1, 60, 3):
        stop = asyncio.Event()
        workers = [asyncio.create_task(desk.run(pool, world.settings, world.clock, stop)) for _ in range(2)]
        for _ in range(steps):
            await asyncio.sleep(0.0005)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    await world.round()
    assert await world.rows("SELECT count(*), count(DISTINCT problem_key) FROM ticket") == [(8, 8)]
    assert await world.rows("SELECT count(*) FROM page_request WHERE ended_at IS NULL") == [(8,)]
    assert await world.rows("SELECT count(*) FROM ticket_event WHERE kind = 'opened'") == [(8,)]


async def test_run_stops_when_told(pool: Pool) -> None:
    """The worker opens a ticket while it runs and ends soon after ``stop``."""
    world = World(pool)
    await world.registry()
    stop = asyncio.Event()
    worker = asyncio.create_task(desk.run(pool, world.settings, world.clock, stop))
    await world.fires()
    while await world.ticket() is None:  # noqa: ASYNC110 - it watches the database
        await asyncio.sleep(0.01)
    stop.set()
    await worker
