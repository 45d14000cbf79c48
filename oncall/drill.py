"""Test calls: does this person's phone really ring, and does this person answer it?

A test goes the way of a real page - the first provider, our public address, its callbacks, key 4 - but asks
for nothing. It counts when key 4 came; a call that somebody let ring, or that a machine took, counts as a
person who cannot be reached. A confirmation holds for the number that was called, not for a later one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import httpx
import msgspec

from oncall import roster
from oncall.errors import OncallError, ProviderError, ProviderUnknown
from oncall.rota_file import BadRota
from oncall.settings import Settings, is_e164
from oncall.switch import Conn, W
from oncall.voice.client import Call, CallOrder, VoiceClient
from storage.pool import Pool
from wire.clock import Clock

log = logging.getLogger(__name__)
WEEK = timedelta(days=7)
OVERDUE = timedelta(days=8)
AGAIN = timedelta(days=1)
"""A test that was not confirmed is repeated after this."""
FIRST_HOUR, LAST_HOUR = 10, 16
"""Weekly tests ring in these hours of the person's own working days."""
LONGEST = timedelta(seconds=180)
LOOK_S = 30.0
POLL_S = 1.0


class NoTest(OncallError):
    """The test call cannot be made; the message says why."""


class Phone(msgspec.Struct, frozen=True):
    """A person's phone and its tests. Times aware UTC; None: never."""

    key: str
    name: str
    number: str
    zone: str
    """IANA zone."""
    asked_at: datetime | None
    """The newest test."""
    outcome: str
    """Of it."""
    detail: str
    confirmed_at: datetime | None
    """When this number was last confirmed."""

    def overdue(self, now: datetime) -> bool:
        """Whether nobody knows any more that this phone reaches its person."""
        return self.confirmed_at is None or now - self.confirmed_at > OVERDUE


class Test(msgspec.Struct, frozen=True):
    """One test call."""

    test_id: UUID
    key: str
    name: str
    number: str
    provider: str
    asked_at: datetime
    outcome: str
    """calling, confirmed, no-answer, voicemail, no-key, busy or failed."""
    ended_at: datetime | None
    detail: str
    ref: str | None
    """The provider's id of the call."""


def due(phones: Sequence[Phone], now: datetime) -> Phone | None:
    """Whose weekly test is to be made now: the one that waits longest, in that person's working hours."""
    waiting = [phone for phone in phones if _waits(phone, now) and _at_work(phone, now)]
    return min(
        waiting, key=lambda p: (p.confirmed_at is not None, p.confirmed_at or now, p.key), default=None
    )


def _waits(phone: Phone, now: datetime) -> bool:
    fresh = phone.confirmed_at is not None and now - phone.confirmed_at < WEEK
    tried = phone.asked_at is not None and now - phone.asked_at < AGAIN
    return is_e164(phone.number) and not fresh and not tried


def _at_work(phone: Phone, now: datetime) -> bool:
    local = now.astimezone(ZoneInfo(phone.zone))
    return local.weekday() < 5 and FIRST_HOUR <= local.hour < LAST_HOUR


def verdict(call: Call) -> tuple[str, str] | None:
    """Outcome and detail of a call that ended without key 4; None while it goes on."""
    if call.status in ("queued", "initiated", "ringing", "in-progress"):
        return None
    if call.status == "completed":
        machine = call.answered_by.startswith("machine") or call.answered_by == "fax"
        return (
            ("voicemail", "a machine picked up") if machine else ("no-key", "picked up, but key 4 never came")
        )
    outcome = {"busy": "busy", "no-answer": "no-answer"}.get(call.status, "failed")
    return outcome, f"the provider says: {call.status}"


async def phones(conn: Conn, now: datetime) -> list[Phone]:
    """Everybody who is on call by role or by the rota, with their tests."""
    try:
        stored = await roster.load(conn, now)
    except BadRota:
        stored = None
    on = roster.who_is_on(stored.rota, now).schedules if stored else {}
    keys = sorted({key for schedule in on.values() for key in schedule})
    rows = await (await conn.execute(W.tests, {"keys": keys})).fetchall()
    return [Phone(*row) for row in rows]


async def result(conn: Conn, test_id: UUID) -> Test | None:
    """One test as it stands."""
    row = await (await conn.execute(W.test, {"test_id": test_id})).fetchone()
    return Test(*row) if row else None


async def settle(conn: Conn, test_id: UUID, outcome: str, detail: str, now: datetime) -> bool:
    """Write down what became of a test; a key counts also after everything else. False: nothing changed."""
    values = {"test_id": test_id, "outcome": outcome, "detail": detail, "now": now}
    return await (await conn.execute(W.end_test, values)).fetchone() is not None


