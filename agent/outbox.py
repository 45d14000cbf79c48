"""Collects frames until they are worth a batch, and puts events and batches into the spool.

Frames wait in memory for ``ship_every_s``; killed, the agent loses those (nobody was told of them). Events go
into the spool at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from agent.assemble import Plan
from agent.clock import Timekeeper
from agent.spool import Spool
from wire.batch import Event, Frame, Severity
from wire.limits import MAX_ATTRIBUTE_VALUE, MAX_TEXT

SOURCE = "ucx-agent"
SEVERITIES = {
    "process.top": Severity.INFO,
    "agent.start": Severity.INFO,
    "agent.stop": Severity.INFO,
    "host.boot": Severity.INFO,
    "check.failed": Severity.WARNING,
    "check.recovered": Severity.INFO,
    "spool.dropped": Severity.ERROR,
    "spool.corrupt": Severity.ERROR,
    "batch.refused": Severity.ERROR,
    "batch.renumbered": Severity.WARNING,
    "host.machine": Severity.WARNING,
    "agent.key": Severity.INFO,
    "series.refused": Severity.ERROR,
    "config.refused": Severity.WARNING,
    "events.incomplete": Severity.WARNING,
}
"""The agent's own events; the catalogue says what each means."""
_MAX_WAITING = 250
_LAYOUT_AGAIN_S = 43_200.0
"""How often a layout in use is marked as used in the spool."""


class Outbox:
    """Used by the measuring thread only; ``event`` by any (the spool has its own lock)."""

    def __init__(
        self,
        spool: Spool,
        timekeeper: Timekeeper,
        ship_every_s: float,
        on_spooled: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._time = timekeeper
        self.ship_every_s = ship_every_s
        self._on_spooled = on_spooled
        self._monotonic = monotonic
        self._frames: list[Frame] = []
        self._keys: set[tuple[bytes, int]] = set()
        self._scale_ms = 0
        self._since_s = 0.0
        self._layouts: dict[bytes, float] = {}

    def add(self, parts: list[tuple[Plan, list[float | None]]], steady_ms: int) -> None:
        """Take one tick; ``steady_ms`` is its time on the scale that no setting of the clock moves."""
        scale = self._time.scale_ms
        if self._frames and scale != self._scale_ms:
            self.flush()
        if not self._frames:
            self._since_s, self._scale_ms = self._monotonic(), scale
        for plan, values in parts:
            self._keep_layout(plan)
            self._frames.append(Frame(plan.digest, self._free_time(plan.digest, steady_ms + scale), values))
        if len(self._frames) >= _MAX_WAITING:
            self.flush()

    def _free_time(self, digest: bytes, time_ms: int) -> int:
        """The time, moved on by milliseconds when the clock went back onto a frame that waits."""
        while (digest, time_ms) in self._keys:
            time_ms += 1
        self._keys.add((digest, time_ms))
        return time_ms

    def _keep_layout(self, plan: Plan) -> None:
        now = self._monotonic()
        kept = self._layouts.get(plan.digest)
        if kept is None or now - kept > _LAYOUT_AGAIN_S:
            self._spool.put_layout(plan.digest, plan.body)
            self._layouts[plan.digest] = now

    def due_in_s(self) -> float | None:
        """Seconds until the waiting frames should go; None when none wait."""
        if not self._frames:
            return None
        return max(0.0, self._since_s + self.ship_every_s - self._monotonic())

    def flush(self) -> None:
        """Put the waiting frames into the spool."""
        if not self._frames:
            return
        frames, self._frames = self._frames, []
        self._keys.clear()
        self._spool.put_frames(frames, self._scale_ms)
        self._on_spooled()

    def event(self, event_id: str, message: str, attributes: Mapping[str, str] | None = None) -> None:
        """Put an event of the agent's own into the spool."""
        scale = self._time.scale_ms
        clean = {name: printable(value, MAX_ATTRIBUTE_VALUE) for name, value in (attributes or {}).items()}
        event = Event(
            self._time.steady_ms() + scale,
            SOURCE,
            event_id,
            SEVERITIES[event_id],
            printable(message, MAX_TEXT),
            clean,
        )
        self._spool.put_events([event], scale)
        self._on_spooled()

    def report_incidents(self) -> None:
        """Send what the spool has to say of itself."""
        for incident in self._spool.take_incidents():
            self.event(incident.event_id, incident.message)


def printable(text: str, longest: int) -> str:
    """Text that may travel: no NUL, no broken surrogates, not too long."""
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")[:longest]
