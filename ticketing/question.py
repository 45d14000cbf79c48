"""What the SLA calculator is asked: options of a command line, or a line of JSON, read and judged. Pure.

CalculatorError   the request is wrong; ``faults`` says of each option what would be right
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from ticketing.errors import TicketingError
from ticketing.policy import Priority, Release, priority_of
from ticketing.terms import REST_OF_WORLD

OPTIONS = (
    "plan", "licence", "theatre", "country", "region", "zone", "priority", "opened", "events", "now",
    "channel", "language", "apac", "closing_day", "release", "id",
)  # fmt: skip
"""Keys of a JSON line: the names of the options, ``-`` or ``_``; ``id`` comes back with the answer."""
EVENTS = (
    "pause:customer, pause:third-party, resume, priority:P1, plan:platinum, country:DE, taken, resolved, "
    "reopened"
)

_KNOWN_EVENT = re.compile(
    r"pause:(customer|third-party)|resume|taken|resolved|reopened|(priority|plan|country):.*"
)


class CalculatorError(TicketingError):
    """The request is wrong."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked, in the words of the options."""

    plan: str
    theatre: str
    priority: Priority
    opened: datetime
    licence: str = "subscription"
    country: str | None = None
    region: str | None = None
    zone: str | None = None
    """The customer's; chooses the theatre of the rest of the world."""
    events: tuple[tuple[datetime, str], ...] = ()
    now: datetime | None = None
    """None: as of the last event."""
    channel: str = "portal"
    language: str | None = None
    apac: bool = False
    closing_days: tuple[date, ...] = ()
    release: str | None = None
    """None: the release in force on the day of opening."""


def read_request(values: Mapping[str, Any], releases: Sequence[Release]) -> Request:
    """Options (or a JSON object) -> request. Raises CalculatorError naming every wrong option.

    A name is wrong when no release knows it; whether the release in force does, the answer says."""
    reader = _Reader(values, _names(releases))
    plan, theatre = reader.word("plan", required=True), reader.word("theatre", required=True)
    priority, opened, zone = reader.priority(), reader.time("opened", required=True), reader.text("zone")
    request = Request(
        plan=plan or "",
        theatre=theatre or "",
        priority=priority or 1,
        opened=opened or _NEVER,
        licence=reader.word("licence") or "subscription",
        country=reader.country(),
        region=reader.upper("region"),
        zone=zone,
        events=reader.events(),
        now=reader.time("now"),
        channel=reader.word("channel") or "portal",
        language=reader.word("language"),
        apac=reader.flag("apac"),
        closing_days=reader.days("closing_day"),
        release=reader.text("release"),
    )
    reader.refuse_unknown()
    if theatre == REST_OF_WORLD and zone is None:
        reader.faults.append("zone: is needed to choose the theatre of the rest of the world")
    if reader.faults:
        raise CalculatorError(reader.faults)
    return request


def _names(releases: Sequence[Release]) -> dict[str, tuple[str, ...]]:
    """What each option may be called, over all releases, in their order."""

    def known(names: Callable[[Release], Iterable[str]]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for release in releases for name in names(release)))

    return {
        "plan": known(lambda release: release.plans),
        "licence": known(lambda release: release.licences),
        "theatre": known(lambda release: [*release.theatres, REST_OF_WORLD]),
        "channel": known(lambda release: release.channels),
    }


_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Stands in for a time that is at fault; such a request is never returned."""


class _Reader:
    """Takes options one by one and gathers what is wrong with them."""

    def __init__(self, values: Mapping[str, Any], names: Mapping[str, Sequence[str]]) -> None:
        self.names = names
        self.values = {name.replace("-", "_"): value for name, value in values.items() if value is not None}
        self.faults: list[str] = []

    def text(self, name: str, *, required: bool = False) -> str | None:
        value = self.values.get(name)
        if value is None:
            if required:
                self.faults.append(f"{name}: is missing")
            return None
        if not isinstance(value, str) or not value.strip():
            self.faults.append(f"{name}: must be text")
            return None
        return value.strip()

    def word(self, name: str, *, required: bool = False) -> str | None:
        text = self.text(name, required=required)
        known = self.names.get(name, ())
        if text is not None and known and text.lower() not in known:
            self.faults.append(f"{name}: '{text}' is no {name}; known are {', '.join(known)}")
        return None if text is None else text.lower()

    def upper(self, name: str) -> str | None:
        text = self.text(name)
        return None if text is None else text.upper()

    def country(self) -> str | None:
        code = self.upper("country")
        if code is not None and not (len(code) == 2 and code.isascii() and code.isalpha()):
            self.faults.append(f"country: '{code}' is no ISO 3166-1 code; write two letters such as IT")
        return code

    def flag(self, name: str) -> bool:
        value = self.values.get(name, False)
        if not isinstance(value, bool):
            self.faults.append(f"{name}: must be true or false")
        return value is True

    def priority(self) -> Priority | None:
        text = self.text("priority", required=True)
        try:
            return None if text is None else priority_of(text)
        except ValueError as error:
            self.faults.append(f"priority: {error}")
            return None

    def time(self, name: str, *, required: bool = False) -> datetime | None:
        text = self.text(name, required=required)
        return None if text is None else self._instant(name, text)

    def _instant(self, name: str, text: str) -> datetime | None:
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            self.faults.append(f"{name}: '{text}' is no time; write 2026-12-24T16:30:00+01:00")
            return None
        if at.tzinfo is None:
            self.faults.append(f"{name}: '{text}' has no time zone; add Z or an offset such as +01:00")
            return None
        try:
            return at.astimezone(UTC)
        except OverflowError:
            self.faults.append(f"{name}: '{text}' is out of range")
            return None

    def events(self) -> tuple[tuple[datetime, str], ...]:
        value = self.values.get("events", [])
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
            self.faults.append("events: must be a list of TIME=what")
            return ()
        read = [self._event(item) for item in value]
        return tuple(event for event in read if event is not None)

    def _event(self, item: str) -> tuple[datetime, str] | None:
        time, equals, what = item.partition("=")
        if not equals:
            self.faults.append(f"event '{item}': write TIME=what, where what is one of {EVENTS}")
            return None
        if not _KNOWN_EVENT.fullmatch(what.strip()):
            self.faults.append(f"event '{what.strip()}': is not known; write one of {EVENTS}")
        at = self._instant(f"event '{item}'", time.strip())
        return None if at is None else (at, what.strip())

    def days(self, name: str) -> tuple[date, ...]:
        value = self.values.get(name, [])
        items = [value] if isinstance(value, str) else value
        try:
            return tuple(date.fromisoformat(item) for item in items)
        except (TypeError, ValueError):
            self.faults.append(f"{name}: must be dates such as 2026-12-24")
            return ()

    def refuse_unknown(self) -> None:
        for name in self.values.keys() - set(OPTIONS):
            self.faults.append(f"{name}: is not known; known are {', '.join(OPTIONS)}")


def read_line(line: bytes) -> dict[str, Any]:
    """One JSON line -> its object. Raises CalculatorError."""
    try:
        values = msgspec.json.decode(line, strict=True)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CalculatorError([f"the line is not JSON: {error}"]) from None
    if not isinstance(values, dict):
        raise CalculatorError(["the line must be a JSON object with the options as keys"])
    return values
