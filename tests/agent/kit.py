"""Small makers shared by the agent's tests."""

from __future__ import annotations

from itertools import count
from pathlib import Path

from agent.reading import Reading
from agent.spool import Spool
from agent.store import Stored
from tests.agent.collector import AGENT
from wire import layout as wire_layout
from wire.batch import Event, Frame, FrameBatch, Severity
from wire.layout import Layout, Series
from wire.validate import decode_batch

NOW_MS = 1_760_000_000_000
LAYOUT = wire_layout.encode(Layout(1, 15.0, (Series("system.cpu.utilization"), Series("a.b"))))
DIGEST = wire_layout.digest(LAYOUT)
EVENT = Event(NOW_MS, "ucx-agent", "agent.start", Severity.INFO, "hello")


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


def frames_of(batch: Stored) -> list[Frame]:
    """The frames in a batch of frames."""
    content = decode_batch(batch.body)
    assert isinstance(content, FrameBatch)
    return content.frames


def by_name(reading: Reading) -> dict[str, float | None]:
    return {
        " ".join([column.metric, *(value for _, value in column.attributes)]): value
        for column, value in zip(reading.columns, reading.values, strict=True)
    }
