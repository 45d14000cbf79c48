"""The past of series that rules look ahead for, kept in steps: bounded, whatever is fed. In memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import msgspec

from alerting.evaluator import Evaluator
from alerting.forecast import PAST_S, STEP_S, Point
from alerting.inputs import FrameInput
from alerting.rule import Measured

SeriesKey = tuple[str, tuple[tuple[str, str], ...]]
"""(metric, attributes in order)."""
_KEPT = int(2 * PAST_S / STEP_S)
"""Steps of one series past which the oldest are dropped."""


class _Step(msgspec.Struct):
    """What one series did in one step of ``STEP_S``."""

    number: int
    at: float
    """Of its newest value, seconds since 1970."""
    low: float
    high: float
    last: float


class Past:
    """Of one host: the series that any of an evaluator's forecasts may ask about."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._metrics = set(_foreseen(evaluator))
        self._columns: dict[bytes, list[tuple[SeriesKey, int]]] = {}
        self._steps: dict[SeriesKey, list[_Step]] = {}

    def take(self, frames: Iterable[FrameInput]) -> None:
        """Frames of the host, in time order."""
        if not self._metrics:
            return
        by_layout: dict[bytes, list[FrameInput]] = {}
        for frame in frames:
            by_layout.setdefault(frame.layout_digest, []).append(frame)
        for found in by_layout.values():
            if columns := self._watched(found[0]):
                for number, part in _by_step(found):
                    for key, column in columns:
                        self._note(key, number, [(at, frame.values[column]) for at, frame in part])

    def _watched(self, frame: FrameInput) -> list[tuple[SeriesKey, int]]:
        """The columns of a layout that may be asked about."""
        columns = self._columns.get(frame.layout_digest)
        if columns is None:
            columns = self._columns[frame.layout_digest] = [
                ((series.metric, tuple(sorted(series.attributes.items()))), column)
                for column, series in enumerate(frame.layout.series)
                if series.metric in self._metrics
            ]
        return columns

    def _note(self, key: SeriesKey, number: int, found: Sequence[tuple[float, float | None]]) -> None:
        known = [(at, value) for at, value in found if value is not None]
        if not known:
            return
        values = [value for _, value in known]
        at, last = known[-1]
        steps = self._steps.setdefault(key, [])
        if steps and steps[-1].number == number:
            step = steps[-1]
            step.at, step.last = at, last
            step.low, step.high = min(step.low, *values), max(step.high, *values)
            return
        steps.append(_Step(number, at, min(values), max(values), last))
        if len(steps) > _KEPT:
            del steps[: _KEPT // 2]

    def points(self, key: SeriesKey, limit: float, now: float) -> list[Point]:
        """The series up to ``now`` (seconds) as ``forecast.foresee`` takes it: the worst of each step."""
        steps = [step for step in self._steps.get(key, []) if step.at > now - PAST_S]
        rising = bool(steps) and steps[-1].last < limit
        return [(step.at, step.high if rising else step.low) for step in steps]


def _foreseen(evaluator: Evaluator) -> Iterator[str]:
    for rule in evaluator.rules:
        if isinstance(rule.source, Measured) and rule.source.forecasts:
            yield from (selector.metric for _, selector in rule.source.terms)


def _by_step(frames: Sequence[FrameInput]) -> Iterator[tuple[int, list[tuple[float, FrameInput]]]]:
    timed = [(frame.at.timestamp(), frame) for frame in frames]
    for number, part in groupby(timed, key=lambda pair: int(pair[0] // STEP_S)):
        yield number, list(part)
