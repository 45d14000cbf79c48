"""Small makers shared by the agent's tests."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from agent.reading import Reading
from agent.spool import Spool
from agent.store import Stored
from tests.agent.collector import AGENT
from wire import layout as wire_layout
from wire.batch import Frame
from wire.layout import Layout, Series

NOW_MS = 1_760_000_000_000
LAYOUT = wire_layout.encode(Layout(1, 15.0, (Series("system.cpu.utilization"), Series("a.b"))))
DIGEST = wire_layout.digest(LAYOUT)


class WoundClock:
    """Milliseconds that a test winds on; each reading of ``tick`` differs."""

    def __init__(self) -> None:
        self.ms = NOW_MS
        self._count = count(1)

    def __call__(self) -> int:
        return self.ms

    def frame(self, *values: float | None) -> Frame:
        """A frame that no other frame equals."""
        return Frame(DIGEST, NOW_MS + next(self._count), list(values or (0.5, None)))


def open_spool(
    directory: Path, clock: WoundClock, *, max_bytes: int = 1 << 20, max_age_s: float = 7 * 86_400
) -> Spool:
    """A spool with a layout in it."""
    spool = Spool(directory, AGENT, max_bytes=max_bytes, max_age_s=max_age_s, now_ms=clock)
    spool.put_layout(DIGEST, LAYOUT)
    return spool


def drain(spool: Spool) -> list[Stored]:
    """Everything that waits, delivered oldest first, events first."""
    taken = []
    while (batch := spool.oldest("events") or spool.oldest("frames")) is not None:
        taken.append(batch)
        spool.delivered(batch)
    return taken


def by_name(reading: Reading) -> dict[str, float | None]:
    return {
        " ".join([column.metric, *(value for _, value in column.attributes)]): value
        for column, value in zip(reading.columns, reading.values, strict=True)
    }
