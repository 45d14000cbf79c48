"""Alerts that come and go: after the third time within an hour the end must be believable. Pure.

Muting a flapping alert would hide an outage; ending it each time stops and restarts paging before anybody can
answer. So a flapping alert fires as ever, and its clear condition must hold for at least ``STEADY_S``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import msgspec

from alerting.binding import Binding

TIMES = 3
"""So many times fired..."""
WITHIN_MS = 3_600_000
"""...within so many ms is flapping."""
STEADY_S = 900.0
"""A flapping alert is over when its clear condition has held for this long, in seconds."""

_changed = msgspec.structs.replace
K = TypeVar("K")


def fired(recent: tuple[int, ...], at: int) -> tuple[int, ...]:
    """The newest times of firing, with one more: as many as are needed, no older than they count."""
    return tuple(t for t in (*recent, at) if at - t <= WITHIN_MS)[-TIMES:]


def flaps(recent: tuple[int, ...], at: int) -> bool:
    """Whether an alert that fired at these times is flapping."""
    return sum(at - t <= WITHIN_MS for t in recent) >= TIMES


def steadied(binding: Binding) -> Binding:
    """The binding with levels that are slower to clear."""
    levels = tuple(_changed(v, clear_for_s=max(v.clear_for_s, STEADY_S)) for v in binding.source.levels)
    return _changed(binding, source=_changed(binding.source, levels=levels))


def remembered(recent: Mapping[K, tuple[int, ...]], now: int) -> dict[K, tuple[int, ...]]:
    """What still counts."""
    return {key: times for key, times in recent.items() if now - times[-1] <= WITHIN_MS}
