"""Hours of a local day, as the policy writes them: ``09:00-18:00``, or several windows."""

from __future__ import annotations

import re
from functools import cache

import msgspec


class Hours(msgspec.Struct, frozen=True):
    """A window of a local day: open from ``start`` up to, not including, ``end``."""

    start: int
    """Minutes since local midnight, 0..1439."""
    end: int
    """Minutes since local midnight, 1..1440 (24:00)."""

    def __str__(self) -> str:
        return "-".join(f"{m // 60:02}:{m % 60:02}" for m in (self.start, self.end))


_WINDOW = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")


@cache
def parse_hours(text: str) -> tuple[Hours, ...]:
    """``"09:00-13:00, 14:00-18:00"`` -> windows. Raises ValueError for what overlaps or runs backwards."""
    windows = []
    for part in text.split(","):
        match = _WINDOW.fullmatch(part.strip())
        if match is None:
            raise ValueError(f"'{part.strip()}' is no window of hours: write 09:00-18:00 (24:00 ends a day)")
        a, b, c, d = map(int, match.groups())
        windows.append(Hours(a * 60 + b, c * 60 + d))
    for before, after in zip([Hours(0, 0), *windows], windows, strict=False):
        if not before.end <= after.start < after.end <= 1440:
            raise ValueError(f"'{text}' overlaps or runs backwards; windows never cross midnight")
    return tuple(windows)
