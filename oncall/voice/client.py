"""A small client of the Twilio-compatible Calls API (2010-04-01), without its SDK.

It makes one request per call and never retries: a second request could ring a second time, and only the
pager knows whether that is wanted. What may have happened is in the error's type (``oncall.errors``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import msgspec

from oncall.errors import ProviderBroken, ProviderError, ProviderRefused, ProviderUnknown
from oncall.settings import VoiceProvider

ALREADY_OVER = 21220
"""The provider's error code for ending a call that has ended."""
_EVENTS = ("initiated", "ringing", "answered", "completed")


class Call(msgspec.Struct, frozen=True):
    """A call as the provider knows it."""

    sid: str
    status: str
    to: str
    answered_by: str
    """'' while unknown."""
    created_at: datetime | None
    """By the provider's clock; None while it is queued."""


class CallOrder(msgspec.Struct, frozen=True):
    """What to ask for."""

    to: str
    """E.164."""
    twiml_url: str
    status_url: str
    ring_s: int


class VoiceClient:
    """One account of one provider. Share it: it keeps connections open."""

    def __init__(self, provider: VoiceProvider, http: httpx.AsyncClient, timeout_s: float) -> None:
        self.provider = provider
        self._http = http
        self._timeout = httpx.Timeout(timeout_s, connect=min(5.0, timeout_s))
        account = f"{provider.base_url}/2010-04-01/Accounts/{provider.account_sid}"
        self._messages = f"{account}/Messages.json"
        self._calls = f"{account}/Calls"

    async def create(self, order: CallOrder) -> Call:
        """Place a call. ProviderUnknown: it may ring all the same."""
        fields = [
            ("To", order.to),
            ("From", self.provider.from_number),
            ("Url", order.twiml_url),
            ("Method", "POST"),
            ("StatusCallback", order.status_url),
            ("StatusCallbackMethod", "POST"),
            *(("StatusCallbackEvent", event) for event in _EVENTS),
            ("Timeout", str(order.ring_s)),
            ("MachineDetection", "Enable"),
        ]
        return _call(await self._post(f"{self._calls}.json", fields))

    async def fetch(self, sid: str) -> Call:
        """The call's present state."""
        return _call(await self._send("GET", f"{self._calls}/{sid}.json"))

    async def listed(self, to: str, since: datetime) -> list[Call]:
        """Calls to a number that were made at or after ``since``, newest first (one page of 100)."""
        # The day before: providers filter by their own day and clock; the caller looks closer.
        params = {"To": to, "StartTime>": since.astimezone(UTC).strftime("%Y-%m-%d"), "PageSize": "100"}
        document = await self._send("GET", f"{self._calls}.json", params=params)
        calls = document.get("calls")
        if not isinstance(calls, list):
            raise ProviderBroken(f"{self.provider.name}: a list of calls without 'calls'")
        found = [_call(item) for item in calls if isinstance(item, dict)]
        return [call for call in found if call.created_at is None or call.created_at >= since]

    async def hang_up(self, sid: str) -> None:
        """End a call, queued, ringing or in progress; one that has ended already is fine."""
        try:
            await self._post(f"{self._calls}/{sid}.json", [("Status", "completed")])
        except ProviderRefused as refusal:
            if refusal.code != ALREADY_OVER:
                raise

    async def text(self, to: str, body: str, status_url: str) -> str:
        """Send an SMS; the message's id."""
        fields = [("To", to), ("From", self.provider.from_number), ("Body", body)]
        document = await self._post(self._messages, [*fields, ("StatusCallback", status_url)])
        return str(document.get("sid") or "")

    async def _post(self, url: str, fields: Sequence[tuple[str, str]]) -> dict[str, Any]:
        return await self._send("POST", url, content=urlencode(fields))

    async def _send(
        self, method: str, url: str, *, content: str | None = None, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if content is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        auth = httpx.BasicAuth(self.provider.account_sid, self.provider.auth_token)
        try:
            response = await self._http.request(
                method, url, content=content, params=params, headers=headers, auth=auth, timeout=self._timeout
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise ProviderBroken(f"{self.provider.name}: out of reach ({type(error).__name__})") from error
        except httpx.HTTPError as error:
            raise ProviderUnknown(f"{self.provider.name}: no answer ({type(error).__name__})") from error
        return self._document(response)

    def _document(self, response: httpx.Response) -> dict[str, Any]:
        try:
            document = msgspec.json.decode(response.content)
        except msgspec.DecodeError:
            document = None
        if not response.is_success:
            raise _refusal(self.provider.name, response.status_code, document)
        if not isinstance(document, dict):
            # A success that says nothing: something was taken, we do not know what.
            raise ProviderUnknown(f"{self.provider.name}: {response.status_code} without a JSON object")
        return document


def _refusal(name: str, status: int, document: object) -> ProviderError:
    message, code = "", None
    if isinstance(document, dict):
        message = str(document.get("message", ""))[:300]
        code = document.get("code") if isinstance(document.get("code"), int) else None
    text = (
        f"{name}: HTTP {status}" + (f", error {code}" if code else "") + (f": {message}" if message else "")
    )
    # A gateway's 502 or 504 says nothing of whether the request went through.
    if status in (502, 504):
        return ProviderUnknown(text, code)
    return ProviderBroken(text, code) if status >= 500 else ProviderRefused(text, code)


def _call(document: dict[str, Any]) -> Call:
    sid = document.get("sid")
    if not isinstance(sid, str) or not sid:
        raise ProviderUnknown("the provider's answer names no call (no 'sid')")
    return Call(
        sid=sid,
        status=str(document.get("status") or ""),
        to=str(document.get("to") or ""),
        answered_by=str(document.get("answered_by") or ""),
        created_at=_time(document.get("date_created") or document.get("start_time")),
    )


def _time(text: object) -> datetime | None:
    """RFC 2822, as the API writes times; None for anything else."""
    if not isinstance(text, str):
        return None
    try:
        time = parsedate_to_datetime(text)
    except ValueError:
        return None
    return time.astimezone(UTC) if time.tzinfo else time.replace(tzinfo=UTC)
