"""The host itself: how long it has been up, how many processes it runs, how far its clock is off."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from agent.reading import Reading, columns
from agent.sources import Source

_COLUMNS = columns(("system.uptime", "system.process.count", "ucx.agent.clock.offset"))


class HostCheck:
    name: ClassVar[str] = "host"
    interval_s: ClassVar[float] = 60.0

    def __init__(self, source: Source, clock_offset_s: Callable[[], float | None]) -> None:
        self._source = source
        self._clock_offset_s = clock_offset_s

    def read(self, now_s: float) -> Reading:
        return Reading(_COLUMNS, [self._source.uptime_s(), len(self._source.pids()), self._clock_offset_s()])
