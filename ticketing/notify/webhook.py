"""Webhooks: JSON signed as Standard Webhooks says, to addresses on the public internet only
(``wire/destination.py``)."""

from __future__ import annotations

import asyncio

import httpx
import msgspec
from standardwebhooks import Webhook

from ticketing.notify.letters import webhook_payload
from ticketing.notify.transport import Later, Never, Parcel
from ticketing.settings import Settings
from wire.destination import Destination, DestinationError, Resolve, Unfit, judged, resolve

GONE = 410
"""The receiver does not want it any more."""


class Hook:
    """The webhook transport."""

    def __init__(self, settings: Settings, resolver: Resolve = resolve) -> None:
        self._settings = settings
        self._resolver = resolver

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
        target = await self._judged(url)
        timeout = self._settings.notify_timeout_s
        try:
            async with (
                asyncio.timeout(2 * timeout),
                httpx.AsyncClient(timeout=timeout, trust_env=False, follow_redirects=False) as client,
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

    async def _judged(self, url: str) -> Destination:
        """Raises Later or Never."""
        try:
            return await judged(url, private=self._settings.webhook_private, resolver=self._resolver)
        except Unfit as error:
            raise Never(str(error)) from None
        except DestinationError as error:
            raise Later(str(error)) from error
