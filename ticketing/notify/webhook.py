"""Webhooks: JSON signed as Standard Webhooks says, to addresses on the public internet only.

The host is resolved by us, every address is judged, and the connection goes to the judged address itself, so
that a name cannot point somewhere else a moment later. Redirects are not followed.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable
from urllib.parse import urlsplit

import httpx
import msgspec
from standardwebhooks import Webhook

from ticketing.notify.letters import webhook_payload
from ticketing.notify.transport import Later, Never, Parcel
from ticketing.settings import Settings

Resolve = Callable[[str, int], Awaitable[list[str]]]
GONE = 410
"""The receiver does not want it any more."""


async def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class Hook:
    """The webhook transport."""

    def __init__(self, settings: Settings, resolver: Resolve = resolve) -> None:
        self._settings = settings
        self._resolve = resolver

    async def send(self, parcel: Parcel) -> None:
        """Post it. Raises Later or Never."""
        secret = parcel.secret
        if parcel.recipient == self._settings.staff_webhook_url:
            secret = self._settings.staff_webhook_secret or None
        if secret is None:
            raise Never(
                "the registry (or the settings, for our own) has no such webhook with a secret any more"
            )
        body = msgspec.json.encode(webhook_payload(parcel.message))
        identity = f"msg_{parcel.message_id.hex}"
        headers = {
            "content-type": "application/json",
            "webhook-id": identity,
            "webhook-timestamp": str(int(parcel.at.timestamp())),
            "webhook-signature": Webhook(secret).sign(identity, parcel.at, body.decode()),
        }
        status = await self._post(parcel.recipient, body, headers)
        if status == GONE:
            raise Never("the receiver answered 410: it does not want it any more")
        if not 200 <= status < 300:
            raise Later(f"the receiver answered {status}")

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> int:
        target, host = await self._judged(url)
        timeout = self._settings.notify_timeout_s
        try:
            async with (
                asyncio.timeout(2 * timeout),
                httpx.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=False) as client,
                client.stream(
                    "POST",
                    target,
                    content=body,
                    headers=headers | {"host": host},
                    extensions={"sni_hostname": urlsplit(url).hostname},
                ) as answer,
            ):
                return answer.status_code  # whatever else it says is not read
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise Later(f"{type(error).__name__}: {error}") from error

    async def _judged(self, url: str) -> tuple[str, str]:
        """The URL with a judged address in the host's place, and the host as the receiver expects it."""
        try:
            parts = urlsplit(url)
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError as error:
            raise Never(f"the URL cannot be used: {error}") from None
        if parts.hostname is None or (parts.scheme != "https" and not self._settings.webhook_private):
            raise Never("webhooks need an https URL with a host")
        try:
            addresses = await self._resolve(parts.hostname, port)
        except (OSError, UnicodeError) as error:
            raise Later(f"{parts.hostname} cannot be resolved: {error}") from error
        if not addresses:
            raise Later(f"{parts.hostname} has no address")
        if not self._settings.webhook_private:
            for address in addresses:
                _refuse_inner(address)
        netloc = f"[{addresses[0]}]:{port}" if ":" in addresses[0] else f"{addresses[0]}:{port}"
        host = parts.netloc.rpartition("@")[2]
        return parts._replace(netloc=netloc, fragment="").geturl(), host


def _refuse_inner(address: str) -> None:
    """Refuse every address that is not on the public internet (also those hidden in IPv6 forms)."""
    found = ipaddress.ip_address(address.partition("%")[0])
    hidden = getattr(found, "ipv4_mapped", None) or getattr(found, "sixtofour", None)
    for candidate in (found, hidden):
        if candidate is not None and (not candidate.is_global or candidate.is_multicast):
            raise Never(f"{address} is not on the public internet")
