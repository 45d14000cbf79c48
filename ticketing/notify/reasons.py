"""Stored reasons in another language: the decision record as a customer or a colleague reads it.

A text that a catalogue does not have is told in English rather than not at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date as Date
from datetime import datetime
from gettext import NullTranslations
from typing import Any, Literal

from babel import Locale
from babel.dates import format_date, format_time, get_timezone_location
from babel.units import format_unit

from ticketing.notify.catalogues import RIGHT_TO_LEFT, SOURCE, catalogue
from ticketing.policy import WEEKDAYS
from ticketing.reason import city, from_documents, render

ISOLATES = "\u2068\u2069"
"""Around text whose direction is its own: a Latin name in an Arabic sentence moves nothing around it."""
_NAMED = ("theatre", "licence", "channel", "value", "verdict")
"""Parameters whose values the catalogues translate."""
_DAYS = tuple(day[:3].title() for day in WEEKDAYS)
_DAY = re.compile("|".join(_DAYS))


class Local:
    """Times and values as a language writes them (the shape of ``ticketing.reason.Formatter``)."""

    def __init__(self, language: str) -> None:
        self._language = language
        self._known = Locale(language)
        self._texts = catalogue(language)

    def instant(self, at: datetime) -> str:
        return self.aside(f"{self._date(at)} {self._time(at)} {self._city(at)}")

    def short(self, at: datetime) -> str:
        return self.aside(f"{self._day(at)} {self._time(at)}")

    def time(self, at: datetime) -> str:
        return self.aside(self._time(at))

    def day(self, on: Date) -> str:
        return self.aside(self._day(on))

    def date(self, on: Date) -> str:
        return self.aside(self._date(on))

    def duration(self, seconds: float) -> str:
        whole = int(abs(seconds))
        amounts = ((whole // 3600, "hour"), (whole // 60 % 60, "minute"), (whole % 60, "second"))
        parts = [self._unit(n, unit) for n, unit in amounts if n] or [self._unit(0, "minute")]
        return self.aside(("-" if seconds <= -1 else "") + " ".join(parts))

    def word(self, name: str, value: str) -> str:
        return self.aside(self._word(name, value)) if value else value

    def join(self, parts: Iterable[str]) -> str:
        return ("؛ " if self._language in RIGHT_TO_LEFT else "; ").join(parts)

    def _word(self, name: str, value: str) -> str:
        if name in _NAMED:
            return self._texts.gettext(value)
        if name in ("language", "wanted"):
            return ", ".join(self._known.languages.get(code, code) for code in value.split(", "))
        if name in ("country", "instead"):
            return str(self._known.territories.get(value, value))
        if name in ("days", "specials"):
            return _DAY.sub(self._weekday, value)
        return value

    def _weekday(self, found: re.Match[str]) -> str:
        return str(self._known.days["format"]["abbreviated"][_DAYS.index(found[0])])

    def aside(self, text: str) -> str:
        """``text`` as something of its own within a sentence."""
        return f"{ISOLATES[0]}{text}{ISOLATES[1]}" if self._language in RIGHT_TO_LEFT else text

    def _time(self, at: datetime) -> str:
        return format_time(at, "HH:mm:ss" if at.second else "HH:mm", locale=self._language)

    def _day(self, on: Date) -> str:
        return format_date(on, "EEE d MMM", locale=self._language)

    def _date(self, on: Date) -> str:
        return format_date(on, "EEE d MMM y", locale=self._language)

    def _city(self, at: datetime) -> str:
        known = getattr(at.tzinfo, "key", "UTC") != "UTC"
        return get_timezone_location(at, locale=self._language, return_city=True) if known else city(at)

    def _unit(self, amount: int, unit: str) -> str:
        # One hour's short form is "1 horas" in the data of these two languages.
        odd = amount == 1 and self._language in ("es", "pt")
        length: Literal["narrow", "short"] = "narrow" if odd else "short"
        return format_unit(amount, f"duration-{unit}", length=length, locale=self._language)


def told(documents: Sequence[Mapping[str, Any]], language: str) -> list[str]:
    """Each stored reason as text in a language."""
    if language == SOURCE:
        return [str(document["text"]) for document in documents]
    texts, formatter = catalogue(language), Local(language)
    return [_told(document, texts, formatter) for document in documents]


def _told(document: Mapping[str, Any], texts: NullTranslations, formatter: Local) -> str:
    """One reason; what an older or newer release recorded and this one cannot render stays English."""
    try:
        [found] = from_documents([document])
        return render(found, texts.gettext, formatter)
    except (KeyError, ValueError):
        return str(document["text"])


def in_language(documents: Sequence[Mapping[str, Any]], language: str) -> list[dict[str, Any]]:
    """The same reasons with ``text`` in a language."""
    texts = told(documents, language)
    return [dict(d) | {"text": text} for d, text in zip(documents, texts, strict=True)]
