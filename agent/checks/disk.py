"""Disks: throughput, operations, how busy, and how long an operation takes."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import ClassVar

from agent.checks import rate, share
from agent.checks.counted import Counted
from agent.reading import Column, Reading
from agent.sources import DiskCounters, Source

_MAX_DISKS = 24


class DiskCheck:
    name: ClassVar[str] = "disk"
    interval_s: ClassVar[float] = 15.0

    def __init__(self, source: Source, exclude: Sequence[str] = ()) -> None:
        self._source = source
        self._exclude = tuple(exclude)
        self._counted = Counted(_columns, values)

    def read(self, now_s: float) -> Reading:
        counters = self._source.disks()
        names = tuple(sorted(n for n in counters if not any(fnmatchcase(n, p) for p in self._exclude)))
        return self._counted.read(counters, names[:_MAX_DISKS], now_s)


def _columns(device: str) -> tuple[Column, ...]:
    of = ("system.device", device)
    directions = (("disk.io.direction", "read"), ("disk.io.direction", "write"))
    return (
        *(Column("system.disk.io", (of, direction)) for direction in directions),
        *(Column("system.disk.operations", (of, direction)) for direction in directions),
        Column("system.disk.io_time", (of,)),
        Column("ucx.disk.latency", (of,)),
    )


def values(now: DiskCounters, before: DiskCounters | None, elapsed_s: float) -> list[float | None]:
    """In the order of the columns; None at the first reading."""
    if before is None:
        return [None] * 6
    return [
        rate(now.read_bytes, before.read_bytes, elapsed_s),
        rate(now.write_bytes, before.write_bytes, elapsed_s),
        rate(now.reads, before.reads, elapsed_s),
        rate(now.writes, before.writes, elapsed_s),
        share(rate(now.busy_s, before.busy_s, elapsed_s), 1.0),
        latency(now, before),
    ]


def latency(now: DiskCounters, before: DiskCounters) -> float | None:
    """Mean seconds per operation; 0 when there was none (an idle disk keeps nobody waiting)."""
    operations = (now.reads + now.writes) - (before.reads + before.writes)
    seconds = (now.read_s + now.write_s) - (before.read_s + before.write_s)
    if operations < 0 or seconds < 0:
        return None
    return seconds / operations if operations else 0.0
