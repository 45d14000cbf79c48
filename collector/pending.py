"""A batch on its way from the request to the commit, and what the commit decides about it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple, Protocol

import msgspec

from alerting.evaluate import EventInput, FrameInput, HostKey, HostScope
from collector.layouts import StoredLayout
from wire.batch import Batch, EventBatch
from wire.problem import Problem
from wire.receipt import Outcome, Receipt

TRUSTED_OFFSET_MS = 2_000
"""A host clock that is off by no more than this is taken as right: the difference is mostly the way here."""
STORED_AS_SENT_MS = 30_000
"""Times of a host clock that is off by no more than this are stored as they were sent. An agent corrects its
own stamps beyond the same bound, once it knows; what it stamped before is put right here."""


class BatchKey(NamedTuple):
    """What the ledger knows a batch by; sorts in the ledger's order."""

    tenant_id: int
    agent: bytes
    """The agent's id, 16 bytes: they compare as PostgreSQL compares them, and faster than UUIDs."""
    epoch: int
    seq: int


class Answer(Protocol):
    """Where a batch's answer goes: a future, or a connection that waits for it."""

    def done(self) -> bool:
        """Whether it has been answered, or nobody waits any more."""

    def set_result(self, result: Receipt | Problem, /) -> None:
        """Answer; once. Never raises: one client's trouble is not the others'."""


class Pending(msgspec.Struct, frozen=True, eq=False):
    """One decoded, validated batch that waits for its commit."""

    key: BatchKey
    digest: bytes
    """SHA-256 of the batch's bytes, 32 bytes."""
    scope: HostScope
    host: HostKey
    """The host_state row that its commit locks."""
    batch: Batch
    layouts: dict[bytes, StoredLayout]
    """The stored layouts that its frames need, by digest."""
    received_at: datetime
    """Collector time at which the body was complete."""
    offset_ms: int
    """What to add to the host's clock to get the collector's, in milliseconds; 0 when it is nearly right."""
    size: int
    """Length of the batch's bytes."""
    answer: Answer
    """Set once, by the committer."""

    def inputs(self) -> list[FrameInput | EventInput]:
        """What evaluation sees of the batch: sample times corrected to the collector's clock."""
        if isinstance(self.batch, EventBatch):
            return [EventInput(self._corrected(event.time_ms), event) for event in self.batch.events]
        return [
            FrameInput(
                frame.layout,
                self.layouts[frame.layout].layout,
                self._corrected(frame.time_ms),
                frame.values,
            )
            for frame in self.batch.frames
        ]

    def stored_ms(self, time_ms: int) -> int:
        """The time under which a frame or an event is stored, milliseconds since 1970."""
        return time_ms + shift_ms(self.offset_ms)

    def receipt(self, outcome: Outcome, reason: str = "") -> Receipt:
        """The collector's word on this batch."""
        batch = self.batch
        return Receipt(batch.agent, batch.epoch, batch.seq, self.digest.hex(), outcome, reason)

    def _corrected(self, time_ms: int) -> datetime:
        """Never ahead of the collector: the frontier must not pass our own time."""
        return min(at(time_ms + self.offset_ms), self.received_at)


def at(time_ms: int) -> datetime:
    """Milliseconds since 1970 as an aware UTC time; exact, as far as a batch's times may reach."""
    return datetime.fromtimestamp(time_ms / 1000, UTC)


def clock_offset_ms(received_at: datetime, sent_at_ms: int | None) -> int:
    """What to add to the host's clock, from the time that the agent says it sent the batch at."""
    offset = 0 if sent_at_ms is None else round(received_at.timestamp() * 1000) - sent_at_ms
    return offset if abs(offset) > TRUSTED_OFFSET_MS else 0


def shift_ms(offset_ms: int) -> int:
    """Milliseconds to add to the times that are stored; 0 while the host's clock is nearly right."""
    return offset_ms if abs(offset_ms) > STORED_AS_SENT_MS else 0
