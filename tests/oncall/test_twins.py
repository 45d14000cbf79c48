"""The pagers' broken twins, caught in seconds: each breaks one guarantee that the real pager keeps in the
same scene.

``python -m tests.kill --story pagers --twin ...`` catches them among killed processes, which takes minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from oncall import pager, paging
from storage.pool import Pool
from tests.kill import pager_twins, twins
from tests.oncall.lab import lab
from tests.oncall.test_pager_kill import look_and_die
from tests.oncall.world import ANNA, Registry
from wire.clock import utcnow

Scene = Callable[[Pool, Registry], Awaitable[bool]]
_LIES = "SELECT provider_ref FROM page WHERE placed_at IS NOT NULL"


async def killed_anywhere_no_page_is_said_to_be_placed_that_is_not(pool: Pool, registry: Registry) -> bool:
    """Killed all along the look that places the call: what is said of the call is what the company did."""
    point, again = 0, True
    while again:
        point += 3
        async with lab(pool) as here:
            await asyncio.to_thread(registry.start_over)
            here.script(phones=[{"number": ANNA, "behaviour": "manual"}])
            await here.pager().sync()
            again = await look_and_die(here, registry.url, point)
            said = {ref for (ref,) in registry.rows(_LIES) if ref}
            if not said <= here.exchange.calls.keys():
                return False
    return point > 10


async def a_pager_that_stands_still_stops_no_other(pool: Pool, registry: Registry) -> bool:
    """The first has worked and stands still with whatever it holds; the second rings."""
    async with lab(pool) as here:
        first, second = here.pager(), here.pager()
        await first.look()
        registry.request()
        await second.sync()
        await second.look()
        return here.called() == [ANNA]


async def a_call_that_never_rings_is_not_waited_for(pool: Pool, registry: Registry) -> bool:
    """Accepted with 201 and left in the queue: a minute later another call is placed."""
    later = timedelta()
    registry.request()
    async with lab(pool, clock=lambda: utcnow() + later) as here:
        here.script(faults=[{"kind": "never-rings"}])
        one = here.pager()
        await one.sync()
        for later in (timedelta(), timedelta(seconds=30), timedelta(seconds=60)):  # noqa: B007 - the clock
            while await one.look():  # noqa: ASYNC110 - the company's tasks take their turn
                await asyncio.sleep(0.01)
        return len(here.called()) > 1


@pytest.mark.parametrize(
    ("scene", "twin"),
    [
        (killed_anywhere_no_page_is_said_to_be_placed_that_is_not, "mark-before-call"),
        (a_pager_that_stands_still_stops_no_other, "session-lock"),
        (a_call_that_never_rings_is_not_waited_for, "trust-2xx"),
    ],
    ids=["mark-before-call", "session-lock", "trust-2xx"],
)
async def test_the_pager_keeps_what_its_twin_breaks(
    pool: Pool, registry: Registry, monkeypatch: pytest.MonkeyPatch, scene: Scene, twin: str
) -> None:
    """The same scene with the real pager and with its twin."""
    assert await scene(pool, registry)
    registry.start_over()
    registry.run("UPDATE page_request SET ended_at = now()")
    monkeypatch.setattr(twins, "WINDOW_S", 0.0)
    for module, name in ((pager.Pager, "look"), (pager.Pager, "_place"), (paging, "_limit")):
        monkeypatch.setattr(module, name, getattr(module, name))  # undone afterwards
    pager_twins.TWINS[twin]()
    try:
        assert not await scene(pool, registry)
    finally:
        for session in pager_twins.SESSIONS.values():
            await session.close()
        pager_twins.SESSIONS.clear()
