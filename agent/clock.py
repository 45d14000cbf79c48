"""The host's clock against the collector's, learnt from the Date header of its answers.

A question sent at ``s`` whose answer came at ``r`` (host clock) and says ``Date: D`` (whole seconds, cut
off) was answered between ``s`` and ``r``, when the collector's clock showed D .. D + 1 s. So the host is
ahead by something between ``s - D - 1`` and ``r - D``. Each answer gives such an interval; what the last few
have in common is far narrower than a second. An answer that shares nothing with the earlier ones means that
a clock was set: then only the newest counts.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import NamedTuple

from wire.clock import Clock

CORRECT_BEYOND_S = 30.0
"""Stamps are corrected only when the host is further off than this (seconds)."""
_REMEMBERED = 8
_LONGEST_TRIP_S = 10.0
"""An answer that took longer says too little."""


class Interval(NamedTuple):
    """The host is ahead of the collector by at least ``low`` and at most ``high`` seconds."""

    low: float
    high: float


def observe(sent_s: float, received_s: float, date_s: float) -> Interval | None:
    """What one answer says; None when that is nothing (too slow, or the host's clock was set meanwhile)."""
    if not 0 <= received_s - sent_s <= _LONGEST_TRIP_S:
        return None
    return Interval(sent_s - date_s - 1.0, received_s - date_s)


def add(seen: tuple[Interval, ...], new: Interval) -> tuple[Interval, ...]:
    """The intervals that still hold after one more."""
    kept = (*seen, new)[-_REMEMBERED:]
    return kept if common(kept) is not None else (new,)


def common(seen: tuple[Interval, ...]) -> Interval | None:
    """What all of them have in common."""
    if not seen:
        return None
    low, high = max(i.low for i in seen), min(i.high for i in seen)
    return Interval(low, high) if low <= high else None


def offset_s(seen: tuple[Interval, ...]) -> float | None:
    """Best guess of host clock minus collector clock, in seconds."""
    shared = common(seen)
    return None if shared is None else (shared.low + shared.high) / 2


def correction_ms(offset: float | None, current_ms: int = 0) -> int:
    """Milliseconds to add to the host's clock. A correction in force is kept while it is right to a second
    or so: each change starts a new batch."""
    if offset is None:
        return current_ms
    if abs(offset) <= CORRECT_BEYOND_S:
        return 0
    wanted = round(-offset * 1000)
    return current_ms if current_ms and abs(wanted - current_ms) <= 1500 else wanted


class Timekeeper:
    """The agent's one clock: raw, and corrected for stamps and tokens. Safe between threads."""

    def __init__(self, clock: Clock, correction: int = 0) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[Interval, ...] = ()
        self.correction_ms = correction
        """In force now; read once per stamp."""

    def raw_s(self) -> float:
        """Seconds since 1970 by the host's own clock."""
        return self._clock().timestamp()

    def stamp_ms(self, correction: int | None = None) -> int:
        """Milliseconds since 1970, corrected (or with the correction given)."""
        return round(self.raw_s() * 1000) + (self.correction_ms if correction is None else correction)

    def now(self) -> datetime:
        """Corrected, aware UTC."""
        return datetime.fromtimestamp(self.stamp_ms() / 1000, UTC)

    def offset_s(self) -> float | None:
        """Host minus collector, in seconds; None before the first answer."""
        return offset_s(self._seen)

    def learn(self, sent_s: float, received_s: float, date_s: float) -> bool:
        """Take an answer into account; True when the correction changed."""
        interval = observe(sent_s, received_s, date_s)
        if interval is None:
            return False
        with self._lock:
            self._seen = add(self._seen, interval)
            before, self.correction_ms = (
                self.correction_ms,
                correction_ms(offset_s(self._seen), self.correction_ms),
            )
            return before != self.correction_ms
