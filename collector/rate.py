"""A token bucket per caller, bounded in callers. Pure but for its memory: the caller passes the time."""

from __future__ import annotations

from collections import OrderedDict

MOST_CALLERS = 50_000


class RateLimit:
    """``burst`` at once, ``per_s`` in the long run."""

    def __init__(self, *, burst: int, per_s: float) -> None:
        self._burst = float(burst)
        self._per_s = per_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, at: float) -> float:
        """Take one token at ``at`` (monotonic seconds); returns 0.0, or how many seconds to wait for it."""
        level, since = self._buckets.pop(caller, (self._burst, at))
        level = min(self._burst, level + (at - since) * self._per_s)
        wait = 0.0 if level >= 1 else (1 - level) / self._per_s
        self._buckets[caller] = (level if wait else level - 1, at)
        while len(self._buckets) > MOST_CALLERS:
            self._buckets.popitem(last=False)
        return wait
