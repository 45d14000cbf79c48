"""The provider's documented contract (Calls, API version 2010-04-01), as checks. Pure.

Where the documentation is silent we take the harsher reading: an unknown parameter is refused, and a call
that was not dialled yet has no start time, so that a list filtered by start time does not show it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

import msgspec

ERROR_PAGES = "https://www.twilio.com/docs/errors"
ACCOUNT_SID = re.compile(r"AC[0-9a-fA-F]{32}")
CALL_SID = re.compile(r"CA[0-9a-f]{32}")
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
EVENTS = ("initiated", "ringing", "answered", "completed")
FINAL = frozenset({"completed", "busy", "no-answer", "canceled", "failed"})
DEFAULT_TIMEOUT_S = 60

Fields = Mapping[str, list[str]]


class Fault(Exception):
    """A refusal in the provider's error shape."""

    def __init__(self, status: int, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def body(self) -> dict[str, Any]:
        """The error document."""
        more = f"{ERROR_PAGES}/{self.code}"
        return {"code": self.code, "message": str(self), "more_info": more, "status": self.status}


def not_authenticated() -> Fault:
    return Fault(401, 20003, "Authenticate")


def not_found(path: str) -> Fault:
    return Fault(404, 20404, f"The requested resource {path} was not found")


def too_many() -> Fault:
    return Fault(429, 20429, "Too Many Requests")


class Order(msgspec.Struct, frozen=True):
    """A valid request to place a call."""

    to: str
    from_: str
    url: str
    """Where the instructions are; '' when the request itself carries them."""
    twiml: str
    method: str
    status_callback: str
    events: tuple[str, ...]
    """Callbacks wanted; the final one is sent under ``completed``."""
    timeout_s: int
    detects_machines: bool


_SINGLE = frozenset(
    {
        "To",
        "From",
        "Url",
        "Twiml",
        "Method",
        "FallbackUrl",
        "FallbackMethod",
        "StatusCallback",
        "StatusCallbackMethod",
        "Timeout",
        "MachineDetection",
        "MachineDetectionTimeout",
        "MachineDetectionSpeechThreshold",
        "MachineDetectionSpeechEndThreshold",
        "MachineDetectionSilenceTimeout",
        "Record",
        "SendDigits",
        "CallerId",
        "Trim",
        "TimeLimit",
        "CallReason",
    }
)
_METHODS = ("GET", "POST")


def order(fields: Fields, own_numbers: frozenset[str]) -> Order:
    """Check a ``POST Calls.json``. Raises Fault as the provider would."""
    _known(fields, _SINGLE | {"StatusCallbackEvent"}, repeatable=frozenset({"StatusCallbackEvent"}))
    one = _reader(fields)
    to, from_ = one("To"), one("From")
    _refuse(not to, 21201, "No 'To' number is specified")
    _refuse(not from_, 21213, "No 'From' number is specified")
    _refuse(
        not _E164.fullmatch(to), 21211, f"The phone number you are attempting to call, {to}, is not valid."
    )
    _refuse(not _E164.fullmatch(from_), 21212, f"The source phone number provided, {from_}, is not valid.")
    _refuse(
        from_ not in own_numbers, 21210, f"The source phone number provided, {from_}, is not yet verified."
    )
    _refuse(to == from_, 21211, "'To' and 'From' may not be the same number")
    _refuse(not one("Url") and not one("Twiml"), 21205, "Url parameter is required.")
    _refuse(bool(one("Url")) and not _is_url(one("Url")), 21205, f"Url is not a valid URL: {one('Url')}")
    _refuse(len(one("Twiml")) > 4000, 20001, "Twiml is longer than 4000 characters")
    _check_callbacks(fields, one)
    return Order(
        to=to,
        from_=from_,
        url=one("Url"),
        twiml="" if one("Url") else one("Twiml"),  # the URL wins, as documented
        method=one("Method") or "POST",
        status_callback=one("StatusCallback"),
        events=tuple(fields.get("StatusCallbackEvent", ["completed"])),
        timeout_s=_timeout(one("Timeout")),
        detects_machines=bool(one("MachineDetection")),
    )


def _check_callbacks(fields: Fields, one: Callable[[str], str]) -> None:
    for name in ("Method", "StatusCallbackMethod", "FallbackMethod"):
        _refuse(one(name) not in ("", *_METHODS), 21209, f"{name} must be GET or POST")
    callback = one("StatusCallback")
    _refuse(bool(callback) and not _is_url(callback), 21609, f"StatusCallback is not a valid URL: {callback}")
    for event in fields.get("StatusCallbackEvent", []):
        _refuse(
            event not in EVENTS, 21626, f"StatusCallbackEvent {event!r} is not one of {', '.join(EVENTS)}"
        )
    detection = one("MachineDetection")
    _refuse(
        detection not in ("", "Enable", "DetectMessageEnd"), 21207, f"Invalid MachineDetection: {detection}"
    )


def _timeout(text: str) -> int:
    if not text:
        return DEFAULT_TIMEOUT_S
    _refuse(
        not re.fullmatch(r"[0-9]{1,4}", text) or not 1 <= int(text) <= 600, 21208, f"Invalid Timeout: {text}"
    )
    return int(text)


class Text(msgspec.Struct, frozen=True):
    """A valid request to send an SMS."""

    to: str
    from_: str
    body: str
    status_callback: str


def text(fields: Fields, own_numbers: frozenset[str]) -> Text:
    """Check a ``POST Messages.json``. Raises Fault as the provider would."""
    _known(fields, frozenset({"To", "From", "Body", "StatusCallback"}), repeatable=frozenset())
    one = _reader(fields)
    to, from_, body, callback = one("To"), one("From"), one("Body"), one("StatusCallback")
    _refuse(not to, 21604, "A 'To' phone number is required.")
    _refuse(not _E164.fullmatch(to), 21211, f"The 'To' number {to} is not a valid phone number.")
    _refuse(not from_, 21603, "A 'From' phone number is required.")
    _refuse(from_ not in own_numbers, 21606, f"The 'From' number {from_} is not a number of this account.")
    _refuse(not body, 21602, "Message body is required.")
    _refuse(len(body) > 1600, 21617, "The message body exceeds the 1600 character limit.")
    _refuse(bool(callback) and not _is_url(callback), 21609, f"StatusCallback is not a valid URL: {callback}")
    return Text(to, from_, body, callback)


def ending(fields: Fields) -> str:
    """Check a ``POST Calls/{sid}.json`` that ends a call: ``canceled`` or ``completed``."""
    _known(fields, frozenset({"Status"}), repeatable=frozenset())
    status = _reader(fields)("Status")
    _refuse(status not in ("canceled", "completed"), 21218, f"Invalid Status: {status or '(none)'}")
    return status


_FILTERS = frozenset(
    {
        "To",
        "From",
        "ParentCallSid",
        "Status",
        "StartTime",
        "StartTime<",
        "StartTime>",
        "EndTime",
        "EndTime<",
        "EndTime>",
        "PageSize",
        "Page",
        "PageToken",
    }
)


class Filter(msgspec.Struct, frozen=True):
    """What a list of calls is limited to."""

    to: str
    from_: str
    status: str
    started_from: datetime | None
    started_to: datetime | None
    page_size: int

    def admits(self, call: Mapping[str, Any], started: datetime | None) -> bool:
        """Whether a call (in its public form) belongs in the list."""
        if (self.to and call["to"] != self.to) or (self.from_ and call["from"] != self.from_):
            return False
        if self.status and call["status"] != self.status:
            return False
        if self.started_from is None and self.started_to is None:
            return True
        if started is None:
            return False
        after = self.started_from is None or started >= self.started_from
        return after and (self.started_to is None or started <= self.started_to)


def listing(params: Fields) -> Filter:
    """Check a ``GET Calls.json``."""
    _known(params, _FILTERS, repeatable=frozenset())
    one = _reader(params)
    size = one("PageSize") or "50"
    _refuse(not re.fullmatch(r"[0-9]{1,5}", size) or int(size) < 1, 20006, f"Invalid PageSize: {size}")
    return Filter(
        to=one("To"),
        from_=one("From"),
        status=one("Status"),
        started_from=_moment(one("StartTime>"), "StartTime>"),
        started_to=_moment(one("StartTime<"), "StartTime<"),
        page_size=min(1000, int(size)),
    )


def _moment(text: str, name: str) -> datetime | None:
    if not text:
        return None
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Fault(400, 20001, f"{name}: {text!r} is no date (YYYY-MM-DD) or time") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def rfc2822(time: datetime | None) -> str | None:
    """Times as the API writes them: whole seconds."""
    return format_datetime(time.astimezone(UTC)) if time else None


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https") and bool(parts.hostname) and port_ok and not re.search(r"\s", text)
    )


def _known(fields: Fields, names: frozenset[str], repeatable: frozenset[str]) -> None:
    for name, values in fields.items():
        _refuse(name not in names, 20001, f"Unknown parameter {name!r}")
        _refuse(len(values) > 1 and name not in repeatable, 20001, f"Parameter {name!r} is given twice")


def _reader(fields: Fields) -> Callable[[str], str]:
    return lambda name: next(iter(fields.get(name, [])), "")


def _refuse(wrong: bool, code: int, message: str) -> None:
    if wrong:
        raise Fault(400, code, message)
