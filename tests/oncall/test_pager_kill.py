"""The pager is killed at every point where it can be: no page is lost, and duplicates are few and counted."""

from __future__ import annotations

import asyncio

import pytest
from psycopg.conninfo import make_conninfo

from storage.pool import Pool, open_pool
from tests.oncall.lab import DiesAt, Killed, Lab, lab
from tests.oncall.world import ANNA, Registry

FAULTS = ["reply-lost", "timeout", "5xx", "never-rings", "lost-callbacks", "slow", "refuse", "too-many"]
ANSWERED = "SELECT true FROM acknowledgement"


async def look_and_die(lab: Lab, url: str, at: int) -> bool:
    """One look killed at its n-th suspension; False when the look was over before."""
    doomed = await open_pool(make_conninfo(url, application_name="doomed"), max_size=2)
    await doomed.wait()
    try:
        await DiesAt(lab.pager(doomed).look(), at)
    except Killed:
        return True
    else:
        return False
    finally:
        # A killed process's connections end with it: PostgreSQL rolls back and frees its locks.
        await lab.value(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'doomed'"
        )
        await doomed.close(timeout=0)


async def test_killed_at_every_await_of_placing_a_call_the_page_is_never_lost(
    pool: Pool, registry: Registry
) -> None:
    """For each suspension of the look that places the call: kill there, let the lease run out, go on. The
    phone always rings and the key always counts, and at most one call is placed twice.

    Broken twin: with the page's row written after the call instead of before it, a kill between them leaves a
    call whose page nobody knows, so that its key would be answered 404 (seen to fail)."""
    doubled, point, again = 0, 0, True
    while again:
        point += 1
        async with lab(pool) as here:
            # In a thread: our routes may still hold these rows, and they run in this loop.
            await asyncio.to_thread(registry.start_over)
            here.script(phones=[{"number": ANNA, "behaviour": "auto", "after_s": 1}])
            await here.pager().sync()
            again = await look_and_die(here, registry.url, point)
            await asyncio.sleep(0.02)
            await asyncio.to_thread(registry.run, "UPDATE paging SET lease_until = NULL")
            await here.look_until(ANSWERED)
            assert set(here.called()) == {ANNA}, f"killed at {point}"
            assert len(here.called()) <= 2, f"killed at {point}"
            assert await here.strangers() == [], f"killed at {point}: a key on this call would not count"
            doubled += len(here.called()) - 1
    assert point > 10
    assert doubled <= point // 3


@pytest.mark.parametrize("kind", FAULTS)
async def test_whatever_the_provider_does_the_person_is_reached(
    pool: Pool, registry: Registry, kind: str
) -> None:
    """One fault on the first call: the person still rings and answers.

    Broken twin: a provider's 2xx taken for delivery waits for ever on ``never-rings`` (seen to fail)."""
    registry.request()
    async with lab(pool) as here:
        here.script(
            phones=[{"number": ANNA, "behaviour": "auto", "after_s": 1}], faults=[{"kind": kind, "s": 0.1}]
        )
        await here.pager().sync()
        await here.look_until(ANSWERED)


async def test_a_call_whose_reply_was_lost_is_found_by_listing_and_not_rung_twice(
    pool: Pool, registry: Registry
) -> None:
    """The provider rings, its answer and callbacks are lost: the list shows the call, nothing rings twice."""
    registry.request()
    async with lab(pool, ring_s=300) as here:
        here.script(
            phones=[{"number": ANNA, "behaviour": "manual"}],
            faults=[{"kind": "reply-lost"}, {"kind": "lost-callbacks"}],
        )
        await here.pager().sync()
        await here.look_until("SELECT true FROM page WHERE state = 'ringing'")
        assert here.called() == [ANNA]
        assert await here.value("SELECT provider_ref FROM page") == next(iter(here.exchange.calls))


async def test_a_second_provider_is_tried_when_the_first_fails(pool: Pool, registry: Registry) -> None:
    """5xx from the first provider: the same person is rung through the second, as a page of its own."""
    registry.request()
    async with lab(pool, providers=2) as here:
        here.script(phones=[{"number": ANNA, "behaviour": "auto", "after_s": 1}], faults=[{"kind": "5xx"}])
        await here.pager().sync()
        await here.look_until(ANSWERED)
    states = registry.rows("SELECT provider, state FROM page ORDER BY created_at")
    assert states == [("p1", "failed"), ("p2", "acknowledged")]


async def test_two_pagers_and_thirty_per_cent_faults_lose_nothing(pool: Pool, registry: Registry) -> None:
    """Twelve page requests, three pagers on one database, faults at random: each is answered, each page at
    most once, and every paging that is still active has a next look."""
    for n in range(12):
        registry.request(f"problem {n}")
    async with lab(pool, providers=2) as here:
        here.script(
            default={"number": "", "behaviour": "auto", "after_s": 1},
            chaos={"rate": 0.3, "seed": 7, "s": 0.2},
        )
        await asyncio.gather(*(here.pager().sync() for _ in range(3)))
        await here.look_until(
            "SELECT count(DISTINCT page_request_id) = 12 FROM acknowledgement", pagers=3, timeout_s=60
        )
        assert await here.value("SELECT count(*) FROM acknowledgement") >= 12
        assert await here.value("SELECT count(*) FROM paging WHERE state = 'active'") == 0
        pages = await here.value("SELECT count(*) FROM page")
        assert len(here.called()) <= pages
