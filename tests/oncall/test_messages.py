"""Pages that are written: SMS with reply codes, email with a link that only asks, signed webhooks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from email import message_from_bytes
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oncall.messages import Reply, code_of, is_token, read_reply, sms_text, token_of
from oncall.page import Key
from oncall.paging import Paging, Step, Target
from oncall.settings import Smtp
from oncall.targets import Conn
from storage.pool import Pool
from tests.oncall.lab import lab
from tests.oncall.test_page import page
from tests.oncall.voice.test_twiml import briefing
from tests.oncall.world import ANNA, BEN, Registry

SECRET = "whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQ="


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("4", Reply(Key.ACKNOWLEDGE, "")),
        (" 4 1234 ", Reply(Key.ACKNOWLEDGE, "1234")),
        ("5-1234", Reply(Key.NEXT_PERSON, "1234")),
        ("1234", Reply(Key.ACKNOWLEDGE, "1234")),
        ("1234 5", Reply(Key.NEXT_PERSON, "1234")),
        ("", None),
        ("no", None),
        ("44", None),
        ("41234567", None),
    ],
)
def test_replies(text: str, reply: Reply | None) -> None:
    """The key, the code, or both, in either order; nothing else."""
    assert read_reply(text) == reply


@given(st.text(max_size=2000))
def test_an_sms_is_short_and_ends_with_its_code(title: str) -> None:
    """However long the title: the number and what to reply are never cut."""
    text = sms_text(page(), briefing(title=title))
    assert len(text) <= 480
    assert text.endswith("UCX-2026-000123. Reply 4 0001 to take it in charge, 5 0001 for the next person.")


def test_tokens_are_of_one_page_and_one_secret() -> None:
    """Another page, secret or no secret at all: no."""
    token = token_of(1, UUID(int=1), "s")
    assert is_token(token, 1, UUID(int=1), "s")
    assert not is_token(token, 2, UUID(int=1), "s")
    assert not is_token(token, 1, UUID(int=2), "s")
    assert not is_token(token_of(1, UUID(int=1), ""), 1, UUID(int=1), "")


class Only:
    """A policy of one step: Anna, then Ben, over one transport."""

    def __init__(self, transport: str, address: str) -> None:
        self._steps = [Target(1, "Anna", address, transport), Target(2, "Ben", BEN)]

    async def __call__(self, conn: Conn, paging: Paging, now: datetime) -> Step | None:
        step = paging.position.step
        return Step((self._steps[step],), 1, 300.0) if step < 2 else None


async def test_a_reply_with_the_code_acknowledges(pool: Pool, registry: Registry) -> None:
    """An SMS goes out, the reply 4 and its code come back signed: acknowledged, by SMS, once."""
    registry.request("Disk full")
    async with lab(pool) as here:
        here.targets = Only("sms", ANNA)
        await here.pager().sync()
        await here.look_until("SELECT true FROM page WHERE state = 'ringing'")
        [message] = here.exchange.messages
        assert "Disk full" in message.body
        code = code_of(await here.value("SELECT page_id FROM page"))
        assert "No open page" in await here.exchange.reply(BEN, f"4 {code}")
        assert "No open page" in await here.exchange.reply(ANNA, "what?")
        for _ in range(2):
            assert "Acknowledged" in await here.exchange.reply(ANNA, f"4 {code}")
        await here.look_until("SELECT next_look_at IS NULL FROM paging")
    assert registry.rows("SELECT channel FROM acknowledgement") == [("sms",)]


async def test_reply_5_goes_to_the_next_person(pool: Pool, registry: Registry) -> None:
    """Without a code while only one page is open for that number."""
    registry.request()
    async with lab(pool, ring_s=600) as here:
        here.targets = Only("sms", ANNA)
        await here.pager().sync()
        await here.look_until("SELECT true FROM page WHERE state = 'ringing'")
        assert "next person" in await here.exchange.reply(ANNA, "5")
        await here.look_until(f"SELECT true FROM page WHERE state = 'ringing' AND address = '{BEN}'")


async def test_an_email_brings_a_link_that_only_asks(pool: Pool, registry: Registry) -> None:
    """Opening the link, as scanners do, changes nothing; the button acknowledges, once; a forgery not."""
    registry.request("Disk full")
    async with mail_server() as (port, inbox):
        smtp = Smtp(host="127.0.0.1", port=port, sender="on-call@support.example")
        async with lab(pool, smtp=smtp, link_secret="s3cret", provider_timeout_s=5.0) as here:
            here.targets = Only("email", "anna@support.example")
            await here.pager().sync()
            await here.look_until("SELECT true FROM page WHERE state = 'placed'")
            message = message_from_bytes(inbox[0])
            assert "Disk full" in str(message["Subject"])
            text = message.get_payload(decode=True)
            assert isinstance(text, bytes)
            link = next(word for word in text.decode().split() if word.startswith("http://ours/"))
            for _ in range(3):
                seen = await here.http.get(link)
                assert "do you take this in charge" in seen.text
                assert "Acme &amp; Sons &lt;Ltd&gt;" in seen.text
            assert await here.value("SELECT count(*) FROM acknowledgement") == 0
            assert (await here.http.post(link[:-1] + "x")).status_code == 403
            for _ in range(2):
                assert (await here.http.post(link)).status_code == 200
            assert "Nothing is left to do" in (await here.http.get(link)).text
    assert registry.rows("SELECT channel FROM acknowledgement") == [("link",)]


async def test_a_webhook_is_signed(pool: Pool, registry: Registry) -> None:
    """The body verifies with the published library and leads to the question."""
    registry.request("Disk full")
    seen: list[dict[str, Any]] = []

    async def hook(request: Request) -> Response:
        body = await request.body()
        Webhook(SECRET).verify(body, dict(request.headers))
        seen.append(msgspec.json.decode(body))
        return Response(status_code=204)

    async with lab(pool, webhook_url="http://push/hook", webhook_secret=SECRET, link_secret="s") as here:
        here.apps["push"] = Starlette(routes=[Route("/hook", hook, methods=["POST"])])
        here.targets = Only("webhook", "anna")
        await here.pager().sync()
        await here.look_until("SELECT true FROM page WHERE state = 'placed'")
        assert (seen[0]["title"], seen[0]["person"]) == ("Disk full", "anna")
        assert (await here.http.get(seen[0]["answer_url"])).status_code == 200


async def test_a_transport_that_is_not_set_up_fails_over_to_the_next_person(
    pool: Pool, registry: Registry
) -> None:
    """No mail server: said in the timeline, and Ben is rung."""
    registry.request()
    async with lab(pool, ring_s=600) as here:
        here.targets = Only("email", "anna@support.example")
        await here.pager().sync()
        await here.look_until("SELECT true FROM page WHERE state = 'ringing'")
        failed = await here.value("SELECT text FROM page_event WHERE kind = 'failed'")
    assert "smtp.host and link_secret must be set" in failed


Inbox = list[bytes]
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def mail_server() -> AsyncIterator[tuple[int, Inbox]]:
    """A mail server that accepts everything: just enough SMTP."""
    inbox: Inbox = []
    server = await asyncio.start_server(_smtp(inbox), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], inbox


def _smtp(inbox: Inbox) -> Handler:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail\r\n")
        while line := (await reader.readline()).strip().upper():
            if line == b"DATA":
                writer.write(b"354 go on\r\n")
                inbox.append(await reader.readuntil(b"\r\n.\r\n"))
            writer.write(b"221 bye\r\n" if line == b"QUIT" else b"250 fine\r\n")
            if line == b"QUIT":
                break
        writer.close()

    return talk
