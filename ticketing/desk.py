"""The ticket desk: the worker that turns alerts, keypresses and passing time into tickets.

One loop, any number of them at once. Each round finds work of three kinds, the most urgent first, and handles
it item by item, each item in a transaction of its own under a row lock that the others skip:

    acknowledgements   on-call's answers       ticketing/answers.py
    reports            calls to on-call        ticketing/line.py
    alerts             new transitions         ticketing/alerts.py
    looks              what time brings about  ticketing/looks.py

An item that fails is retried with growing pauses and parked after the fifth time: loudly, counted, shown by
``GET /v1/desk``; the others go on. Nothing is remembered outside the database, so a desk may die anywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from prometheus_client import Counter
from psycopg import AsyncConnection
from psycopg_pool import AsyncConnectionPool

from storage.sql import Queries
from ticketing import alerts, answers, casebook, line, looks, many
from ticketing.escalated import with_people
from ticketing.notify import outbox
from ticketing.settings import Settings
from ticketing.storm import Due
from ticketing.together import AWAY, is_away, together
from wire.clock import Clock

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]
Pool = AsyncConnectionPool[AsyncConnection[Any]]
Key = tuple[int, int]
"""Tenant id and the item's own id."""
Handler = Callable[[Connection, Settings, datetime, int, int], Awaitable[bool]]
CHANNELS = ("ucx_alert", "ucx_acknowledgement", "ucx_ticket")
"""Notifications that wake the desk before its next poll."""
ALWAYS = datetime(1970, 1, 1, tzinfo=UTC)
log = logging.getLogger(__name__)

HANDLED = Counter("ucx_desk_handled", "Items that the desk has handled", ["kind"])
FAILED = Counter("ucx_desk_failures", "Failures of single items", ["kind"])
PARKED = Counter("ucx_desk_parked", "Items parked after failing again and again", ["kind"])


class Horizon(msgspec.Struct):
    """How far back this desk's ordinary searches reach; a full sweep reaches back over everything."""

    alerts: datetime = ALWAYS
    answers: datetime = ALWAYS
    reports: datetime = ALWAYS
    swept_at: datetime = ALWAYS


async def run(pool: Pool, settings: Settings, clock: Clock, stop: asyncio.Event) -> None:
    """Work until ``stop`` is set. Survives a database that comes and goes."""
    woken = asyncio.Event()
    helpers = {
        asyncio.create_task(_listen(pool, settings, woken, stop)),
        asyncio.create_task(outbox.run(pool, settings, clock, stop)),
    }
    horizon = Horizon()
    try:
        while not _ending(stop):
            woken.clear()
            if not await _round(pool, settings, clock, horizon):
                await _pause(settings.poll_s, woken, stop)
    finally:
        while helpers:
            for helper in helpers:
                helper.cancel()
            _, helpers = await asyncio.wait(helpers, timeout=0.5)


def _ending(stop: asyncio.Event) -> bool:
    """Told to stop, or cancelled: Python 3.11's ``wait_for`` (in the pool) may swallow a cancellation."""
    task = asyncio.current_task()
    return stop.is_set() or (task is not None and task.cancelling() > 0)


async def _round(pool: Pool, settings: Settings, clock: Clock, horizon: Horizon) -> bool:
    """One round; True when there was work, so that the next one follows at once."""
    try:
        return await work(pool, settings, clock(), horizon) > 0
    except AWAY as error:
        log.warning("the desk cannot reach the database: %s", error)
        return False


async def _pause(seconds: float, woken: asyncio.Event, stop: asyncio.Event) -> None:
    """Until something happens, at most so long."""
    waiters = [asyncio.ensure_future(event.wait()) for event in (woken, stop)]
    try:
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()


async def _listen(pool: Pool, settings: Settings, woken: asyncio.Event, stop: asyncio.Event) -> None:
    """Wake the desk when something happens. Only a shortcut: polling finds everything as well."""
    while not _ending(stop):
        try:
            async with pool.connection() as conn:
                for channel in CHANNELS:
                    await conn.execute(f"LISTEN {channel}".encode())
                try:
                    async for _ in conn.notifies(timeout=settings.listen_s):
                        woken.set()
                finally:
                    await conn.execute(b"UNLISTEN *")
        except AWAY as error:
            log.warning("the desk cannot listen for notifications, it polls: %s", error)
            await _pause(settings.listen_s, stop, stop)


# --- one round -------------------------------------------------------------------------------------------


async def work(pool: Pool, settings: Settings, now: datetime, horizon: Horizon | None = None) -> int:
    """Handle what there is to do at ``now``, at most a batch of each kind; returns how much was done."""
    horizon = horizon or Horizon()
    _sweep_now_and_then(horizon, settings, now)
    done = 0
    for kind, find in _FINDERS.items():
        found = await find(pool, settings, now, horizon)
        done += found.done
        for tenant_id, item in found.items:
            done += await _handle(pool, settings, now, kind, tenant_id, item)
    return done


def _sweep_now_and_then(horizon: Horizon, settings: Settings, now: datetime) -> None:
    if now - horizon.swept_at >= timedelta(seconds=settings.sweep_s):
        horizon.alerts = horizon.answers = horizon.reports = ALWAYS
        horizon.swept_at = now


