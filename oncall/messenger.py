"""Sends written pages: SMS through the voice provider's account, email by SMTP, webhooks by HTTP.

One request per call and no retry, as for voice: the pager decides. A message whose answer was lost is sent
again - two messages are better than none.
"""

from __future__ import annotations

from datetime import datetime

import aiosmtplib
import httpx
import msgspec
from standardwebhooks import Webhook

from oncall import messages
from oncall.calls import Outcome
from oncall.errors import ProviderError
from oncall.page import News, Page, State
from oncall.settings import Settings
from oncall.voice.client import VoiceClient
from ticketing.published import Briefing

PROVIDERS = {"email": "smtp", "webhook": "webhook"}
"""Transports that do not go through a telephone provider, and what their pages call it."""


class Messenger:
    """All written transports."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._http = http

    async def send(self, page: Page, briefing: Briefing, now: datetime) -> Outcome:
        """Send the page; what became of it."""
        try:
            reference = await self._send(page, briefing, now)
        except (ProviderError, httpx.HTTPError, aiosmtplib.SMTPException, OSError) as error:
            text = f"the {page.transport} could not be sent: {error or type(error).__name__}"
            return Outcome(News(State.FAILED, text), text)
        text = f"the {page.transport} was handed over; it is answered only when {page.person_name} confirms"
        return Outcome(News(State.PLACED, text, reference), text)

    async def _send(self, page: Page, briefing: Briefing, now: datetime) -> str | None:
        match page.transport:
            case "sms":
                return await self._sms(page, briefing)
            case "email":
                return await self._email(page, briefing)
            case "webhook":
                return await self._webhook(page, briefing, now)
        raise ProviderError(f"there is no transport '{page.transport}'")

    async def _sms(self, page: Page, briefing: Briefing) -> str:
        provider = self._settings.provider(page.provider)
        if provider is None:
            raise ProviderError("no telephone provider is configured")
        client = VoiceClient(provider, self._http, self._settings.provider_timeout_s)
        url = f"{self._settings.public_url}/v1/oncall/sms/{page.tenant_id}/{page.page_id}/status"
        text = messages.sms_text(page, briefing)
        return await client.text(page.address, text, f"{url}?via={page.provider}")

    async def _email(self, page: Page, briefing: Briefing) -> str:
        smtp = self._settings.smtp
        if not smtp.host or not self._settings.link_secret:
            raise ProviderError("smtp.host and link_secret must be set for email")
        message = messages.email_of(page, briefing, self._settings)
        await aiosmtplib.send(
            message,
            hostname=smtp.host,
            port=smtp.port,
            username=smtp.user or None,
            password=smtp.password or None,
            start_tls=smtp.start_tls,
            timeout=self._settings.provider_timeout_s,
        )
        return str(message["Message-ID"])

    async def _webhook(self, page: Page, briefing: Briefing, now: datetime) -> str:
        settings = self._settings
        if not settings.webhook_url or not settings.webhook_secret or not settings.link_secret:
            raise ProviderError("webhook_url, webhook_secret and link_secret must be set for webhooks")
        body = msgspec.json.encode(messages.event_of(page, briefing, settings)).decode()
        name = f"page_{page.page_id.hex}"
        headers = {
            "Content-Type": "application/json",
            "webhook-id": name,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(settings.webhook_secret).sign(name, now, body),
        }
        response = await self._http.post(
            settings.webhook_url, content=body, headers=headers, timeout=settings.provider_timeout_s
        )
        response.raise_for_status()
        return name
