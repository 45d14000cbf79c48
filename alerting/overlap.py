"""Whether an alert could open and end by the same value: then it would come and go without a change. Pure."""

from __future__ import annotations

from itertools import pairwise

from alerting.condition import Compare, Condition, atoms, holds
from alerting.units import show


def both_hold(when: Condition, clear: Condition) -> str:
    """A value at which both hold, as text; empty: there is none, or more than one value matters.

    Asked at every limit, between each two, and beyond them: a condition changes nowhere else."""
    compared = [atom for atom in (*atoms(when), *atoms(clear)) if isinstance(atom, Compare)]
    if len({(c.term, c.divisor) for c in compared}) != 1:
        return ""
    term, divisor = compared[0].term, compared[0].divisor
    for value in _candidates(sorted({c.limit for c in compared})):
        values = {divisor: 1.0, term: value} if divisor else {term: value}
        if holds(when, values) and holds(clear, values):
            return show(value, compared[0].unit)
    return ""


def _candidates(limits: list[float]) -> list[float]:
    around = abs(limits[0]) + abs(limits[-1]) + 1.0
    between = [(a + b) / 2 for a, b in pairwise(limits)]
    return [*limits, *between, limits[0] - around, limits[-1] + around]
