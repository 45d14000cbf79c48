"""Answers to written pages: SMS replies, their delivery reports, and the confirmed link."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import jinja2

from oncall import messages, store
from oncall.page import Key, News, State, from_key
from oncall.settings import Settings
from oncall.sql import Q
from oncall.store import LockedCall
from oncall.targets import Conn
from storage.pool import Pool
from ticketing import published
from wire.problem import Forbidden, NotFound

_PAGES = jinja2.Environment(loader=jinja2.PackageLoader("oncall", "templates"), autoescape=True)
UNKNOWN = "No open page for this number matches. Reply 4 and the code of the message."


class Answers:
    """What persons write back."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings

    async def sms_status(self, tenant_id: int, page_id: UUID, form: dict[str, str], now: datetime) -> None:
        """A delivery report of one message."""
        meaning = messages.state_of(form.get("MessageStatus", ""))
        if meaning is None:
            return
        async with self._pool.connection() as conn, conn.transaction():
            call = await _found(conn, tenant_id, page_id)
            await store.apply(conn, call, News(*meaning, form.get("MessageSid")), now)

    async def sms_reply(self, form: dict[str, str], now: datetime) -> str:
        """A message that somebody sent to us: the TwiML of our reply."""
        reply = messages.read_reply(form.get("Body", "")[:160])
        if reply is None:
            return _message(UNKNOWN)
        async with self._pool.connection() as conn, conn.transaction():
            key = await _page_of(conn, form.get("From", ""), reply.code, now)
            if key is None:
                return _message(UNKNOWN)
            call = await _found(conn, *key)
            proof: dict[str, Any] = {
                name: form.get(name, "")[:160] for name in ("MessageSid", "From", "Body")
            }
            news = from_key(reply.key, call.page.person_name, None)
            assert news is not None
            said = News(news.state, news.reason.replace("pressed", "replied"), None)
            await store.apply(conn, call, said, now, channel="sms", proof=proof)
        if reply.key is Key.NEXT_PERSON:
            return _message("Understood. The next person is called.")
        return _message("Acknowledged. The ticket is yours. Thank you.")

    async def question(self, tenant_id: int, page_id: UUID, token: str) -> str:
        """The page behind the link: it only asks."""
        self._check(tenant_id, page_id, token)
        async with self._pool.connection() as conn, conn.transaction():
            call = await _found(conn, tenant_id, page_id)
            ticket_id = call.pagings[tenant_id, call.page.page_request_id][2]
            briefing = await published.briefing(conn, tenant_id, ticket_id)
        return _PAGES.get_template("answer.html").render(
            briefing=briefing, person=call.page.person_name, token=token, over=call.end_reason, done=None
        )

    async def confirmed(self, tenant_id: int, page_id: UUID, token: str, now: datetime) -> str:
        """The person confirmed on that page: acknowledged, once."""
        self._check(tenant_id, page_id, token)
        async with self._pool.connection() as conn, conn.transaction():
            call = await _found(conn, tenant_id, page_id)
            reason = f"{call.page.person_name} confirmed on the page behind the link"
            news = News(State.ACKNOWLEDGED, reason)
            await store.apply(conn, call, news, now, channel="link", proof={"link": "confirmed"})
        return _PAGES.get_template("answer.html").render(
            briefing=None, person=call.page.person_name, token="", over="", done=True
        )

    def _check(self, tenant_id: int, page_id: UUID, token: str) -> None:
        if not messages.is_token(token, tenant_id, page_id, self._settings.link_secret):
            raise Forbidden("This link is not valid.")


async def _found(conn: Conn, tenant_id: int, page_id: UUID) -> LockedCall:
    call = await store.lock_call(conn, tenant_id, page_id)
    if call is None:
        raise NotFound("There is no such page.")
    return call


async def _page_of(conn: Conn, number: str, code: str, now: datetime) -> tuple[int, UUID] | None:
    """The SMS page that a reply from this number means: by its code, or the only open one."""
    rows = await (await conn.execute(Q.sms_pages, {"number": number, "now": now})).fetchall()
    if code:
        rows = [row for row in rows if messages.code_of(row[1]) == code]
    else:
        rows = [row for row in rows if row[2] == "active"]
        rows = rows if len({row[3] for row in rows}) == 1 else []
    return (rows[0][0], rows[0][1]) if rows else None


def _message(text: str) -> str:
    response = ET.Element("Response")
    ET.SubElement(response, "Message").text = text
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(response, encoding="unicode")
