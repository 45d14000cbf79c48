"""What a check gives: columns (which series) and their values at one tick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Column(NamedTuple):
    """One series of this host, in a form that can be a dictionary key."""

    metric: str
    attributes: tuple[tuple[str, str], ...] = ()


class Reading(NamedTuple):
    """One tick of one check. A check hands out the *same* ``columns`` object while its instances stay the
    same, so that the usual tick costs one identity comparison."""

    columns: tuple[Column, ...]
    values: Sequence[float | None]
    """One per column; None = could not be measured now."""


def columns(metrics: Sequence[str], **attributes: str) -> tuple[Column, ...]:
    """Columns for several metrics of one instance; ``a__b="x"`` stands for the attribute ``a.b``."""
    pairs = tuple((name.replace("__", "."), value) for name, value in attributes.items())
    return tuple(Column(metric, pairs) for metric in metrics)
