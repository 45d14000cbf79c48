"""Processor: how busy, and with what."""

from __future__ import annotations

from typing import ClassVar

from agent.checks import share
from agent.reading import Column, Reading
from agent.sources import CpuTimes, Source

_MODES = ("user", "system", "iowait", "steal")


class CpuCheck:
    name: ClassVar[str] = "cpu"
    interval_s: ClassVar[float] = 15.0

    def __init__(self, source: Source) -> None:
        self._source = source
        self._before: CpuTimes | None = None
        self._columns: tuple[Column, ...] = ()

    def read(self, now_s: float) -> Reading:
        now, load = self._source.cpu(), self._source.load_1m()
        if not self._columns:
            self._columns = _columns(now, load)
        values = utilizations(now, self._before)
        self._before = now
        return Reading(self._columns, [*values, load] if load is not None else values)


def _columns(times: CpuTimes, load: float | None) -> tuple[Column, ...]:
    """What this system counts: Windows knows neither iowait nor steal nor load."""
    modes = [mode for mode in _MODES if getattr(times, mode) is not None]
    return (
        Column("system.cpu.utilization"),
        *(Column("ucx.cpu.mode.utilization", (("cpu.mode", mode),)) for mode in modes),
        *([Column("system.cpu.load_average.1m")] if load is not None else []),
    )


def utilizations(now: CpuTimes, before: CpuTimes | None) -> list[float | None]:
    """Busy share, then the share of each mode that is counted; None at the first reading."""
    modes = [mode for mode in _MODES if getattr(now, mode) is not None]
    if before is None:
        return [None] * (1 + len(modes))
    total = now.total - before.total
    idle = share(now.idle - before.idle, total)
    busy = None if idle is None else 1.0 - idle
    return [busy, *(share(getattr(now, mode) - getattr(before, mode), total) for mode in modes)]
