"""Rules meet a layout: once per layout, not once per frame.

A plan holds, for one layout, which column each rule's values stand in, and gates: comparisons one of which
must hold before a rule can possibly breach. A healthy frame costs one comparison per gate. ``>=`` becomes
``>`` against the next smaller double (and ``<=`` likewise), which is the same for every double, so that two
kinds of gate are enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

import msgspec

from alerting import plain
from alerting.condition import All, AnyOf, Compare, Condition, Not, Stands
from alerting.rule import Compound, Measured, Rule
from alerting.state import Key
from wire.layout import Layout, Series

_AHEAD = -1
"""In place of a column: a forecast, which no gate can rule out."""
Frame = Sequence[float | None]
"""Values in layout order."""


class Binding(msgspec.Struct, frozen=True):
    """One rule on one instance, in one layout (or on the states of other alerts)."""

    rule: Rule
    source: Measured | Compound
    instance: str
    columns: tuple[tuple[str, int], ...]
    """Term -> column of the frame. Terms that the layout lacks are missing here, and so always unknown."""
    names: dict[str, str]
    """Term -> metric name, for readable reasons."""
    fingerprint: bytes
    ahead: tuple[tuple[str, str, tuple[tuple[str, str], ...]], ...] = ()
    """(name of a forecast, metric, attributes) of the series that are looked ahead for."""

    @property
    def key(self) -> Key:
        return (self.rule.id, self.instance)

    def values(self, frame: Frame) -> dict[str, float | None]:
        """This frame's values by term."""
        return {term: frame[column] for term, column in self.columns}


class Gate(msgspec.Struct, frozen=True):
    """``frame[column]`` above (or below) ``limit``: the binding at ``position`` may be breached."""

    column: int
    above: bool
    limit: float


Entry = tuple[int, float, int]
"""(column, limit, position of the binding)."""


class Calm:
    """Whether no gate of one direction is open, asked of a whole frame at once.

    Columns are picked in one go and compared in the plainest of loops, which Python runs twice as fast as one
    that also looks for missing values. A missing value stops it, and the frame is looked at gate by gate."""

    def __init__(self, entries: Sequence[Entry], *, above: bool) -> None:
        pairs = [(column, limit) for column, limit, _ in entries]
        pairs = pairs * 2 if len(pairs) == 1 else pairs  # itemgetter of one gives no tuple
        self._pick = itemgetter(*[column for column, _ in pairs]) if pairs else None
        self._limits = [limit for _, limit in pairs]
        self._none_open = _none_above if above else _none_below

    def __call__(self, frame: Frame) -> bool:
        if self._pick is None:
            return True
        try:
            return self._none_open(self._pick(frame), self._limits)
        except TypeError:
            return False


def _none_above(values: Sequence[float], limits: Sequence[float]) -> bool:
    for value, limit in zip(values, limits):  # noqa: B905, SIM110 - strict costs, and so does a generator
        if value > limit:
            return False
    return True


def _none_below(values: Sequence[float], limits: Sequence[float]) -> bool:
    for value, limit in zip(values, limits):  # noqa: B905, SIM110 - as above
        if value < limit:
            return False
    return True


class Plan(msgspec.Struct, frozen=True):
    """Everything that the frames of one layout are held against."""

    bindings: tuple[Binding, ...]
    above: tuple[Entry, ...]
    below: tuple[Entry, ...]
    always: tuple[int, ...]
    """Positions of bindings that no gate can rule out (ratios, 'unequal')."""
    by_key: dict[Key, int]
    width: int
    """Columns of the layout."""
    interval_ms: int
    name: bytes
    """First 8 bytes of the layout's digest: its name in the host's memory."""
    calm: tuple[Calm, Calm]
    """Of ``above`` and of ``below``."""

    def valued(self, frame: Frame) -> set[Key]:
        """What has any value in this frame."""
        return {b.key for b in self.bindings if any(frame[column] is not None for _, column in b.columns)}

    def suspects(self, frame: Frame) -> list[int]:
        """Positions of the bindings that may be breached in this frame; may name one twice."""
        if self.calm[0](frame) and self.calm[1](frame):
            return list(self.always)
        found = [p for c, limit, p in self.above if (v := frame[c]) is not None and v > limit]
        found += [p for c, limit, p in self.below if (v := frame[c]) is not None and v < limit]
        return found + list(self.always) if self.always else found


