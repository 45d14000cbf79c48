"""From readings to frames: which columns a layout has, and each tick's values in that order.

A layout should live long (each new one costs storage and binding at the collector), so what a check offers is
adopted only when it has been offered ``STEADY`` ticks in a row - except at first, when nothing is known.
Until then, columns that are gone are None and new ones are left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agent.reading import Column, Reading
from wire import layout as wire_layout
from wire.layout import Layout, Series
from wire.limits import MAX_SERIES_PER_LAYOUT

STEADY = 3
"""Ticks in a row after which a changed set of columns is adopted."""
_EXACT = 2.0**53
"""Whole numbers below this travel as integers: fewer bytes, same value."""
_PRECISION_BITS = 21
"""Of a fraction: the lower half of its eight bytes is then zero, and compresses to nothing."""
_PRECISION = 2.0**_PRECISION_BITS


class Held(NamedTuple):
    """One check's columns in the layout, and what it has offered instead lately."""

    columns: tuple[Column, ...] = ()
    offered: tuple[Column, ...] = ()
    times: int = 0


class Plan(NamedTuple):
    """One layout and the part of a group's columns that it holds."""

    digest: bytes
    body: bytes
    start: int
    end: int


def adopt(held: Held, offered: tuple[Column, ...]) -> Held:
    """The columns after one more reading that offered these."""
    if offered is held.columns or offered == held.columns:
        return Held(held.columns)
    times = held.times + 1 if offered == held.offered else 1
    if not held.columns or times >= STEADY:
        return Held(offered)
    return Held(held.columns, offered, times)


def fit(columns: tuple[Column, ...], reading: Reading | None) -> list[float | None]:
    """The reading's values in the order of the columns; None for what it does not have."""
    if reading is None:
        return [None] * len(columns)
    if reading.columns is columns or reading.columns == columns:
        return [compact(value) for value in reading.values]
    known = dict(zip(reading.columns, reading.values, strict=True))
    return [compact(known.get(column)) for column in columns]


def compact(value: float | None) -> float | None:
    """The number as it travels: whole ones exactly, others to six digits; None for what is not a number."""
    if value is None or value != value or not -_LARGEST <= value <= _LARGEST:
        return None
    if not -_EXACT < value < _EXACT:
        return value
    if value == int(value):
        return int(value)
    part, power = math.frexp(value)
    return math.ldexp(round(part * _PRECISION), power - _PRECISION_BITS)


_LARGEST = 1.7976931348623157e308


def plan(interval_s: float, columns: Sequence[Column]) -> tuple[Plan, ...]:
    """Layouts of at most ``MAX_SERIES_PER_LAYOUT`` series; the series of one instance stay together."""
    plans, start = [], 0
    for end in _cuts(columns):
        body = wire_layout.encode(Layout(wire_layout.VERSION, interval_s, _series(columns[start:end])))
        plans.append(Plan(wire_layout.digest(body), body, start, end))
        start = end
    return tuple(plans)


def _series(columns: Sequence[Column]) -> tuple[Series, ...]:
    return tuple(Series(column.metric, dict(column.attributes)) for column in columns)


def _cuts(columns: Sequence[Column]) -> list[int]:
    """Ends of the layouts: between instances, as late as the limit allows."""
    cuts: list[int] = []
    start = last_edge = 0
    for index in range(1, len(columns) + 1):
        if index == len(columns) or _instance(columns[index]) != _instance(columns[index - 1]):
            if index - start > MAX_SERIES_PER_LAYOUT:
                cuts.append(last_edge)
                start = last_edge
            last_edge = index
    return [*cuts, len(columns)] if columns else []


def _instance(column: Column) -> tuple[str, str] | None:
    return column.attributes[0] if column.attributes else None


class Assembler:
    """The columns of one group of checks (one interval) over time."""

    def __init__(self, interval_s: float, checks: Sequence[str]) -> None:
        self._interval_s = interval_s
        self._held = {check: Held() for check in checks}
        self._plans: tuple[Plan, ...] = ()

    def frames(self, readings: Mapping[str, Reading | None]) -> list[tuple[Plan, list[float | None]]]:
        """Each layout with its values of this tick; a layout in which nothing was measured is left out."""
        if self._take_columns(readings):
            columns = [column for held in self._held.values() for column in held.columns]
            self._plans = plan(self._interval_s, columns)
        row = [v for check, held in self._held.items() for v in fit(held.columns, readings.get(check))]
        parts = [(part, row[part.start : part.end]) for part in self._plans]
        return [(part, values) for part, values in parts if any(value is not None for value in values)]

    def _take_columns(self, readings: Mapping[str, Reading | None]) -> bool:
        """True when the columns changed."""
        changed = False
        for check, reading in readings.items():
            if reading is not None:
                before = self._held[check]
                self._held[check] = adopt(before, reading.columns)
                changed = changed or self._held[check].columns is not before.columns
        return changed
