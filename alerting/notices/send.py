"""Sending a notice: mail by SMTP, or JSON signed as Standard Webhooks says, to the public internet only.

A webhook's host is resolved by us, every address judged, and the connection made to the judged address, so
that a name cannot point elsewhere a moment later. Redirects are not followed.

Unsent
|- Later   not now: away or busy; try again
`- Never   it never will: refused for good
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import socket
import ssl
from datetime import datetime
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any
from urllib.parse import SplitResult, urlsplit
from uuid import UUID

import aiosmtplib
import httpx
import msgspec
from standardwebhooks import Webhook

from alerting.errors import AlertingError
from alerting.notices.plan import subject, text
from alerting.settings import Receiver, Settings

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
            parts = _parts(url, settings)
            target = await _judged(parts, settings)
            host = {"host": parts.netloc.rpartition("@")[2]}
            names = {"sni_hostname": parts.hostname}
            async with (
                httpx.AsyncClient(
                    timeout=settings.notice_timeout_s, trust_env=False, follow_redirects=False
                ) as client,
                client.stream(
                    "POST", target, content=body, headers=headers | host, extensions=names
                ) as answer,
            ):
                return answer.status_code  # whatever else it says is not read
    except (httpx.HTTPError, TimeoutError, OSError) as error:
        raise Later(f"{type(error).__name__}: {error}") from error


def _parts(url: str, settings: Settings) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError as error:
        raise Never(f"the URL cannot be used: {error}") from None
    allowed = ("https", "http") if settings.notice_private else ("https",)
    if parts.hostname is None or parts.scheme not in allowed:
        raise Never("webhooks need an https URL with a host")
    return parts


async def _judged(parts: SplitResult, settings: Settings) -> str:
    """The URL with a judged address in its host's place. Raises Later or Never."""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        loop = asyncio.get_running_loop()
        found = await loop.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Later(f"{parts.hostname} cannot be resolved: {error}") from error
    addresses = [str(info[4][0]) for info in found]
    if not settings.notice_private and not all(public(address) for address in addresses):
        raise Never(f"{parts.hostname} is not on the public internet")
    netloc = f"[{addresses[0]}]:{port}" if ":" in addresses[0] else f"{addresses[0]}:{port}"
    return parts._replace(netloc=netloc, fragment="").geturl()


def public(address: str) -> bool:
    """Whether an address is on the public internet, also where IPv6 forms hide one of IPv4."""
    found = ipaddress.ip_address(address.partition("%")[0])
    hidden = [getattr(found, "ipv4_mapped", None), getattr(found, "sixtofour", None)]
    judged = [candidate for candidate in (found, *hidden) if candidate is not None]
    return all(candidate.is_global and not candidate.is_multicast for candidate in judged)
