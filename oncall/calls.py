"""One voice call from order to hang-up: what the pager asks of providers, outside any transaction.

Each function returns news of a page (or None: nothing is known yet); it never touches the database.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from uuid import UUID

import httpx
import msgspec

from oncall import metrics
from oncall.errors import ProviderError, ProviderUnknown
from oncall.page import News, Page, State, from_status
from oncall.settings import Settings
from oncall.voice.client import Call, CallOrder, VoiceClient

_SKEW = timedelta(seconds=5)
"""How far a provider's clock may be behind ours; its times have whole seconds."""


class Outcome(msgspec.Struct, frozen=True):
    """What became of a request to place a call."""

    news: News | None
    """None: it may have been placed - look for it."""
    text: str
    """For the timeline."""


def callback_url(settings: Settings, tenant_id: int, page_id: UUID, action: str, provider: str) -> str:
    """Where the provider speaks to us of one page; the provider's name says whose key must have signed."""
    return f"{settings.public_url}/v1/oncall/voice/{tenant_id}/{page_id}/{action}?via={provider}"


class Calls:
    """The configured providers."""

    def __init__(self, settings: Settings, http: httpx.AsyncClient) -> None:
        self._settings = settings
        self._clients: Mapping[str, VoiceClient] = {
            p.name: VoiceClient(p, http, settings.provider_timeout_s) for p in settings.providers
        }

    async def place(self, page: Page, ring_s: int) -> Outcome:
        """Ask the provider to ring the page's number."""
        client = self._clients.get(page.provider)
        if client is None:
            text = "no voice provider is configured: nobody can be rung"
            return Outcome(News(State.FAILED, text), text)
        order = CallOrder(page.address, self._url(page, "twiml"), self._url(page, "status"), ring_s)
        try:
            call = await client.create(order)
        except ProviderUnknown as doubt:
            metrics.CALLS.labels(page.provider, "unknown").inc()
            return Outcome(None, f"{doubt}; the call may have been placed: it is looked for")
        except ProviderError as error:
            metrics.CALLS.labels(page.provider, "failed").inc()
            return Outcome(News(State.FAILED, f"the call could not be placed: {error}"), str(error))
        metrics.CALLS.labels(page.provider, "placed").inc()
        text = f"{page.provider} accepted the call ({call.sid}); that is not yet a ringing phone"
        return Outcome(News(State.PLACED, text, call.sid), text)

    def _url(self, page: Page, action: str) -> str:
        return callback_url(self._settings, page.tenant_id, page.page_id, action, page.provider)

    async def find(self, page: Page) -> list[Call]:
        """Calls that may be this page's: to its number, since it was written, oldest first."""
        client = self._clients.get(page.provider)
        if client is None:
            return []
        calls = await client.listed(page.address, page.created_at - _SKEW)
        return sorted(
            (c for c in calls if c.to == page.address), key=lambda c: c.created_at or page.created_at
        )

    async def ask(self, page: Page) -> News | None:
        """What the provider says of the page's call; None when it cannot be asked."""
        client = self._clients.get(page.provider)
        if client is None or page.provider_ref is None:
            return None
        try:
            call = await client.fetch(page.provider_ref)
        except ProviderError:
            return None
        return from_status(call.status, call.answered_by, call.sid)

    async def hang_up(self, page: Page) -> str | None:
        """End the page's call if it has one; what went wrong, if something did."""
        client = self._clients.get(page.provider)
        if client is None or page.provider_ref is None:
            return None
        try:
            await client.hang_up(page.provider_ref)
        except ProviderError as error:
            return str(error)
        return None
