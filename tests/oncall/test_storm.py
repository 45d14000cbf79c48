"""A thousand critical tickets at once: few calls, every ticket read out to a person who took it."""

from __future__ import annotations

import asyncio
from collections import Counter

import psycopg

from storage.pool import Pool
from tests.oncall.lab import Lab, lab
from tests.oncall.world import Registry

STORM = 1000
_MANY = b"""
WITH tickets AS (
    INSERT INTO ticket (tenant_id, number, deployment_id, problem_key, channel, priority, state, title,
                        opened_at, terms, decision)
    SELECT d.tenant_id, format('UCX-2026-%%s', lpad(nextval('ticket_number')::text, 6, '0')), d.deployment_id,
           format('storm-%%s-%%s', %(wave)s::int, n), 'proactive', %(priority)s, 'new',
           format('wave %%s', %(wave)s::int), now(), '{}', '{}'
    FROM deployment d, generate_series(1, %(count)s) n
    RETURNING tenant_id, ticket_id)
INSERT INTO page_request (tenant_id, ticket_id, audience, policy, requested_at, reason)
SELECT tenant_id, ticket_id, 'technician', 'default', now(), 'P1 of a Platinum customer' FROM tickets
"""
_CALLS = """
SELECT min(k.title), min(k.priority), count(*), bool_and(g.state = 'acknowledged'),
       max(g.answered_at) IS NOT NULL
FROM page g JOIN paging p USING (tenant_id, page_request_id) JOIN ticket k USING (tenant_id, ticket_id)
GROUP BY coalesce(g.bundle_id, g.page_id) ORDER BY min(g.created_at)
"""
_COVERED = f"SELECT count(DISTINCT page_request_id) >= {STORM} FROM acknowledgement"


def wave(registry: Registry, number: int, count: int, priority: int = 1) -> None:
    """So many tickets with page requests, in one transaction."""
    with psycopg.connect(registry.url, autocommit=True) as conn:
        conn.execute(_MANY, {"wave": number, "count": count, "priority": priority})


async def three_waves(here: Lab, registry: Registry) -> None:
    """Old P1s, a few booked P2s, new P1s: a thousand in all, begun in this order."""
    for number, count, priority in ((1, 500, 1), (2, 50, 2), (3, STORM - 550, 1)):
        await asyncio.to_thread(wave, registry, number, count, priority)
        await here.pager().sync()


async def test_a_storm_is_few_calls_and_covers_everything(pool: Pool, registry: Registry) -> None:
    """1,000 page requests at once, people who answer: every one is acknowledged by a keypress in a call that
    read it out, in fewer than 100 calls, the worst and newest first; no phone ever has two calls at once.

    Broken twin: with bundles of one, this is a thousand calls; with a bundle that drops what does not fit,
    the acknowledgements never reach a thousand."""
    registry.request("the first")  # makes the customer
    registry.run("DELETE FROM page_request")
    async with lab(pool, busy_wait_s=900.0, bundle_max=25, bundle_wait_s=0.4) as here:
        here.script(default={"number": "", "behaviour": "auto", "after_s": 1})
        await three_waves(here, registry)
        await here.look_until(_COVERED, pagers=4, timeout_s=90)
        overlaps = most_at_once(here)
    calls = registry.rows(_CALLS)
    assert len(calls) < 100
    assert all(answered and acknowledged for *_, acknowledged, answered in calls)
    assert max(count for _, _, count, *_ in calls) <= 25
    assert registry.value("SELECT count(*) FROM paging WHERE state = 'active'") == 0
    assert overlaps == 1
    order = [(title, priority) for title, priority, *_ in calls]
    assert order[0] == ("wave 3", 1)
    assert order[-1][1] == 2 or "wave 2" in {title for title, _ in order[-4:]}


def most_at_once(here: Lab) -> int:
    """Most calls that one phone had at the same time."""
    marks = Counter[str]()
    most = 0
    moments = [(call.created_at, 1, call.order.to) for call in here.exchange.calls.values()]
    moments += [(call.ended_at, -1, call.order.to) for call in here.exchange.calls.values() if call.ended_at]
    for _, change, number in sorted(moments, key=lambda m: (m[0], m[1])):
        marks[number] += change
        most = max(most, marks[number])
    return most
