"""The worker that tells: what is due is written first, in one transaction, and sent after that."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from alerting import reminder
from alerting.notices.plan import WINDOW, Candidate, chosen, document
from alerting.notices.send import Later, Letter, Never, send
from alerting.settings import Receiver, Settings
from storage.pool import Pool
from storage.sql import Queries
from wire.clock import Clock

Q = Queries.load("alerting.notices")
Connection = AsyncConnection[tuple[Any, ...]]
log = logging.getLogger(__name__)
ATTEMPTS = 8
"""Then a message is given up, loudly."""
_FIRST_PAUSE_S = 30.0
_AT_ONCE = 50
"""Messages sent in one look."""


async def run(pool: Pool, settings: Settings, clock: Clock, stop: asyncio.Event) -> None:
    """Tell until ``stop``."""
    worker = Worker(pool, settings, clock)
    while not stop.is_set():
        try:
            await worker.once()
        except Exception:
            log.exception("notices: a look failed; it is tried again")
        try:
            await asyncio.wait_for(stop.wait(), settings.notice_look_s)
        except TimeoutError:
            continue


class Worker:
    """Holds nothing between looks."""

    def __init__(self, pool: Pool, settings: Settings, clock: Clock) -> None:
        self._pool = pool
        self._settings = settings
        self._clock = clock

    async def once(self) -> None:
        """One look: plan, then send what is due."""
        await self.remind()
        if self._settings.notice_receivers:
            await self.plan()
        await self.deliver()

    async def remind(self) -> None:
        """Write the reminders of silences that end soon, in the transaction that says so."""
        async with self._pool.connection() as conn, conn.transaction():
            await reminder.write(conn, self._settings, self._clock())

    async def plan(self) -> None:
        """Write the messages that are due, one transaction for each receiver."""
        now = self._clock()
        for receiver in self._settings.notice_receivers:
            async with self._pool.connection() as conn, conn.transaction():
                await conn.execute(Q.one_planner)
                await self._plan(conn, receiver, now)

    async def _plan(self, conn: Connection, receiver: Receiver, now: datetime) -> None:
        given = {
            "receiver": receiver.name,
            "tenant": receiver.tenant,
            "priorities": list(receiver.priorities),
            "window": now - WINDOW,
            "now": now,
        }
        row = await (await conn.execute(Q.newest_notice, given)).fetchone()
        if row and row[0] and now - row[0] < timedelta(seconds=self._settings.notice_gap_s):
            return
        rows = await (await conn.execute(Q.candidates, given)).fetchall()
        items = chosen([_candidate(row) for row in rows], now)
        if not items:
            return
        said = {"notice_id": uuid4(), "document": Jsonb(document(items, now))}
        await conn.execute(Q.add_notice, given | said)
        told = {
            "tenants": [c.tenant_id for c, _ in items],
            "alerts": [c.alert_id for c, _ in items],
            "ended": [c.ended for c, _ in items],
            "problems": [c.problem_key for c, _ in items],
        }
        await conn.execute(Q.add_told, given | told)

    async def deliver(self) -> None:
        """Send what is due."""
        for _ in range(_AT_ONCE):
            lease = {"lease_s": 3 * self._settings.notice_timeout_s + 30}
            async with self._pool.connection() as conn:
                row = await (await conn.execute(Q.claim_notice, lease)).fetchone()
            if row is None:
                return
            await self._send(*row)

    async def _send(self, notice_id: Any, name: str, said: dict[str, Any], attempts: int) -> None:
        now = self._clock()
        given = {"notice_id": notice_id, "attempts": attempts, "now": now, "failure": None}
        query, failure = Q.end_notice, None
        try:
            await send(Letter(notice_id, said, now), self._receiver(name), self._settings)
        except Never as error:
            failure = str(error)
        except Later as error:
            failure = str(error)
            if attempts < ATTEMPTS:
                query = Q.retry_notice
        if failure is not None:
            log.warning("notices: not sent to '%s' (attempt %d): %s", name, attempts, failure)
        pause = {"pause_s": _FIRST_PAUSE_S * 2 ** (attempts - 1)}
        async with self._pool.connection() as conn:
            await conn.execute(query, given | {"failure": failure} | pause)

    def _receiver(self, name: str) -> Receiver:
        """Raises Never."""
        for receiver in self._settings.notice_receivers:
            if receiver.name == name:
                return receiver
        if name.startswith(reminder.MAIL):
            return Receiver(name=name, kind="email", address=name.removeprefix(reminder.MAIL))
        raise Never("the settings do not name this receiver any more")


def _candidate(row: tuple[Any, ...]) -> Candidate:
    values = list(row)
    values[10] = tuple(values[10] or ())
    return Candidate(*values)
