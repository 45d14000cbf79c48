"""The languages in which customers are spoken to, and which of them somebody asks for."""

from __future__ import annotations

import re
from typing import Literal, get_args

Language = Literal["it", "en", "fr", "de", "es", "pt", "ar"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
"""ISO 639-1 codes."""
SOURCE: Language = "en"
"""The language that every text is first written in."""
_MAX_HEADER = 500
_RANGE = re.compile(r"\s*([A-Za-z]{1,8}|\*)(?:-[A-Za-z0-9-]+)?\s*(?:;\s*q\s*=\s*([01](?:\.[0-9]{0,3})?)\s*)?")


def preferred(header: str | None) -> Language:
    """The best of our languages for an ``Accept-Language`` header (RFC 9110); English when there is none.

    Regions are not told apart (``pt-BR`` is ``pt``); what cannot be read is passed over."""
    weighed = [(quality, -place, name) for place, (name, quality) in enumerate(_ranges(header or ""))]
    for quality, _, name in sorted(weighed, reverse=True):
        found = SOURCE if name == "*" else next((known for known in LANGUAGES if known == name), None)
        if found is not None and quality > 0:
            return found
    return SOURCE


def _ranges(header: str) -> list[tuple[str, float]]:
    matches = [_RANGE.fullmatch(part) for part in header[:_MAX_HEADER].split(",")]
    return [(m[1].casefold(), float(m[2] or 1)) for m in matches if m is not None]
