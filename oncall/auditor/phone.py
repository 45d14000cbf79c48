"""The auditor's telephone: one provider account, instructions inside the request.

The provider's ``Twiml`` parameter carries what is said (at most 4,000 characters), so a call needs no web
server of ours. What became of it is asked for: status, ``answered_by`` and duration of the call resource.
"""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree as ET

import httpx
import msgspec

from oncall.auditor.settings import Settings
from oncall.errors import OncallError
from oncall.settings import VoiceProvider

MOST_CHARACTERS = 4000
REPEATS = 3
HEARD_S = 10
"""A call shorter than this was not listened to."""
OVER = frozenset({"completed", "busy", "no-answer", "canceled", "failed"})


class PhoneFault(OncallError):
    """The provider did not do what it was asked."""


class Fate(msgspec.Struct, frozen=True):
    """What became of a call."""

    status: str
    answered_by: str
    seconds: int

    @property
    def over(self) -> bool:
        return self.status in OVER

    @property
    def heard(self) -> bool:
        """A person picked up and listened. An unsure verdict is not a person: voicemail is no answer."""
        return self.status == "completed" and self.answered_by == "human" and self.seconds >= HEARD_S

    def __str__(self) -> str:
        who = f", picked up by {self.answered_by}" if self.answered_by else ""
        return f"{self.status}{who}, {self.seconds} s"


class Phone:
    """One account."""

    def __init__(self, provider: VoiceProvider, s: Settings, http: httpx.AsyncClient) -> None:
        self._provider = provider
        self._settings = s
        self._http = http
        self._calls = f"{provider.base_url}/2010-04-01/Accounts/{provider.account_sid}/Calls"

    async def place(self, number: str, text: str, keys_url: str) -> str:
        """Ring; the call's id. Raises PhoneFault (it may ring all the same)."""
        form = {
            "To": number,
            "From": self._provider.from_number,
            "Twiml": instructions(text, keys_url),
            "Timeout": str(self._settings.ring_s),
            "MachineDetection": "Enable",
        }
        document = await self._ask("POST", f"{self._calls}.json", form)
        if not (sid := str(document.get("sid") or "")):
            raise PhoneFault("the provider's answer names no call")
        return sid

    async def fate(self, sid: str) -> Fate:
        """What became of a call. Raises PhoneFault."""
        found = await self._ask("GET", f"{self._calls}/{sid}.json")
        seconds = str(found.get("duration") or "0")
        return Fate(
            str(found.get("status") or ""),
            str(found.get("answered_by") or ""),
            int(seconds) if seconds.isdecimal() else 0,
        )

    async def _ask(self, method: str, url: str, form: dict[str, str] | None = None) -> dict[str, Any]:
        auth = httpx.BasicAuth(self._provider.account_sid, self._provider.auth_token)
        limit = self._settings.provider_timeout_s
        try:
            response = await self._http.request(method, url, data=form, auth=auth, timeout=limit)
            response.raise_for_status()
            document = msgspec.json.decode(response.content)
        except httpx.HTTPStatusError as error:
            raise PhoneFault(f"HTTP {error.response.status_code}: {error.response.text[:200]}") from error
        except (httpx.HTTPError, msgspec.DecodeError) as error:
            raise PhoneFault(f"{type(error).__name__}: no usable answer") from error
        return document if isinstance(document, dict) else {}


def instructions(text: str, keys_url: str) -> str:
    """TwiML that says the text three times; with ``keys_url`` it takes a key meanwhile."""
    said = _legal(text)
    document = _document(said, keys_url)
    while len(document) > MOST_CHARACTERS:
        # Escaping makes some characters longer: cut what is said until the whole fits.
        said = said[: max(0, len(said) - max(100, (len(document) - MOST_CHARACTERS) // REPEATS))]
        document = _document(f"{said} ...", keys_url)
    return document


def _document(text: str, keys_url: str) -> str:
    root = ET.Element("Response")
    for _ in range(REPEATS):
        parent = root
        if keys_url:
            known = {"input": "dtmf", "numDigits": "1", "timeout": "5", "action": keys_url, "method": "POST"}
            parent = ET.SubElement(root, "Gather", known)
        _say(parent, text + (" Press 4 to confirm, 5 for the next person." if keys_url else ""))
        ET.SubElement(parent, "Pause", {"length": "1"})
    return ET.tostring(root, encoding="unicode")


def goodbye(text: str) -> str:
    """Say one thing and hang up."""
    root = ET.Element("Response")
    _say(root, text)
    ET.SubElement(root, "Hangup")
    return ET.tostring(root, encoding="unicode")


def _say(parent: ET.Element, text: str) -> None:
    ET.SubElement(parent, "Say", {"language": "en-GB"}).text = text


def _legal(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
