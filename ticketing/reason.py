"""Why: the reasons of every decision, as data first (code, parameters, section) and as English text.

``TEMPLATES`` are the message ids of the translations. How a parameter is written follows from its name:
``*_at`` a full instant with its zone, ``*_short`` an instant without year and zone, ``*_time`` the time of
day, ``*_day`` a date without year, ``*_on`` a full date, ``*_s`` a duration in seconds. Instants are RFC 3339
text; the zone in which they are told is the parameter ``zone`` (default UTC).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import msgspec

from ticketing.reason_texts import TEMPLATES

Params = Mapping[str, Any]
Translate = Callable[[str], str]


class Reason(msgspec.Struct, frozen=True):
    """One reason. ``str(reason)`` is English."""

    code: str
    """Key of ``TEMPLATES``."""
    params: dict[str, Any] = {}
    """JSON values."""
    section: str = ""
    """Section of the guide, as in ``§4.3``; empty: ours."""
    parts: tuple[Reason, ...] = ()
    """Reasons that the template's ``{parts}`` lists, separated by ``; ``."""

    @property
    def text(self) -> str:
        return render(self)

    def __str__(self) -> str:
        return render(self)


class Formatter(Protocol):
    """How a language writes times; the English one is ``English``."""

    def instant(self, at: datetime) -> str: ...
    def short(self, at: datetime) -> str: ...
    def time(self, at: datetime) -> str: ...
    def day(self, on: date) -> str: ...
    def date(self, on: date) -> str: ...
    def duration(self, seconds: float) -> str: ...
    def word(self, name: str, value: str) -> str:
        """The value of any other parameter."""
        ...

    def join(self, parts: Iterable[str]) -> str: ...


_WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class English:
    """Whatever the process's locale is."""

    def instant(self, at: datetime) -> str:
        return f"{self.date(at)} {self.time(at)} {city(at)}"

    def short(self, at: datetime) -> str:
        return f"{self.day(at)} {self.time(at)}"

    def time(self, at: datetime) -> str:
        return f"{at:%H:%M:%S}" if at.second else f"{at:%H:%M}"

    def day(self, on: date) -> str:
        return f"{_WEEKDAYS[on.weekday()]} {on.day} {_MONTHS[on.month - 1]}"

    def date(self, on: date) -> str:
        return f"{self.day(on)} {on.year}"

    def duration(self, seconds: float) -> str:
        whole = int(abs(seconds))
        amounts = ((whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
        text = " ".join(f"{n} {unit}" for n, unit in amounts if n) or "0 min"
        return f"-{text}" if seconds <= -1 else text

    def word(self, name: str, value: str) -> str:
        return value

    def join(self, parts: Iterable[str]) -> str:
        return "; ".join(parts)


def city(at: datetime) -> str:
    """The zone's city, as in ``Rome``."""
    return str(at.tzinfo).rsplit("/", maxsplit=1)[-1].replace("_", " ")


def render(reason: Reason, translate: Translate = str, formatter: Formatter | None = None) -> str:
    """The reason as text in the language of ``translate`` and ``formatter``."""
    form = formatter or English()
    zone = ZoneInfo(str(reason.params.get("zone", "UTC")))
    words = {name: _word(name, value, zone, form) for name, value in reason.params.items()}
    words["parts"] = form.join(render(part, translate, form) for part in reason.parts)
    return translate(TEMPLATES[reason.code]).format_map(words)


def _word(name: str, value: Any, zone: ZoneInfo, form: Formatter) -> str:
    match name.rsplit("_", maxsplit=1)[-1]:
        case "at":
            return form.instant(datetime.fromisoformat(value).astimezone(zone))
        case "short":
            return form.short(datetime.fromisoformat(value).astimezone(zone))
        case "time":
            return form.time(datetime.fromisoformat(value).astimezone(zone))
        case "day":
            return form.day(date.fromisoformat(value))
        case "on":
            return form.date(date.fromisoformat(value))
        case "s":
            return form.duration(value)
    return form.word(name, str(value))


def to_documents(reasons: Iterable[Reason]) -> list[dict[str, Any]]:
    """JSON: code, parameters, section, parts, and the English text."""
    return [_document(reason) for reason in reasons]


def _document(reason: Reason) -> dict[str, Any]:
    document: dict[str, Any] = {"code": reason.code, "text": reason.text, "section": reason.section}
    document["params"] = reason.params
    if reason.parts:
        document["parts"] = to_documents(reason.parts)
    return document


def from_documents(documents: Iterable[Mapping[str, Any]]) -> tuple[Reason, ...]:
    """The reasons of a stored record, for rendering in another language.

    A code that this version does not know (a text of somebody's own, a record of another version) keeps its
    stored text in every language."""
    return tuple(_reason(document) for document in documents)


def _reason(document: Mapping[str, Any]) -> Reason:
    code, section = document["code"], document.get("section", "")
    if code not in TEMPLATES or code == "said":
        return Reason("said", {"text": document.get("text", code)}, section)
    return Reason(code, dict(document.get("params", {})), section, from_documents(document.get("parts", ())))