async def _handle(
    pool: Pool, settings: Settings, now: datetime, kind: str, tenant_id: int, item: int
) -> bool:
    """One item in one transaction; its failure is recorded and stops nothing else."""
    try:
        async with pool.connection() as conn, conn.transaction():
            done = await _HANDLERS[kind](conn, settings, now, tenant_id, item)
    except Exception as error:
        if is_away(error):
            raise
        FAILED.labels(kind).inc()
        log.exception("the desk failed on %s %s of tenant %s", kind, item, tenant_id)
        await _note_failure(pool, settings, now, kind, tenant_id, item, error)
        return False
    if done:
        HANDLED.labels(kind).inc()
    return done


async def _note_failure(
    pool: Pool, settings: Settings, now: datetime, kind: str, tenant_id: int, item: int, error: Exception
) -> None:
    text = f"{type(error).__name__}: {error}".replace("\x00", "?")[:1000]
    values = {"tenant_id": tenant_id, "id": item, "now": now, "error": text}
    limits = {"pause": timedelta(seconds=settings.retry_s), "most": settings.failures_to_park}
    async with pool.connection() as conn:
        row = await (await conn.execute(_FAILURES[kind], values | limits)).fetchone()
    if row is not None and row[1]:
        PARKED.labels(kind).inc()
        log.critical("PARKED after %s failures: %s %s of tenant %s: %s", row[0], kind, item, tenant_id, text)


# --- finding ---------------------------------------------------------------------------------------------


class Found(msgspec.Struct, frozen=True):
    """What a search came to."""

    items: list[Key]
    """To be handled one by one."""
    done: int = 0
    """Handled together already."""


async def _find_answers(pool: Pool, settings: Settings, now: datetime, horizon: Horizon) -> Found:
    values = {"since": horizon.answers, "now": now, "limit": settings.batch}
    async with pool.connection() as conn:
        rows = await (await conn.execute(Q.new_acknowledgements, values)).fetchall()
    if len(rows) < settings.batch:
        horizon.answers = now - timedelta(days=1)
    return Found([(row[0], row[1]) for row in rows])


async def _find_reports(pool: Pool, settings: Settings, now: datetime, horizon: Horizon) -> Found:
    values = {"since": horizon.reports, "now": now, "limit": settings.batch}
    async with pool.connection() as conn:
        rows = await (await conn.execute(Q.new_reports, values)).fetchall()
    if len(rows) < settings.batch:
        horizon.reports = now - timedelta(days=1)
    return Found([(row[0], row[1]) for row in rows])


async def _find_alerts(pool: Pool, settings: Settings, now: datetime, horizon: Horizon) -> Found:
    """Alerts with something new, and those to be decided again. Each gets its row to lock.

    What can be handled together is: quiet alerts, and storms."""
    values = {"since": horizon.alerts, "now": now, "limit": settings.many}
    async with pool.connection() as conn:
        newest = await (await conn.execute(Q.newest_alert)).fetchone()
        rows = await (await conn.execute(Q.due_alerts, values)).fetchall()
        again = await (await conn.execute(Q.alerts_to_reconsider, values)).fetchall()
        due: dict[Key, Due] = {}
        for row in [*rows, *again]:
            due.setdefault((row[0], row[1]), Due(*row))
        await conn.execute(Q.add_progress, _columns(due))
    done, singly = await together(pool, settings, now, list(due.values()))
    if len(rows) < settings.many and len(singly) <= settings.batch and newest is not None and newest[0]:
        horizon.alerts = newest[0] - timedelta(seconds=settings.lookback_s)
    HANDLED.labels("alert").inc(done)
    return Found(singly[: settings.batch], done)


def _columns(due: dict[Key, Due]) -> dict[str, list[int]]:
    deployments = [one.deployment_id for one in due.values()]
    return many.columns(list(due)) | {"deployments": deployments}


async def _find_looks(pool: Pool, settings: Settings, now: datetime, _horizon: Horizon) -> Found:
    async with pool.connection() as conn:
        rows = await (await conn.execute(Q.due_tickets, {"now": now, "limit": settings.batch})).fetchall()
    return Found([(row[0], row[1]) for row in rows])


async def _look(conn: Connection, settings: Settings, now: datetime, tenant_id: int, ticket_id: int) -> bool:
    """Take every step of a ticket whose time has come; False: another desk has it, or took them."""
    key = {"tenant_id": tenant_id, "ticket_id": ticket_id}
    await conn.execute(Q.lock_outlasting, key)
    case = await casebook.load_free(conn, tenant_id, ticket_id, now)
    if case is None:
        return False
    for entry in looks.due(case.terms, case.history, now, settings):
        case.add(await with_people(conn, case, msgspec.structs.replace(entry, at=now)))
    outlasted = any((entry.step or "").startswith(looks.OUTLASTED) for entry in case.fresh)
    await casebook.save(conn, case, now, settings)
    if outlasted:
        await conn.execute(Q.outlasting, key | {"now": now})
    return True


Finder = Callable[[Pool, Settings, datetime, Horizon], Awaitable[Found]]
_FINDERS: dict[str, Finder] = {
    "acknowledgement": _find_answers,
    "report": _find_reports,
    "alert": _find_alerts,
    "ticket": _find_looks,
}
_HANDLERS: dict[str, Handler] = {
    "acknowledgement": answers.handle,
    "report": line.handle,
    "alert": alerts.handle,
    "ticket": _look,
}
_FAILURES: dict[str, bytes] = {
    "acknowledgement": Q.fail_acknowledgement,
    "report": Q.fail_report,
    "alert": Q.fail_alert,
    "ticket": Q.fail_ticket,
}
