"""Summaries and runbooks in seven languages: templates, what is filled in, how a language writes it. Pure.

A template names what is filled in: ``{host}``, ``{deployment}``, ``{instance}``, ``{value}``. English is the
source; a translation names the same, no more and no less.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec
from babel.numbers import format_decimal, format_percent
from babel.units import format_unit

from alerting.units import FACTORS, size_unit
from wire.language import LANGUAGES, SOURCE, Language

PLACEHOLDERS = ("host", "deployment", "instance", "value")
COUNT = "count"
"""Unit of a number of events."""
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_ISOLATES = "\u2068\u2069"
"""Around what has a direction of its own: a Latin name in an Arabic sentence moves nothing around it."""
_RIGHT_TO_LEFT = frozenset({"ar"})
_LARGEST = 1e15
_TIMES = frozenset({"ms", "s", "min", "h", "d"})
_SPANS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class Translation(msgspec.Struct, frozen=True):
    """A rule's texts in one language; empty: not translated."""

    summary: str = ""
    runbook: str = ""


class Arguments(msgspec.Struct, frozen=True):
    """What is filled into a template."""

    host: str
    deployment: str
    instance: str
    value: float | None
    """In the metric's base unit; None: there is none."""
    unit: str
    """In which the value is shown: a key of ``units.FACTORS``, or ``COUNT``."""


def placeholders(template: str) -> frozenset[str]:
    """The names that a template fills in, known or not."""
    return frozenset(_PLACEHOLDER.findall(template))


def render(template: str, language: Language, given: Arguments) -> str:
    """The text in a language. What is filled in is never itself taken for a template."""
    filled = {
        "host": given.host,
        "deployment": given.deployment,
        "instance": given.instance,
        "value": "?" if given.value is None else quantity(given.value, given.unit, language),
    }
    return _PLACEHOLDER.sub(lambda m: _aside(filled.get(m[1], m[0]), language), template)


def _aside(text: str, language: Language) -> str:
    return f"{_ISOLATES[0]}{text}{_ISOLATES[1]}" if language in _RIGHT_TO_LEFT and text else text


def quantity(value: float, unit: str, language: Language) -> str:
    """A value of a metric (base unit) as a language writes it, to four digits."""
    if unit == "%":
        return _plain(value) or format_percent(_rounded(value), locale=language, decimal_quantization=False)
    if unit in _TIMES:
        return duration(value, language)
    if size := size_unit(value, unit):
        written = size.replace("B", "o") if language == "fr" else size  # octets
        return f"{_number(value / FACTORS[size], language)} {written}"
    return f"{_number(value, language)}{'/s' if unit == '/s' else ''}"


def _number(value: float, language: Language) -> str:
    return _plain(value) or format_decimal(_rounded(value), locale=language, decimal_quantization=False)


def _plain(value: float) -> str:
    """A value of a size that no language has words for (and the library refuses), as it is; else empty."""
    return f"{value:.4g}" if value and not 1e-9 < abs(value) < _LARGEST else ""


def duration(seconds: float, language: Language) -> str:
    """The two largest parts: ``2 d 3 h``, ``15 min``, as a language writes them."""
    left = round(min(abs(seconds), _LARGEST))
    parts: list[tuple[int, str]] = []
    if left == 0:
        return _span(round(seconds * 1000), "millisecond", language)
    for length, name in _SPANS:
        amount, left = divmod(left, length)
        if amount or parts:
            parts.append((amount, name))
    told = [_span(amount, name, language) for amount, name in parts[:2] if amount]
    return ("-" if seconds < 0 else "") + " ".join(told)


def _span(amount: int, name: str, language: Language) -> str:
    # One hour's short form is "1 horas" in the data of these two languages.
    odd = amount == 1 and language in ("es", "pt")
    return format_unit(amount, f"duration-{name}", length="narrow" if odd else "short", locale=language)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def missing(translations: Mapping[str, Translation]) -> list[Language]:
    """The languages in which not all of a rule's texts are there."""
    complete = {code for code, found in translations.items() if found.summary and found.runbook}
    return [code for code in LANGUAGES if code not in complete and code != SOURCE]
