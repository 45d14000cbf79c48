"""Before a silence ends somebody is reminded, once; what is old is forgotten, but nothing that is open."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec

from alerting import mutes, retention
from alerting.mute import Matcher, Mute, last_end
from alerting.notices.worker import Worker
from alerting.settings import Receiver, Settings
from storage.pool import Pool
from tests.alerting.kit import START, minutes, seed
from tests.alerting.test_notices import Ear, listening

NOC = Receiver(name="noc", kind="email", address="noc@vendor.example")
OTHER = Receiver(name="other", kind="email", address="x@vendor.example", tenant="somebody-else")
FIRES = """INSERT INTO alert (tenant_id, deployment_id, rule_id, instance, problem_key, state, priority,
    since, fired_at, summary, last_seq, changed_at, silenced, labels)
    VALUES (1, 1, 'host.cpu', 'a', 'a', 'firing', 3, now(), now(), 'a is bad', 1, now(), 'known',
    '{"deployment": "site"}')"""


def silence(start: datetime, end: datetime, **changes: Any) -> Mute:
    matchers = (Matcher("deployment", "=", "site"),)
    title, author = "known, being mended", "ada@vendor.example"
    usual = Mute(uuid4(), "silence", matchers, title, author, start, end, "", "Europe/Rome")
    return msgspec.structs.replace(usual, **changes)


async def rows(pool: Pool, query: str) -> list[tuple[Any, ...]]:
    async with pool.connection() as conn:
        return await (await conn.execute(query.encode())).fetchall()


async def put(pool: Pool, mute: Mute, remind: str | None = None) -> None:
    async with pool.connection() as conn:
        await mutes.store(conn, 1, mute, remind)


async def test_author_and_receivers_are_reminded_once_an_hour_before_the_end(pool: Pool) -> None:
    """Not ten minutes too early, not a second time, not by a second worker at the same moment, and after a
    restart not again; the mail says what still fires under it. A customer's receiver hears of its own only.

    Broken twin: without the mark (``reminded``), each look reminds again."""
    await seed(pool)
    await put(pool, silence(START, START + minutes(180)))
    async with pool.connection() as conn:
        await conn.execute(FIRES.encode())
    ear, now = Ear(), START
    async with listening(ear.smtp) as port:
        known = Settings(notice_receivers=(NOC, OTHER), smtp_host="127.0.0.1", smtp_port=port)
        workers = [Worker(pool, known, lambda: now) for _ in range(3)]
        for minute in (0, 110, 121, 121, 150, 179):
            now = START + minutes(minute)
            await asyncio.gather(*(worker.remind() for worker in workers))
            await workers[0].deliver()
    told = await rows(
        pool, "SELECT receiver, created_at, done_at IS NOT NULL, failure FROM notice ORDER BY 1"
    )
    at = START + minutes(121)
    assert told == [("mailto:ada@vendor.example", at, True, None), ("noc", at, True, None)]
    assert len(ear.heard) == 2
    mail = ear.heard[0][1]
    assert "Subject: Silence ends soon: known, being mended" in mail
    assert "told when it has ended: 1." in mail


async def test_who_is_reminded_of_what(pool: Pool) -> None:
    """An address given beats the author's; a name is no address; of a maintenance window, a short or a
    cancelled silence nobody is reminded; with the lead 0 of none."""
    await seed(pool)
    await put(pool, silence(START, START + minutes(120)), "duty@vendor.example")
    await put(pool, silence(START, START + minutes(120), author="ada"))
    await put(pool, silence(START, START + minutes(120), kind="maintenance"))
    await put(pool, silence(START + minutes(75), START + minutes(120)))
    await put(pool, gone := silence(START, START + minutes(120)))
    async with pool.connection() as conn:
        await mutes.cancel(conn, 1, gone.mute_id, "ada", START)
    now = START + minutes(80)
    await Worker(pool, Settings(silence_reminder_s=0), lambda: now).remind()
    assert await rows(pool, "SELECT 1 FROM notice") == []
    await Worker(pool, Settings(), lambda: now).remind()
    assert await rows(pool, "SELECT receiver FROM notice") == [("mailto:duty@vendor.example",)]


def test_a_recurring_silence_ends_with_its_last_occurrence() -> None:
    """Three days running from two to four: on the third it ends for good; one that goes on never does."""
    three = silence(START, START + minutes(120), recurrence="FREQ=DAILY;COUNT=3")
    day = timedelta(days=1)
    assert last_end(three, START + minutes(5)) is None
    assert last_end(three, START + 2 * day + minutes(5)) == START + 2 * day + minutes(120)
    assert last_end(three, START + day - minutes(5)) is None
    assert last_end(silence(START, START + minutes(120), recurrence="FREQ=DAILY"), START) is None


async def test_what_is_old_is_forgotten_and_nothing_that_is_open(pool: Pool) -> None:
    """Alerts that ended 400 days ago go with their transitions, notes and pushes, however many; an open one
    stays for ever, with all its transitions; notices go 90 days after they were done, never before.

    Broken twin: without the states in ``forget_ended``, the alert that fires since two years is gone."""
    await seed(pool)
    async with pool.connection() as conn:
        await conn.execute(_OLD.encode(), {"now": START})
    gone = await retention.forget(pool, Settings(), START)
    assert gone == 2500 + 1
    assert await rows(pool, "SELECT instance, count(*) FROM alert GROUP BY 1 ORDER BY 1") == [
        ("open", 1),
        ("young", 1),
    ]
    assert await rows(pool, "SELECT count(*) FROM alert_transition") == [(2,)]
    assert await rows(pool, "SELECT receiver FROM notice ORDER BY 1") == [("undone",), ("young",)]
    assert await retention.forget(pool, Settings(), START) == 0


_NOTICES = "SELECT receiver, created_at, done_at IS NOT NULL, failure FROM notice ORDER BY 1"
_OLD = """
WITH made AS (
    INSERT INTO alert (tenant_id, deployment_id, host_id, rule_id, instance, problem_key, state, priority,
                       since, fired_at, resolved_at, summary, last_seq, changed_at)
    SELECT 1, 1, n, 'r', CASE n WHEN 1 THEN 'open' WHEN 2 THEN 'young' ELSE 'old' END, 'k',
           CASE n WHEN 1 THEN 'firing' ELSE 'resolved' END, 3, %(now)s - interval '730 days',
           %(now)s - interval '730 days',
           CASE n WHEN 1 THEN NULL WHEN 2 THEN %(now)s - interval '399 days'
                  ELSE %(now)s - interval '401 days' END,
           's', 1, now()
      FROM generate_series(1, 2502) n
 RETURNING tenant_id, alert_id
), steps AS (
    INSERT INTO alert_transition (tenant_id, alert_id, seq, at, recorded_at, to_state, priority, reason)
    SELECT tenant_id, alert_id, 1, %(now)s, %(now)s, 'firing', 3, 'x' FROM made
)
INSERT INTO notice (notice_id, receiver, document, created_at, next_at, done_at)
SELECT gen_random_uuid(), r, '{}', %(now)s, %(now)s, %(now)s - d * interval '1 day'
  FROM (VALUES ('old', 91), ('young', 89), ('undone', NULL)) AS v (r, d)"""
