"""Quantities as people write them: ``85 %``, ``500 MB``, ``15 min``, ``3 samples``.

Decimal prefixes are powers of 1000 and binary ones (``MiB``) of 1024, as IEC 80000-13 has it.
"""

from __future__ import annotations

import re

_SIZE = {"B": 1.0, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
_BINARY = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30, "TiB": 2.0**40}
_TIME = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
FACTORS: dict[str, float] = {"": 1.0, "%": 0.01, "/s": 1.0} | _SIZE | _BINARY | _TIME
"""Unit as written -> factor to the metric's base unit (1, By, s)."""

_QUANTITY = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*(\S*)\s*")
_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h|d)\s*")


def parse_quantity(text: str) -> tuple[float, str]:
    """``"85 %"`` -> ``(0.85, "%")``: the number in base units, and the unit as written.

    Raises ValueError that says which units there are."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise ValueError(f"'{text}' is not a number with a unit")
    number, unit = match.groups()
    if unit not in FACTORS:
        raise ValueError(f"'{unit}' is no unit; use one of {', '.join(u for u in FACTORS if u)}")
    return _scaled(float(number), unit), unit


def _scaled(number: float, unit: str) -> float:
    """Percent is divided, not multiplied: 0.07 is the double that people mean by 7 %."""
    return number / 100 if unit == "%" else number * FACTORS[unit]


def parse_duration(value: object) -> float:
    """``"15 min"`` or a number of seconds -> seconds. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return float(value)
    match = _DURATION.fullmatch(str(value))
    if match is None:
        raise ValueError(f"'{value}' is no duration; write it like '90 s', '15 min', '24 h' or '30 d'")
    return float(match[1]) * _TIME[match[2]]


def show(value: float, unit: str) -> str:
    """A value in the unit its limit was written in: ``show(0.971, "%")`` -> ``97.1 %``."""
    if unit in _SIZE or unit in _BINARY:
        return _show_size(value, _BINARY if unit in _BINARY else _SIZE)
    shown = f"{value / _scaled(1.0, unit):.4g}"
    return f"{shown} {unit}".rstrip() if unit != "/s" else f"{shown}/s"


def _show_size(value: float, scale: dict[str, float]) -> str:
    unit = _largest(value, scale)
    return f"{value / scale.get(unit, 1.0):.4g} {unit}"


def _largest(value: float, scale: dict[str, float]) -> str:
    """The largest unit that leaves at least one before the point."""
    return max((u for u in scale if abs(value) >= scale[u]), key=lambda u: scale[u], default="B")


def size_unit(value: float, unit: str) -> str:
    """In which unit a size is shown whose limit was written in ``unit``; empty: that is no size."""
    if unit in _BINARY:
        return _largest(value, _BINARY)
    return _largest(value, _SIZE) if unit in _SIZE else ""


def show_duration(seconds: float) -> str:
    """``600`` -> ``10 min``; ``5400`` -> ``90 min``: the largest unit that needs no fraction."""
    for unit in ("d", "h", "min"):
        if seconds >= _TIME[unit] and seconds % _TIME[unit] == 0:
            return f"{seconds / _TIME[unit]:.0f} {unit}"
    return f"{seconds:.10g} s"
