"""Sending a notice: mail by SMTP, or JSON signed as Standard Webhooks says, to the public internet only
(``wire/destination.py``).

Unsent
|- Later   not now: away or busy; try again
`- Never   it never will: refused for good
"""

from __future__ import annotations

import asyncio
import base64
import ssl
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any
from uuid import UUID

import aiosmtplib
import httpx
import msgspec
from standardwebhooks import Webhook

from alerting.errors import AlertingError
from alerting.notices.plan import subject, text
from alerting.settings import Receiver, Settings
from wire.destination import Destination, DestinationError, Unfit, judged

_GONE = 410


class Unsent(AlertingError):
    """It was not sent; the message says why."""


class Later(Unsent):
    """Try again."""


class Never(Unsent):
    """Do not try again."""


class Letter(msgspec.Struct, frozen=True):
    """A notice that was claimed."""

    notice_id: UUID
    said: dict[str, Any]
    at: datetime
    """Time of this attempt."""


async def send(letter: Letter, receiver: Receiver, settings: Settings) -> None:
    """Send it. Raises Later or Never."""
    if receiver.kind == "email":
        await _mail(letter, receiver, settings)
    else:
        await _hook(letter, receiver, settings)


async def _mail(letter: Letter, receiver: Receiver, settings: Settings) -> None:
    try:
        await aiosmtplib.send(
            composed(letter, receiver, settings),
            hostname=settings.smtp_host,
            port=settings.smtp_port,
            username=settings.smtp_user or None,
            password=settings.smtp_password or None,
            start_tls=settings.smtp_security == "starttls",
            use_tls=settings.smtp_security == "tls",
            tls_context=ssl.create_default_context() if settings.smtp_security != "none" else None,
            timeout=settings.notice_timeout_s,
        )
    except aiosmtplib.SMTPRecipientsRefused as error:
        lasting = all(refused.code >= 500 for refused in error.recipients)
        raise (Never if lasting else Later)(str(error)) from error
    except aiosmtplib.SMTPResponseException as error:
        raise (Never if error.code >= 500 else Later)(str(error)) from error
    except (aiosmtplib.SMTPException, OSError) as error:
        raise Later(f"{type(error).__name__}: {error}") from error


def composed(letter: Letter, receiver: Receiver, settings: Settings) -> EmailMessage:
    """The mail. Raises Never for an address that no mail can carry."""
    mail = EmailMessage()
    try:
        mail["From"] = Address("UCX Proactive", addr_spec=settings.mail_from)
        mail["To"] = Address(addr_spec=receiver.address)
    except (ValueError, IndexError, MessageError) as error:
        raise Never(f"not a mail address: {error}") from error
    mail["Subject"] = " ".join(subject(letter.said).split())
    mail["Date"] = letter.at
    mail["Message-ID"] = f"<{letter.notice_id}@{settings.mail_from.rpartition('@')[2]}>"
    mail["Auto-Submitted"] = "auto-generated"
    mail.set_content(text(letter.said))
    return mail


async def _hook(letter: Letter, receiver: Receiver, settings: Settings) -> None:
    body = msgspec.json.encode(letter.said)
    identity = f"msg_{letter.notice_id.hex}"
    signature = _signer(receiver).sign(identity, letter.at, body.decode())
    headers = {
        "content-type": "application/json",
        "webhook-id": identity,
        "webhook-timestamp": str(int(letter.at.timestamp())),
        "webhook-signature": signature,
    }
    status = await _post(receiver.address, body, headers, settings)
    if status == _GONE:
        raise Never("the receiver answered 410: it does not want it any more")
    if not 200 <= status < 300:
        raise Later(f"the receiver answered {status}")


def _signer(receiver: Receiver) -> Webhook:
    """Raises Never for a secret that nothing can be signed with."""
    text = receiver.secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise Never(f"receiver '{receiver.name}' has no usable secret (whsec_<Base64>)")
    return Webhook(key)


async def _post(url: str, body: bytes, headers: dict[str, str], settings: Settings) -> int:
    try:
        async with asyncio.timeout(settings.notice_timeout_s):
            target = await _judged(url, settings)
            async with (
                httpx.AsyncClient(
                    timeout=settings.notice_timeout_s, trust_env=False, follow_redirects=False
                ) as client,
                client.stream(
                    "POST",
                    target.url,
                    content=body,
                    headers=headers | {"host": target.host},
                    extensions={"sni_hostname": target.name},
                ) as answer,
            ):
                return answer.status_code  # whatever else it says is not read
    except (httpx.HTTPError, TimeoutError, OSError) as error:
        raise Later(f"{type(error).__name__}: {error}") from error


async def _judged(url: str, settings: Settings) -> Destination:
    """Raises Later or Never."""
    try:
        return await judged(url, private=settings.notice_private)
    except Unfit as error:
        raise Never(str(error)) from None
    except DestinationError as error:
        raise Later(str(error)) from error
