"""Forecasts in a host's memory: asked for by evaluation, answered by the sweep, read by evaluation. Pure.

A frame that opens a forecast's gate leaves a question; the sweep reads the series' past, outside of any
lock, and notes the answer under it. Until there is one, and when it has grown old, the value is unknown. A
closed gate says "not in sight", except while the alert is open: then the question stays, so that the end is
judged like the beginning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from alerting import condition as cond
from alerting.binding import Binding
from alerting.condition import Values
from alerting.forecast import FAR_S, Foresight
from alerting.rule import Measured
from alerting.state import Ahead, AheadKey, Memory
from alerting.units import show_duration

EVERY_MS = 600_000
"""Between two looks ahead for one series."""
OLD_MS = 3 * 3_600_000
"""An answer older than this is none."""
FORGOTTEN_MS = 1_800_000
"""A question that no frame has repeated for so long is dropped."""

_changed = msgspec.structs.replace
Questions = dict[AheadKey, Ahead]


def values(
    binding: Binding, measured: Values, held: Questions, at: int, *, is_open: bool
) -> dict[str, float | None]:
    """The forecast terms of a binding at one frame; asks for what is not known. Changes ``held``."""
    if all(value is None for value in measured.values()):
        return {}
    forecasts = dict(binding.source.forecasts) if isinstance(binding.source, Measured) else {}
    found: dict[str, float | None] = {}
    for term, metric, attributes in binding.ahead:
        key = (*binding.key, term)
        wanted = is_open or cond.holds(forecasts[term].only_when, measured)
        if wanted:
            asked = held.get(key) or Ahead(*key, metric, attributes, due=at)
            held[key] = _changed(asked, asked=at)
        elif wanted is False:
            held.pop(key, None)
        found[term] = FAR_S if wanted is False else left(held.get(key), at)
    return found


def left(answer: Ahead | None, at: int) -> float | None:
    """Seconds until the limit at a time; None: unknown."""
    if answer is None or not answer.computed or at - answer.computed > OLD_MS:
        return None
    return FAR_S if not answer.reached else max(answer.reached - at, 0) / 1000


def due(memory: Memory, now: int) -> list[Ahead]:
    """The questions to be answered now."""
    return [asked for asked in memory.ahead.values() if asked.due <= now]


def answered(memory: Memory, answers: Mapping[AheadKey, Foresight], now: int) -> Memory:
    """The memory with these answers, and without forgotten questions."""
    kept = {key: _noted(asked, answers.get(key), now) for key, asked in _remembered(memory, now)}
    return _changed(memory, ahead=kept) if memory.ahead else memory


def _remembered(memory: Memory, now: int) -> Iterable[tuple[AheadKey, Ahead]]:
    return ((key, asked) for key, asked in memory.ahead.items() if now - asked.asked <= FORGOTTEN_MS)


def _noted(asked: Ahead, found: Foresight | None, now: int) -> Ahead:
    """One question; without an answer it is put off (its past could not be read, or it is not due)."""
    if found is None:
        return _changed(asked, due=now + EVERY_MS) if asked.due <= now else asked
    reached, likely = (_at(seconds, now) for seconds in (found.latest_s, found.likely_s))
    return _changed(asked, computed=now, reached=reached, due=now + EVERY_MS, likely=likely)


def _at(seconds: float, now: int) -> int:
    return 0 if seconds >= FAR_S else now + round(seconds * 1000)


def said(binding: Binding, held: Questions, at: int) -> str:
    """How sure the forecasts of a binding are, for a reason; empty: none sees its limit."""
    parts = []
    for term, metric, _ in binding.ahead:
        answer = held.get((*binding.key, term))
        latest = left(answer, at)
        if answer is not None and latest is not None and latest < FAR_S:
            likely = max(answer.likely - at, 0) // 1000
            parts.append(
                f"{metric} reaches its limit likely in {show_duration(likely)}, "
                f"at the latest (90 % sure) in {show_duration(round(latest))}"
            )
    return "; ".join(parts)