class Drill:
    """Makes test calls."""

    def __init__(self, pool: Pool, settings: Settings, clock: Clock, http: httpx.AsyncClient) -> None:
        if not settings.providers:
            raise NoTest("no voice provider is configured (oncall.providers)")
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._provider = settings.providers[0]
        self._client = VoiceClient(self._provider, http, settings.provider_timeout_s)

    async def begin(self, key: str, by: str) -> UUID:
        """Ring the person; the test's id. Raises NoTest."""
        async with self._pool.connection() as conn:
            test_id, number = await self.write(conn, key, by)
        await self.place(test_id, number)
        return test_id

    async def write(self, conn: Conn, key: str, by: str) -> tuple[UUID, str]:
        """Write a test call down, before the provider is asked: its id and number. Raises NoTest."""
        row = await (await conn.execute(W.person, {"key": key})).fetchone()
        if row is None or not is_e164(row[3] or ""):
            raise NoTest(f"there is no active person '{key}' with a phone number (E.164)")
        test_id, now = uuid4(), self._clock()
        values = {"test_id": test_id, "person_id": row[0], "address": row[3], "by": by, "now": now}
        await conn.execute(W.begin_test, values | {"provider": self._provider.name})
        return test_id, str(row[3])

    async def place(self, test_id: UUID, number: str) -> None:
        """Ring."""
        order = CallOrder(
            number, self._url(test_id, "twiml"), self._url(test_id, "status"), self._settings.ring_s
        )
        try:
            call = await self._client.create(order)
        except ProviderUnknown:
            return  # it may ring: a key may still come, and time ends the test
        except ProviderError as error:
            async with self._pool.connection() as conn:
                await settle(conn, test_id, "failed", f"the call could not be placed: {error}", self._clock())
            return
        async with self._pool.connection() as conn:
            await conn.execute(W.test_placed, {"test_id": test_id, "ref": call.sid})

    def _url(self, test_id: UUID, action: str) -> str:
        return f"{self._settings.public_url}/v1/oncall/drill/{test_id}/{action}?via={self._provider.name}"

    async def ask(self, test: Test) -> None:
        """Settle a test that is over, by the provider's word or by the time it took."""
        found = None
        if test.ref is not None:
            with contextlib.suppress(ProviderError):
                found = verdict(await self._client.fetch(test.ref))
        if found is None and self._clock() - test.asked_at > LONGEST:
            found = "failed", "nobody says what became of the call"
        if found is not None:
            async with self._pool.connection() as conn:
                await settle(conn, test.test_id, *found, self._clock())

    async def finish(self, test_id: UUID) -> Test:
        """Wait for the end of a test."""
        while True:
            async with self._pool.connection() as conn:
                test = await result(conn, test_id)
            assert test is not None
            if test.outcome != "calling":
                return test
            await asyncio.sleep(POLL_S)
            await self.ask(test)


async def run(pool: Pool, settings: Settings, clock: Clock, stop: asyncio.Event) -> None:
    """The worker: weekly tests, one call at a time, by whichever process comes first."""
    if not settings.weekly_test_calls or not settings.providers:
        await stop.wait()
        return
    async with httpx.AsyncClient() as http:
        while not stop.is_set():
            try:
                await weekly(pool, settings, clock, http)
            except Exception:
                log.exception("the weekly test calls are put off")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LOOK_S)


async def weekly(pool: Pool, settings: Settings, clock: Clock, http: httpx.AsyncClient) -> Test | None:
    """One test call, if one is due and nobody else is at it."""
    drill = Drill(pool, settings, clock, http)
    async with pool.connection() as conn, conn.transaction():
        row: Any = await (await conn.execute(W.one_tests)).fetchone()
        left = await _left_open(conn, clock()) if row[0] else []
        # A phone that is busy with a test is busy for a page: while anybody is being paged, no tests.
        phone = due(await phones(conn, clock()), clock()) if row[0] and not row[1] else None
        begun = await drill.write(conn, phone.key, "weekly") if phone else None
    for test in left:
        await drill.ask(test)
    if begun is None:
        return None
    await drill.place(*begun)
    return await drill.finish(begun[0])


async def _left_open(conn: Conn, now: datetime) -> list[Test]:
    """Tests whose maker died before their end."""
    rows = await (await conn.execute(W.open_tests, {"before": now - LONGEST})).fetchall()
    return [Test(*row) for row in rows]
