"""Checks: one module each, same shape.

A check has a ``name`` (its rows in wire/metrics.yaml carry it), a default interval, and ``read``: one reading
at one tick. It keeps what it needs between ticks (earlier counters) in itself; the arithmetic is in pure
functions beside it. ``read`` may raise OSError or take for ever: the runner cuts it off, and its columns are
None at that tick. It is never entered twice at the same time.
"""

from __future__ import annotations

from typing import ClassVar, Protocol

from agent.reading import Reading


class Check(Protocol):
    """What the runner needs of a check."""

    name: ClassVar[str]
    interval_s: ClassVar[float]
    """Default seconds between two readings."""

    def read(self, now_s: float) -> Reading:
        """One reading; ``now_s`` is monotonic time, in seconds."""
        ...


def rate(now: float | None, before: float | None, elapsed_s: float) -> float | None:
    """Increase per second; None without an earlier reading, or when the counter was reset."""
    if now is None or before is None or elapsed_s <= 0 or now < before:
        return None
    return (now - before) / elapsed_s


def share(part: float | None, whole: float) -> float | None:
    """``part`` of ``whole`` as 0..1; None when there is no whole."""
    if part is None or whole <= 0:
        return None
    return min(1.0, max(0.0, part / whole))
