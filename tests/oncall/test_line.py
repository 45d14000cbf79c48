"""One person's phone: one call at a time, bundled in a storm, and never a page dropped."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from oncall.line import Hold, Line, Pass, Ring, may_ring
from oncall.settings import Settings
from oncall.sql import Q
from storage.pool import Pool
from tests.oncall.lab import lab
from tests.oncall.test_page import NOW
from tests.oncall.world import ANNA, BEN, Registry
from wire.clock import utcnow

SETTINGS = Settings()


def line(**changes: Any) -> Line:
    """A phone that nobody has called yet."""
    values: dict[str, Any] = {
        "name": "Anna",
        "live": False,
        "recent": 0,
        "last_at": None,
        "waiting_since": NOW,
        "spent": 0,
        "last_any_at": None,
    }
    return Line(**values | changes)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def test_a_quiet_phone_is_rung() -> None:
    """And may read out the tickets that wait for it."""
    assert may_ring(line(), SETTINGS, NOW) == Ring(14)


def test_a_phone_in_use_is_waited_for_and_then_passed_over() -> None:
    """90 seconds, then the next person."""
    assert isinstance(may_ring(line(live=True), SETTINGS, NOW), Hold)
    assert isinstance(may_ring(line(live=True, waiting_since=ago(90)), SETTINGS, NOW), Pass)


def test_the_fourth_call_in_a_quarter_of_an_hour_is_a_summary() -> None:
    """It waits a moment after the third, to collect what comes."""
    held = may_ring(line(recent=3, last_at=ago(5)), SETTINGS, NOW)
    assert isinstance(held, Hold)
    assert held.until == ago(5) + timedelta(seconds=20)
    assert isinstance(may_ring(line(recent=3, last_at=ago(20)), SETTINGS, NOW), Ring)


def test_the_spend_cap_spaces_calls_and_stops_none() -> None:
    """Past the cap: one call each 30 seconds."""
    held = may_ring(line(spent=300, last_any_at=ago(1)), SETTINGS, NOW)
    assert isinstance(held, Hold)
    assert held.until == ago(1) + timedelta(seconds=30)
    assert isinstance(may_ring(line(spent=10_000, last_any_at=ago(31)), SETTINGS, NOW), Ring)


@given(
    st.booleans(),
    st.integers(0, 50),
    st.none() | st.integers(0, 4000),
    st.integers(0, 200),
    st.integers(0, 1000),
    st.none() | st.integers(0, 4000),
)
def test_every_verdict_has_a_near_future(
    live: bool, recent: int, last: int | None, waited: int, spent: int, any_: int | None
) -> None:
    """Ring, somebody else, or a time that is after now and at most half a minute away."""
    last_at, last_any_at = (None if s is None else ago(s) for s in (last, any_))
    verdict = may_ring(
        line(
            live=live,
            recent=recent,
            last_at=last_at,
            waiting_since=ago(waited),
            spent=spent,
            last_any_at=last_any_at,
        ),
        SETTINGS,
        NOW,
    )
    if isinstance(verdict, Hold):
        assert NOW < verdict.until <= NOW + timedelta(seconds=30)


async def test_a_storm_is_covered_by_few_calls_worst_and_newest_first(pool: Pool, registry: Registry) -> None:
    """Sixty critical tickets at once: each is acknowledged, by a call that read it out; few calls are placed,
    and the second call reads the worst and newest first."""
    for n in range(60):
        registry.request(f"problem {n}", priority=1 + n % 2)
    async with lab(pool, bundle_max=10, persons=("anna",)) as here:
        here.script(phones=[{"number": ANNA, "behaviour": "auto", "after_s": 1}])
        await here.pager().sync()
        await here.look_until("SELECT count(*) = 60 FROM acknowledgement", pagers=3, timeout_s=60)
        calls = list(here.exchange.calls.values())
    assert len(calls) <= 15
    assert registry.value("SELECT count(*) FROM paging WHERE state = 'active'") == 0
    said = " ".join(text for call in calls for text in call.lines)
    for n in range(60):
        assert f"problem {n}, " in said
    summary = next(call for call in calls if any("tickets" in text for text in call.lines))
    assert "Priority 1" in summary.lines[1]
    bundles = [int(size) for size in re.findall(r"Press 4 to take all (\d+)", said)]
    assert max(bundles) == 10
    assert sum(bundles) > 40


async def test_a_ticket_that_ends_does_not_hang_up_the_others_call(pool: Pool, registry: Registry) -> None:
    """The lead ticket of a summary call recovers while it rings: the call goes on for the others."""
    requests = [registry.request(f"problem {n}") for n in range(4)]
    async with lab(pool, ring_s=600, persons=("anna",)) as here:
        here.script(phones=[{"number": ANNA, "behaviour": "manual"}])
        await here.pager().sync()
        await here.look_until("SELECT true FROM page WHERE state = 'ringing'")
        await here.look_until("SELECT count(*) = 3 FROM paging WHERE waiting_for IS NOT NULL")
        first = next(iter(here.exchange.calls.values()))
        registry.end((requests[0][0], await here.value("SELECT page_request_id FROM page")))
        await here.pager().sync()
        await here.look_until("SELECT count(*) = 3 FROM page WHERE state = 'ringing'")
        assert first.status == "canceled"
        lead = await here.value(
            "SELECT page_request_id FROM page WHERE state = 'ringing' AND bundle_id IS NULL"
        )
        registry.end((requests[0][0], lead))
        await here.pager().sync()
        await here.look_until(f"SELECT next_look_at IS NULL FROM paging WHERE page_request_id = {lead}")
        second = list(here.exchange.calls.values())[-1]
        assert second.status == "ringing"
        here.exchange.do(second, "answer")
        while not second.listening:
            await here.look_until("SELECT true")
        here.exchange.do(second, "press:4")
        await here.look_until("SELECT count(*) = 2 FROM acknowledgement")


async def test_calls_that_could_not_be_placed_spend_nothing(pool: Pool) -> None:
    """A provider that refuses everything for an hour does not hold back the first call that it takes."""
    now = NOW
    insert = (
        "INSERT INTO page (tenant_id, page_id, page_request_id, person_id, transport, step, round, fence,"
        " state, provider, created_at) VALUES (1, %s, 1, 1, 'voice', 0, 1, 1, 'failed', 'phones', %s)"
    )
    values = {"tenant_id": 2, "page_request_id": 9, "person_id": 2, "window_s": 900, "now": now}
    async with pool.connection() as conn, conn.cursor() as cursor:
        refused = [(uuid4(), now - timedelta(seconds=5 + 2.5 * number)) for number in range(400)]
        await cursor.executemany(insert, refused)
        row = await (await conn.execute(Q.line, values)).fetchone()
    assert row is not None
    assert row[3] == 0


async def test_the_spend_cap_spaces_calls_and_tells_operations(pool: Pool, registry: Registry) -> None:
    """Past one call an hour (here): the second is placed all the same, half a minute later, an alarm is a
    row that the auditor rings for, and the timeline says why it waited."""
    later = timedelta()
    registry.request("first")
    registry.request("second")
    async with lab(pool, calls_per_hour=1, clock=lambda: utcnow() + later, persons=("anna", "ben")) as here:
        here.script(phones=[{"number": ANNA, "behaviour": "busy"}, {"number": BEN, "behaviour": "manual"}])
        one = here.pager()
        await one.sync()
        for later in (timedelta(seconds=n) for n in range(0, 60, 5)):
            while await one.look():  # noqa: ASYNC110 - the company's tasks take their turn
                await asyncio.sleep(0.02)
            if not 0 < later.total_seconds() < 25:
                continue
            assert len(here.called()) == 1, "spaced"
        assert len(here.called()) >= 2
    [(kind, urgent, detail)] = registry.rows("SELECT kind, urgent, detail FROM oncall_alarm")
    assert (kind, urgent) == ("spend_cap", True)
    assert "its cap is 1" in detail
    assert (
        registry.value("SELECT count(*) FROM page_event WHERE position('calls in an hour' IN text) > 0") > 0
    )
