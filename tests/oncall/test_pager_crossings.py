"""What crosses the pager's way: an answer while it decides, a clock put right, a word that is lost."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from oncall import store
from oncall.paging import Paging, Step
from oncall.targets import Conn, OrderedList
from storage.pool import Pool
from tests.oncall.lab import lab
from tests.oncall.world import ANNA, Registry
from wire.clock import utcnow


async def test_an_answer_while_the_pager_decides_wakes_nobody(pool: Pool, registry: Registry) -> None:
    """Somebody answers through the API between the decision to ring Anna and her call: it is not placed, and
    the paging is looked at again at once, to hang up what rings.

    Broken twin (tried): asked only whether its claim stands, the pager rang Anna for an answered ticket."""
    request = registry.request()
    async with lab(pool) as here:
        listed = OrderedList(here.settings)

        async def meanwhile(conn: Conn, paging: Paging, now: datetime) -> Step | None:
            async with pool.connection() as other, other.transaction():
                ben = await store.person_by_key(other, "ben")
                assert ben is not None
                assert await store.acknowledge_by_api(other, *request, ben, now, {})
            return await listed(conn, paging, now)

        here.targets = meanwhile
        pager = here.pager()
        await pager.sync()
        assert await pager.look()
        assert here.called() == []
        assert registry.rows("SELECT lease_until, next_look_at <= now() FROM paging") == [(None, True)]


@pytest.mark.parametrize("phase", ["no word of the call", "pause between rounds"])
async def test_a_clock_that_is_put_right_leaves_no_phone_silent(
    pool: Pool, registry: Registry, phase: str
) -> None:
    """The clock was an hour ahead when paging began and is put right (a machine that just started): the phone
    rings again as soon as it would have, not an hour later.

    Broken twin (tried): with the next look left where the wrong clock had put it nothing happened for an
    hour; with the call's times left there, its deadline moved an hour away at the next look."""
    ahead = timedelta(hours=1)
    registry.request()
    async with lab(pool, clock=lambda: utcnow() + ahead, loop_pause_s=1.0) as here:
        here.script(default={"number": "", "behaviour": "busy"})
        faults = [{"kind": "never-rings"}, {"kind": "lost-callbacks"}]
        here.script(faults=faults if phase == "no word of the call" else [])
        pager = here.pager()
        await pager.sync()
        placed = "SELECT count(*) >= 1 FROM page WHERE state = 'placed'"
        await here.look_until(
            placed if phase == "no word of the call" else "SELECT round = 2 FROM paging", timeout_s=20
        )
        before = len(here.called())
        ahead = timedelta()
        async with asyncio.timeout(15):
            while len(here.called()) == before:
                await pager.sync()
                await pager.look()
                await asyncio.sleep(0.02)
        assert registry.rows("SELECT count(*) FROM page WHERE created_at > now()") == [(0,)]


async def test_the_lost_word_of_a_calls_end_is_asked_for(pool: Pool, registry: Registry) -> None:
    """Anna picks up, presses nothing and hangs up while our routes are away: the provider is asked now and
    then, and she is rung again within seconds, not after the minute and a half that she may listen.

    Broken twin (tried): asked only once that time is up, nobody is rung for so long."""
    registry.request()
    async with lab(pool, talk_look_s=0.2) as here:
        here.script(phones=[{"number": ANNA, "behaviour": "manual"}])
        await here.pager().sync()
        await here.look_until("SELECT true FROM page WHERE state = 'ringing'")
        [call] = here.exchange.calls.values()
        here.exchange.do(call, "answer")
        await here.look_until("SELECT true FROM page WHERE state = 'answered'")
        ours, here.apps["ours"] = here.apps["ours"], _away
        here.exchange.do(call, "hangup")
        while call.ended_at is None:  # noqa: ASYNC110 - the company's tasks take their turn
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        here.apps["ours"] = ours
        await here.look_until("SELECT count(*) = 2 FROM page", timeout_s=10)
        assert here.called() == [ANNA, ANNA]


async def _away(_scope: Any, _receive: Any, _send: Any) -> None:
    raise ConnectionError
