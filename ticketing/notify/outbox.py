"""The sender: takes letters from the outbox and sends them, however often that takes.

Claim with a lease (database time) and a fence, commit, send outside any transaction, record if the fence
still matches. Killed in between, the letter goes out again under the same Message-ID or webhook-id: one
remote effect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import psycopg
from prometheus_client import Counter
from psycopg_pool import PoolTimeout

from storage.pool import Pool
from storage.sql import Queries
from ticketing.notify.letters import Message
from ticketing.notify.mail import Mail
from ticketing.notify.transport import Later, Never, Parcel, Transport, Undelivered
from ticketing.notify.webhook import Hook
from ticketing.settings import Settings
from wire.clock import Clock

Q = Queries.load("ticketing.notify")
log = logging.getLogger(__name__)
FIRST_PAUSE_S = 15.0
LONGEST_PAUSE_S = 6 * 3600.0
BATCH = 20

SENT = Counter("ucx_outbox_sent", "Letters sent", ["channel"])
FAILED = Counter("ucx_outbox_failures", "Attempts that failed", ["channel"])
GIVEN_UP = Counter("ucx_outbox_given_up", "Letters given up", ["channel"])


def transports(settings: Settings) -> dict[str, Transport]:
    """The ways to send, by channel."""
    return {"mail": Mail(settings), "webhook": Hook(settings)}


async def run(pool: Pool, settings: Settings, clock: Clock, stop: asyncio.Event) -> None:
    """Send until ``stop`` is set."""
    ways = transports(settings)
    while not stop.is_set():
        sent = 0
        try:
            sent = await send_due(pool, settings, ways, clock)
        except (psycopg.OperationalError, PoolTimeout) as error:
            log.warning("the outbox cannot reach the database: %s", error)
        except Exception:
            log.exception("the outbox failed in an unknown way; it goes on")
        if not sent:
            await _pause(stop, settings.outbox_poll_s)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        return


async def send_due(pool: Pool, settings: Settings, ways: Mapping[str, Transport], clock: Clock) -> int:
    """Send a batch of what is due, side by side; returns how many attempts were made."""
    # A lease outlives the attempt: connecting, sending and recording each have their own bound below it.
    lease = timedelta(seconds=4 * settings.notify_timeout_s + 30)
    values = {"now": clock(), "lease": lease, "limit": BATCH}
    async with pool.connection() as conn:
        rows = await (await conn.execute(Q.claim_letters, values)).fetchall()
    await asyncio.gather(*(_attempt(pool, settings, ways, clock, row) for row in rows))
    return len(rows)


async def _attempt(
    pool: Pool, settings: Settings, ways: Mapping[str, Transport], clock: Clock, row: tuple[Any, ...]
) -> None:
    tenant_id, outbox_id, channel, recipient, document, message_id, fence, attempts, created_at, secret = row
    key = {"tenant_id": tenant_id, "outbox_id": outbox_id, "fence": fence}
    error: Undelivered | None = None
    try:
        message = msgspec.convert(document, Message)
        await ways[channel].send(Parcel(recipient, message, message_id, secret, clock()))
    except Undelivered as refused:
        error = refused
    except Exception as unknown:
        log.exception("letter %s of tenant %s failed in an unknown way", outbox_id, tenant_id)
        error = Later(f"{type(unknown).__name__}: {unknown}")
    now = clock()
    async with pool.connection() as conn:
        if error is None:
            await conn.execute(Q.letter_sent, key | {"now": now})
            SENT.labels(channel).inc()
            return
        again = next_try(error, attempts, created_at, now, settings)
        text = str(error).replace("\x00", "?")[:1000]
        await conn.execute(Q.letter_failed, key | {"now": now, "next_try_at": again, "error": text})
    _count_failure(channel, outbox_id, again, text)


def _count_failure(channel: str, outbox_id: int, again: datetime | None, text: str) -> None:
    FAILED.labels(channel).inc()
    if again is None:
        GIVEN_UP.labels(channel).inc()
        log.error("GIVEN UP: %s letter %s: %s", channel, outbox_id, text)
    else:
        log.warning("%s letter %s was not sent, next try %s: %s", channel, outbox_id, again, text)


def next_try(
    error: Undelivered, attempts: int, created_at: datetime, now: datetime, settings: Settings
) -> datetime | None:
    """When to try again; None: give up. Pauses double, up to six hours."""
    if isinstance(error, Never):
        return None
    pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(attempts - 1, 30))
    again = now + timedelta(seconds=pause)
    return again if again - created_at <= timedelta(hours=settings.outbox_give_up_h) else None
