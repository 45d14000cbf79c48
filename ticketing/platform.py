"""Versions of the platform: ``YYYY.Season.N``; within a year the seasons have the order of the policy."""

from __future__ import annotations

import re
from collections.abc import Sequence

_VERSION = re.compile(r"(\d{4})\.([A-Za-z]+)\.(\d{1,6})")


class VersionError(ValueError):
    """The text is no version of the platform."""


Version = tuple[int, int, int]
"""Year, index of the season, number: comparable."""


def parse_version(text: str, seasons: Sequence[str]) -> Version:
    """``2020.Winter.1`` -> (2020, 0, 1). Raises VersionError."""
    match = _VERSION.fullmatch(text.strip())
    order = [season.lower() for season in seasons]
    if match is None or match[2].lower() not in order:
        raise VersionError(f"'{text}' is no version: write YYYY.Season.N with {', '.join(seasons)}")
    return int(match[1]), order.index(match[2].lower()), int(match[3])


def behind(version: str, newest: str, seasons: Sequence[str]) -> bool:
    """Whether a deployment is behind the newest release. Raises VersionError."""
    return parse_version(version, seasons)[:2] < parse_version(newest, seasons)[:2]
