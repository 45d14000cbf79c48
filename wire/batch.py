"""Batches: numbered, immutable envelopes of frames or of events.

A batch is bytes from birth. It is identified by (agent, epoch, seq) and vouched for by its digest; the
spool stores exactly the bytes that travel and that the ledger's digest was taken of.

    MessagePack array, in this order (``FrameBatch``):
        version  int      1
        kind     str      "frames" | "events"
        agent    str      32 hex digits, the agent's id (given at enrolment)
        epoch    int      63 random bits, new for each spool
        seq      int      1, 2, 3 ... within the epoch
        frames   [[layout digest (32 bytes), time (ms since 1970, UTC), [value | nil, ...]], ...]
        (or) events [[time ms, source, id, severity, message, {attribute: text}], ...]

Missing values are nil, never NaN: NaN and infinities are refused, on both sides.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Literal

import msgspec

VERSION = 1


class Severity(StrEnum):
    """Severity of an event, from the sources' own levels (Windows, syslog, log files)."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Frame(msgspec.Struct, frozen=True, array_like=True):
    """One tick of one interval: time and values in layout order."""

    layout: bytes
    """Digest of the layout, 32 bytes."""
    time_ms: int
    """Milliseconds since 1970-01-01 UTC, by the host's clock (corrected when far off)."""
    values: list[float | None]
    """One value per series of the layout; None = not measured at this tick."""


class Event(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened once."""

    time_ms: int
    source: str
    """Who says it: an event log's provider, a log file's name, ``ucx-agent``."""
    event_id: str
    """The source's own identifier ('7031', '1105', 'process.top'); may be empty."""
    severity: Severity
    message: str
    attributes: dict[str, str] = {}


class FrameBatch(msgspec.Struct, frozen=True, array_like=True):
    """A numbered envelope of frames."""

    version: int
    kind: Literal["frames"]
    agent: str
    epoch: int
    seq: int
    frames: list[Frame]


class EventBatch(msgspec.Struct, frozen=True, array_like=True):
    """A numbered envelope of events."""

    version: int
    kind: Literal["events"]
    agent: str
    epoch: int
    seq: int
    events: list[Event]


Batch = FrameBatch | EventBatch


def encode(batch: Batch) -> bytes:
    """The batch's bytes, for ever."""
    return msgspec.msgpack.encode(batch)


def digest(body: bytes) -> str:
    """SHA-256 of the batch's bytes, 64 hex digits."""
    return hashlib.sha256(body).hexdigest()
