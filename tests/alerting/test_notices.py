"""Notices: few, together, signed, to nobody's inner network, and none lost when the receiver is away."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from alerting.notices.plan import LISTED, MOST, WINDOW, Candidate, chosen, document, due, subject, text
from alerting.notices.send import Later, Letter, Never, send
from alerting.notices.worker import ATTEMPTS, Worker
from alerting.settings import Receiver, Settings
from storage.pool import Pool
from tests.alerting.kit import START, minutes, seed

SECRET = "whsec_" + base64.b64encode(b"a secret of 24 bytes....").decode()
LETTER = Letter(uuid4(), {"data": {"alerts": [], "more": 0}}, START)


def candidate(**changes: Any) -> Candidate:
    usual = Candidate(1, 1, "acme", "site", "k", "firing", 3, START, "disk full", "r", (), False)
    return msgspec.structs.replace(usual, **changes)


@given(st.lists(st.integers(5, 600), min_size=1, max_size=80))
def test_a_problem_is_told_at_most_three_times_in_half_an_hour(steps: list[int]) -> None:
    """Whenever one looks, and however often it comes and goes."""
    told: list[datetime] = []
    now = START
    for step in steps:
        now += timedelta(seconds=step)
        if due(candidate(told=tuple(told)), now):
            told.append(now)
        assert sum(now - at < WINDOW for at in told) <= MOST


def test_what_was_acknowledged_is_not_repeated() -> None:
    """Nor told for the first time; its end is."""
    assert due(candidate(), START) == "fires"
    assert due(candidate(told=(START,)), START + minutes(10)) == "still fires"
    assert due(candidate(told=(START,), acknowledged=True), START + minutes(10)) == ""
    assert due(candidate(acknowledged=True), START) == ""
    assert due(candidate(state="resolved", acknowledged=True), START) == "over"


def test_a_storm_is_one_message() -> None:
    """A hundred are named, the others counted; alerts of one problem are one."""
    many = [candidate(alert_id=n, problem_key=str(n // 2)) for n in range(1000)]
    said = document(chosen(many, START), START)
    assert (len(said["data"]["alerts"]), said["data"]["more"]) == (LISTED, 500 - LISTED)
    assert subject(said) == "500 alerts"
    assert text(said).endswith("... and 400 more.\n")


async def test_hostile_receivers_are_refused_for_good() -> None:
    """Inner addresses by number or name, no TLS, no host, no secret, no address."""
    for url in (
        "https://127.0.0.1/",
        "https://localhost/",
        "http://8.8.8.8/",
        "ftp://x/",
        "https://[::1",
        "x",
    ):
        with pytest.raises(Never):
            await send(LETTER, hook(url), Settings())
    with pytest.raises(Never):
        await send(LETTER, hook("https://8.8.8.8/", secret="whsec_?"), Settings())
    with pytest.raises(Never):
        await send(LETTER, Receiver(name="m", kind="email", address="no address"), Settings())


def hook(url: str, secret: str = SECRET) -> Receiver:
    return Receiver(name="hook", kind="webhook", address=url, secret=secret)


class Ear:
    """A server that answers what it is told and keeps what it hears."""

    def __init__(self) -> None:
        self.status = "204 No Content"
        self.heard: list[tuple[dict[str, str], str]] = []

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.heard.append((headers, body.decode()))
        writer.write(
            f"HTTP/1.1 {self.status}\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".encode()
        )
        await writer.drain()
        writer.close()

    async def smtp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 here\r\n")
        while line := await reader.readline():
            if line.startswith(b"DATA"):
                writer.write(b"354 go on\r\n")
                mail = await reader.readuntil(b"\r\n.\r\n")
                self.heard.append(({}, mail.decode()))
            writer.write(b"250 ok\r\n" if not line.startswith(b"QUIT") else b"221 bye\r\n")
        writer.close()


@asynccontextmanager
async def listening(answer: Any) -> AsyncIterator[int]:
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


class Told:
    """A worker with one receiver, and a time that the test winds."""

    def __init__(self, pool: Pool, receiver: Receiver, **changes: Any) -> None:
        self.now = START
        self.pool = pool
        known = Settings(notice_receivers=(receiver,), notice_private=True, **changes)
        self.worker = Worker(pool, known, lambda: self.now)

    async def at(self, minute: float) -> None:
        self.now = START + minutes(minute)
        async with self.pool.connection() as conn:
            await conn.execute("UPDATE notice SET next_at = now() WHERE done_at IS NULL")
        await self.worker.once()

    async def execute(self, statement: str) -> list[Any]:
        async with self.pool.connection() as conn:
            cursor = await conn.execute(statement.encode())
            return await cursor.fetchall() if cursor.description else []


OPEN = """INSERT INTO alert (tenant_id, deployment_id, rule_id, instance, problem_key, state, priority, since,
    fired_at, summary, last_seq, changed_at, silenced)
    VALUES (1, 1, 'host.cpu', '{name}', '{name}', 'firing', {priority}, now(),
    now(), '{name} is bad', 1, now(), {why})"""


async def test_an_alert_is_told_repeated_and_ended(pool: Pool) -> None:
    """Signed as Standard Webhooks says; every ten minutes, three in half an hour; not what is muted or P1."""
    await seed(pool)
    ear = Ear()
    async with listening(ear.http) as port:
        told = Told(pool, hook(f"http://127.0.0.1:{port}/x"))
        for name, priority, why in (("a", 3, "NULL"), ("b", 1, "NULL"), ("c", 2, "'silenced'")):
            await told.execute(OPEN.format(name=name, priority=priority, why=why))
        for minute in range(0, 30, 2):
            await told.at(minute)
        assert len(ear.heard) == MOST
        await told.execute("UPDATE alert SET state = 'resolved', resolved_at = now()")
        await told.at(31)
        await told.at(33)
    said = [json.loads(body)["data"]["alerts"] for _, body in ear.heard]
    assert [(a["summary"], a["notice"]) for (a,) in said] == [
        ("a is bad", "fires"),
        ("a is bad", "still fires"),
        ("a is bad", "still fires"),
        ("a is bad", "over"),
    ]
    headers, body = ear.heard[0]
    signed = Webhook(SECRET).sign(headers["webhook-id"], START, body)
    assert headers["webhook-signature"] == signed


async def test_a_receiver_that_is_away_gets_it_later(pool: Pool) -> None:
    """The same message with the same id until it is taken; no redirect is followed; after eight, given up."""
    await seed(pool)
    ear = Ear()
    async with listening(ear.http) as port:
        told = Told(pool, hook(f"http://127.0.0.1:{port}/"))
        await told.execute(OPEN.format(name="a", priority=3, why="NULL"))
        for status in ("503 Busy", "302 Found", "204 No Content"):
            ear.status = status
            await told.at(0)
        assert len({headers["webhook-id"] for headers, _ in ear.heard}) == 1
        assert await told.execute("SELECT attempts, done_at IS NULL, failure FROM notice") == [
            (3, False, None)
        ]
        ear.status = "500 Broken"
        for _ in range(ATTEMPTS + 2):
            await told.at(11)
    rows = await told.execute("SELECT attempts, done_at IS NULL, failure FROM notice ORDER BY created_at")
    assert rows[1] == (ATTEMPTS, False, "the receiver answered 500")


async def test_notices_go_by_mail(pool: Pool) -> None:
    """Text with a subject, over SMTP; a new alert soon after waits, and is told with others."""
    await seed(pool)
    ear = Ear()
    async with listening(ear.smtp) as port:
        receiver = Receiver(name="mail", kind="email", address="ops@example.com", tenant="acme")
        told = Told(pool, receiver, smtp_host="127.0.0.1", smtp_port=port)
        await told.execute(OPEN.format(name="a", priority=3, why="NULL"))
        await told.at(0)
        await told.execute(OPEN.format(name="b", priority=3, why="NULL"))
        await told.at(0.5)
        assert len(ear.heard) == 1
        await told.execute(OPEN.format(name="c", priority=2, why="NULL"))
        await told.at(1)
    first, second = (mail for _, mail in ear.heard)
    assert "Subject: [P3] fires: a is bad" in first
    assert "P3 acme/site fires: a is bad" in first
    assert "Subject: 2 alerts" in second


async def test_an_absent_server_is_a_reason_to_try_later() -> None:
    """Nobody listens: for mail and webhook alike."""
    async with listening(Ear().http) as port:
        pass
    known = Settings(notice_private=True, smtp_host="127.0.0.1", smtp_port=port)
    for receiver in (
        hook(f"http://127.0.0.1:{port}/"),
        Receiver(name="m", kind="email", address="a@b.example"),
    ):
        with pytest.raises(Later):
            await send(LETTER, receiver, known)
