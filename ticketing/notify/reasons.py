"""Stored reasons in another language: the decision record as a customer or a colleague reads it.

A text that a catalogue does not have is told in English rather than not at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from gettext import NullTranslations
from typing import Any

from babel.dates import format_date, format_time
from babel.units import format_unit

from ticketing.notify.catalogues import SOURCE, catalogue
from ticketing.reason import city, from_documents, render


class Local:
    """Times as a language writes them (the shape of ``ticketing.reason.Formatter``)."""

    def __init__(self, language: str) -> None:
        self._language = language

    def instant(self, at: datetime) -> str:
        return f"{self.date(at)} {self.time(at)} {city(at)}"

    def short(self, at: datetime) -> str:
        return f"{self.day(at)} {self.time(at)}"

    def time(self, at: datetime) -> str:
        return format_time(at, "HH:mm:ss" if at.second else "HH:mm", locale=self._language)

    def day(self, on: date) -> str:
        return format_date(on, "EEE d MMM", locale=self._language)

    def date(self, on: date) -> str:
        return format_date(on, "EEE d MMM y", locale=self._language)

    def duration(self, seconds: float) -> str:
        whole = int(abs(seconds))
        amounts = ((whole // 3600, "hour"), (whole // 60 % 60, "minute"), (whole % 60, "second"))
        parts = [self._unit(n, unit) for n, unit in amounts if n] or [self._unit(0, "minute")]
        return ("-" if seconds <= -1 else "") + " ".join(parts)

    def _unit(self, amount: int, unit: str) -> str:
        return format_unit(amount, f"duration-{unit}", length="short", locale=self._language)


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
