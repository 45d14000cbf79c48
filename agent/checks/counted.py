"""Counters of things with names - disks, interfaces - as what they rose by between two readings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from agent.reading import Column, Reading

T = TypeVar("T")


class Counted(Generic[T]):
    """Remembers the earlier counters, and keeps the columns for as long as the names stay the same.

    ``columns``: those of a name. ``values``: in their order, from its counters now, its earlier ones (None
    without), and the seconds between."""

    def __init__(
        self,
        columns: Callable[[str], tuple[Column, ...]],
        values: Callable[[T, T | None, float], list[float | None]],
    ) -> None:
        self._columns_of = columns
        self._values_of = values
        self._before: Mapping[str, T] = {}
        self._before_s = 0.0
        self._names: tuple[str, ...] = ()
        self._columns: tuple[Column, ...] = ()

    def read(self, counters: Mapping[str, T], names: tuple[str, ...], now_s: float) -> Reading:
        """What ``names`` did since the last reading; counters of others are remembered, too."""
        if names != self._names:
            self._names = names
            self._columns = tuple(column for name in names for column in self._columns_of(name))
        before, elapsed_s = self._before, now_s - self._before_s
        readings = [v for n in names for v in self._values_of(counters[n], before.get(n), elapsed_s)]
        self._before, self._before_s = counters, now_s
        return Reading(self._columns, readings)
