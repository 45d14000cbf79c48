"""When to measure: pure arithmetic on monotonic seconds.

Ticks stand on a grid of the interval, shifted by a phase that differs from host to host, so that many agents
do not arrive together. A tick that was missed (the host slept, the machine was busy) is left out, never made
up for.
"""

from __future__ import annotations

import hashlib
import math


def phase_s(host: str, interval_s: float) -> float:
    """This host's shift, 0 <= shift < interval; the same after each restart."""
    number = int.from_bytes(hashlib.sha256(host.encode()).digest()[:6], "big")
    return interval_s * (number / 2**48)


def next_due_s(now_s: float, interval_s: float, phase: float) -> float:
    """The first tick of the grid after now, but not sooner than half an interval: a shorter one would make
    rates of next to nothing."""
    earliest = now_s + interval_s / 2
    due = phase + math.ceil((earliest - phase) / interval_s) * interval_s
    return due if due > now_s else due + interval_s


def deadline_s(interval_s: float) -> float:
    """Seconds that a check may take: well inside its interval, so that ticks never overlap."""
    return min(10.0, 0.6 * interval_s)