def bind(rules: Iterable[tuple[Rule, bytes]], layout: Layout, digest: bytes) -> Plan:
    """The plan of a layout under (rule, fingerprint) pairs."""
    bindings = [b for rule, mark in rules for b in _bindings(rule, mark, layout)]
    bindings.sort(key=lambda b: bool(b.rule.hidden_by))  # causes are judged before their consequences
    gates = [_gates(binding) for binding in bindings]
    above, below = tuple(_entries(gates, above=True)), tuple(_entries(gates, above=False))
    return Plan(
        bindings=tuple(bindings),
        above=above,
        below=below,
        always=tuple(p for p, found in enumerate(gates) if found is None),
        by_key={binding.key: p for p, binding in enumerate(bindings)},
        width=len(layout.series),
        interval_ms=round(layout.interval_s * 1000),
        name=digest[:8],
        calm=(Calm(above, above=True), Calm(below, above=False)),
    )


def _bindings(rule: Rule, fingerprint: bytes, layout: Layout) -> Iterator[Binding]:
    source = rule.source
    if not isinstance(source, Measured) or not rule.enabled:
        return
    found: dict[str, dict[str, int]] = {}
    for term, selector in source.terms:
        for column, series in enumerate(layout.series):
            if selector.matches(series.metric, series.attributes):
                found.setdefault(_instance(source, series), {}).setdefault(term, column)
    names = {term: selector.metric for term, selector in source.terms}
    names |= {term: f"{names[f.of]} will reach its limit in" for term, f in source.forecasts}
    for instance, columns in found.items():
        ahead = tuple(_ahead(source, columns, layout))
        yield Binding(rule, source, instance, tuple(columns.items()), names, fingerprint, ahead)


def _ahead(
    source: Measured, columns: dict[str, int], layout: Layout
) -> Iterator[tuple[str, str, tuple[tuple[str, str], ...]]]:
    for name, forecast in source.forecasts:
        if forecast.of in columns:
            series = layout.series[columns[forecast.of]]
            yield name, series.metric, tuple(sorted(series.attributes.items()))


def _instance(source: Measured, series: Series) -> str:
    """The values of the instance attributes, as one text."""
    return plain.instance(series.attributes.get(name, "") for name in source.instance)


def _gates(binding: Binding) -> list[Gate] | None:
    """Gates of which one must hold before any level can be breached; None = they cannot be named."""
    columns = dict(binding.columns) | {name: _AHEAD for name, *_ in binding.ahead}
    merged: dict[tuple[int, bool], float] = {}
    for level in binding.source.levels:
        needed = _needed(level.when, columns)
        if needed is None:
            return None
        for gate in needed:
            loosest = min if gate.above else max
            place = (gate.column, gate.above)
            merged[place] = loosest(merged.get(place, gate.limit), gate.limit)
    return [Gate(column, above, limit) for (column, above), limit in merged.items()]


def _needed(condition: Condition, columns: dict[str, int]) -> list[Gate] | None:
    """Gates one of which holds whenever the condition is true. Empty: it can never be true here."""
    match condition:
        case Compare():
            return _compare_gates(condition, columns)
        case AnyOf(parts):
            return _joined([_needed(part, columns) for part in parts])
        case All(parts):
            known = [g for part in parts if (g := _needed(part, columns)) is not None]
            return min(known, key=len) if known else None
        case Not() | Stands():
            return None


def _joined(parts: list[list[Gate] | None]) -> list[Gate] | None:
    gates: list[Gate] = []
    for part in parts:
        if part is None:
            return None
        gates += part
    return gates


def _compare_gates(compare: Compare, columns: dict[str, int]) -> list[Gate] | None:
    if compare.term not in columns or compare.divisor not in {"", *columns}:
        return []
    if compare.divisor or compare.op == "!=" or columns[compare.term] == _AHEAD:
        return None
    column = columns[compare.term]
    above = compare.op.startswith(">")
    return [Gate(column, above, compare.limit if compare.op in "<>" else _next(compare.limit, above))]


def _next(limit: float, above: bool) -> float:
    """The neighbouring double that makes a strict comparison of an inclusive one ('==' included)."""
    return math.nextafter(limit, -math.inf if above else math.inf)


def _entries(gates: list[list[Gate] | None], *, above: bool) -> Iterator[Entry]:
    for position, found in enumerate(gates):
        yield from ((g.column, g.limit, position) for g in found or [] if g.above is above)
