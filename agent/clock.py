"""The host's clock against the collector's, learnt from the Date header of its answers.

A question sent at ``s`` whose answer came at ``r`` (host clock) and says ``Date: D`` (whole seconds, cut
off) was answered between ``s`` and ``r``, when the collector's clock showed D .. D + 1 s. So the host is
ahead by something between ``s - D - 1`` and ``r - D``. Each answer gives such an interval; what the last few
have in common is far narrower than a second. An answer that shares nothing with the earlier ones means that
a clock was set: then only the newest counts.

A clock that is set between two answers is noticed by its distance to the time since boot (``judge_step``).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from typing import NamedTuple

from wire.clock import Clock
from wire.limits import MAX_TIME_MS, MIN_TIME_MS

CORRECT_BEYOND_S = 30.0
"""Stamps are corrected only when the host is further off than this (seconds)."""
STEP_S = 2.0
"""A clock that moves by less than this against the time since boot is only being adjusted (seconds)."""
_EARLIEST_MS = MIN_TIME_MS + 86_400_000
"""No stamp lies before this: a host whose battery is empty starts in 1970, which nobody accepts."""
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


class Step(StrEnum):
    """What a jump of the host's clock against its time since boot was."""

    NONE = "no jump"
    SET = "the clock was set"
    PASSED = "time passed unseen"
    """The machine stood still (a paused virtual machine), and its clock was put right afterwards."""


def judge_step(jump_s: float, offset: float | None) -> Step:
    """What a jump means; ``offset`` is the host's distance to the collector before it, None when unknown.

    A clock that was right and jumps ahead was most likely put right again after a pause. Everything else -
    back, ahead from an unknown time, or from a time known to be wrong - is somebody who sets the clock: then
    what was stamped before was stamped by another clock."""
    if abs(jump_s) < STEP_S:
        return Step.NONE
    if jump_s < 0 or offset is None or abs(offset) > CORRECT_BEYOND_S:
        return Step.SET
    return Step.PASSED


def uptime_s() -> float:
    """Seconds since boot, sleep included where the system can say so."""
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    else:  # noqa: RET505 - type checkers follow the platform only through if and else
        return time.monotonic()


class Timekeeper:
    """The agent's one clock: raw, and corrected for stamps and tokens. Safe between threads.

    The host's clock may be set while batches wait. So times are kept on a scale that no setting moves: the
    host's clock less all settings seen so far (``steady_ms``). A batch remembers what was added to that scale
    in its stamps (``scale_ms``); ``sent_ms`` then says when it is sent, as that batch's own clock would."""

    def __init__(
        self,
        clock: Clock,
        correction: int = 0,
        stepped: int = 0,
        uptime: Callable[[], float] = uptime_s,
    ) -> None:
        self._clock = clock
        self._uptime = uptime
        self._lock = threading.RLock()
        self._seen: tuple[Interval, ...] = ()
        self._base_s: float | None = None
        """Host clock less time since boot, at the last look."""
        self._begun_s = uptime()
        self.correction_ms = correction
        """What is added to the host's clock now."""
        self.stepped_ms = stepped
        """All settings of the host's clock that were seen, summed."""

    def raw_s(self) -> float:
        """Seconds since 1970 by the host's own clock."""
        return self._clock().timestamp()

    def state(self) -> dict[str, str]:
        """What the next run needs, to be remembered with the batches."""
        with self._lock:
            return {"correction_ms": str(self.correction_ms), "stepped_ms": str(self.stepped_ms)}

    def resume(self, get: Callable[[str], str]) -> None:
        """Go on with what an earlier run knew; called before the first look."""
        self.correction_ms = _number(get("correction_ms"))
        self.stepped_ms = _number(get("stepped_ms"))

    def look(self) -> Step:
        """Notice whether the clock was set since the last look."""
        with self._lock:
            raw, up = self.raw_s(), self._uptime()
            jump = 0.0 if self._base_s is None else raw - up - self._base_s
            self._base_s = raw - up
            step = judge_step(jump, self.offset_s())
            if step is Step.SET:
                self.stepped_ms += round(jump * 1000)
                self.correction_ms -= round(jump * 1000)
            if step is not Step.NONE:
                self._seen = ()
            if raw * 1000 + self.correction_ms < _EARLIEST_MS:
                self.correction_ms = round(_EARLIEST_MS - raw * 1000)
            return step

    @property
    def scale_ms(self) -> int:
        """What is added to the steady scale in stamps."""
        with self._lock:
            return self.correction_ms + self.stepped_ms

    def steady_ms(self) -> int:
        """Milliseconds since 1970 on the scale that no setting of the clock moves."""
        with self._lock:
            self.look()
            return round(self.raw_s() * 1000) - self.stepped_ms

    def stamp_ms(self) -> int:
        """Milliseconds since 1970, corrected."""
        with self._lock:
            return self.steady_ms() + self.scale_ms

    def sent_ms(self, scale: int, created_ms: int) -> int:
        """Now, by the clock that stamped a batch: one that was made under ``scale``, at ``created_ms`` of it.

        Nothing is sent before it was made: if it looks so, the clock was adjusted back a little since, or it
        was set back while the agent did not run, and the batch is older than this run."""
        now_ms = self.steady_ms() + scale
        if created_ms - now_ms <= STEP_S * 1000:
            return max(now_ms, created_ms)
        return created_ms + round((self._uptime() - self._begun_s) * 1000)

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
            self.look()  # a jump is judged by what was known before it
            self._seen = add(self._seen, interval)
            before, self.correction_ms = (
                self.correction_ms,
                correction_ms(offset_s(self._seen), self.correction_ms),
            )
            return before != self.correction_ms


def _number(text: str) -> int:
    """A remembered number of milliseconds; 0 when it was never written or is damaged."""
    try:
        number = int(text or 0)
    except ValueError:
        return 0
    return number if abs(number) < MAX_TIME_MS else 0
