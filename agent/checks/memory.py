"""Memory and swap."""

from __future__ import annotations

from typing import ClassVar

from agent.checks import share
from agent.reading import Reading, columns
from agent.sources import Memory, Source

_COLUMNS = columns(
    (
        "system.memory.utilization",
        "system.memory.available",
        "system.memory.limit",
        "system.paging.utilization",
    )
)


class MemoryCheck:
    name: ClassVar[str] = "memory"
    interval_s: ClassVar[float] = 15.0

    def __init__(self, source: Source) -> None:
        self._source = source

    def read(self, now_s: float) -> Reading:
        return Reading(_COLUMNS, values(self._source.memory()))


def values(memory: Memory) -> list[float | None]:
    """In the order of the columns."""
    return [
        share(memory.total - memory.available, memory.total),
        memory.available,
        memory.total,
        share(memory.swap_used, memory.swap_total) or 0.0,
    ]
