"""Pages that are written instead of spoken: SMS, email, webhook. Texts, reply codes and links. Pure.

    SMS      carries a reply code: ``4 1234`` acknowledges, ``5 1234`` asks for the next person
    email    carries a signed link to a page that asks for confirmation: a link scanner that opens it opens
             only the question
    webhook  carries the same facts as JSON, signed as Standard Webhooks prescribe

All of it derives from the page's random id, so nothing more needs to be stored.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import msgspec

from oncall.page import Key, Page, State
from oncall.settings import Settings
from ticketing.published import Briefing

SMS_LIMIT = 480
"""Characters: three segments; the rest of a title is cut."""
_REPLY = re.compile(r"\s*([45])\D*(\d{4})?\s*|\s*(\d{4})\D*([45])?\s*")


class Reply(msgspec.Struct, frozen=True):
    """What a person wrote back."""

    key: Key
    code: str
    """Four digits; '' when none was given."""


def code_of(page_id: UUID) -> str:
    """The reply code of a page: four digits; the sender's number must match as well."""
    return f"{page_id.int % 10_000:04}"


def read_reply(text: str) -> Reply | None:
    """``4``, ``4 1234``, ``1234`` or ``1234 5``; None for anything else."""
    found = _REPLY.fullmatch(text)
    if found is None:
        return None
    key = found[1] or found[4] or Key.ACKNOWLEDGE
    return Reply(Key(key), found[2] or found[3] or "")


def sms_text(page: Page, briefing: Briefing) -> str:
    """One message about one ticket."""
    code = code_of(page.page_id)
    tail = f" {briefing.number}. Reply 4 {code} to take it in charge, 5 {code} for the next person."
    head = f"UCX P{briefing.priority} {briefing.customer}: {briefing.title}{_where(briefing)}."
    return head[: SMS_LIMIT - len(tail)] + tail


def email_of(page: Page, briefing: Briefing, settings: Settings) -> EmailMessage:
    """A message with the link that leads to the question."""
    message = EmailMessage()
    title = " ".join(f"{briefing.customer}: {briefing.title}".split())
    message["Subject"] = f"[P{briefing.priority}] {title} ({briefing.number})"[:180]
    message["From"] = settings.smtp.sender
    message["To"] = page.address
    message["Message-ID"] = f"<{page.page_id}@{settings.smtp.sender.rpartition('@')[2]}>"
    message.set_content(
        f"Hello {page.person_name},\n\n"
        f"{briefing.title}{_where(briefing)}\n"
        f"Customer: {briefing.customer} ({briefing.deployment})\n"
        f"Priority: P{briefing.priority}\n"
        f"Since:    {briefing.since:%Y-%m-%d %H:%M} UTC\n"
        f"Ticket:   {briefing.number}\n\n"
        f"Take it in charge (one more click is asked for):\n{link_of(page, settings)}\n"
    )
    return message


def event_of(page: Page, briefing: Briefing, settings: Settings) -> dict[str, Any]:
    """The webhook's JSON body."""
    return {
        "type": "page",
        "page_id": str(page.page_id),
        "person": page.address,
        "customer": briefing.customer,
        "host": briefing.host,
        "title": briefing.title,
        "priority": briefing.priority,
        "ticket": briefing.number,
        "since": briefing.since.isoformat(),
        "answer_url": link_of(page, settings),
    }


def link_of(page: Page, settings: Settings) -> str:
    """Where the person confirms."""
    token = token_of(page.tenant_id, page.page_id, settings.link_secret)
    return f"{settings.public_url}/v1/oncall/answer/{page.tenant_id}/{page.page_id}?token={token}"


def token_of(tenant_id: int, page_id: UUID, secret: str) -> str:
    """Proof that the link came from us: HMAC-SHA256 over the page, 64 hex digits."""
    return hmac.new(secret.encode(), f"answer:{tenant_id}:{page_id}".encode(), hashlib.sha256).hexdigest()


def is_token(token: str, tenant_id: int, page_id: UUID, secret: str) -> bool:
    """Constant-time check; without a secret there are no links."""
    wanted = token_of(tenant_id, page_id, secret)
    return bool(secret) and hmac.compare_digest(token.encode("utf-8", "replace"), wanted.encode())


def state_of(status: str) -> tuple[State, str] | None:
    """What a message's status means; None for one we do not know."""
    if status in ("accepted", "scheduled", "queued", "sending", "sent"):
        return State.PLACED, f"the provider has the message ({status})"
    if status == "delivered":
        return State.RINGING, "the message reached the phone"
    if status in ("undelivered", "failed", "canceled"):
        return State.FAILED, f"the message was not delivered ({status})"
    return None


def _where(briefing: Briefing) -> str:
    return f" on {briefing.host}" if briefing.host and briefing.host not in briefing.title else ""
