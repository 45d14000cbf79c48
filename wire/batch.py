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

Missing values are nil, never NaN: NaN and infinities are refused, on both sides. Numbers may be written as
MessagePack integers or floats (a zero is one byte, not nine); they are read as floats.

The bounds stand in the types, so that the typed decoder checks them while it reads (wire/validate.py).
"""

from __future__ import annotations

import hashlib
import math
import sys
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from wire import limits
from wire.refusal import NotFinite

VERSION = 1

Value = Annotated[float, Meta(ge=-sys.float_info.max, le=sys.float_info.max)]
"""A finite number: NaN and both infinities fail the comparison."""
TimeMs = Annotated[int, Meta(ge=limits.MIN_TIME_MS, le=limits.MAX_TIME_MS)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
AgentId = Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
Number = Annotated[int, Meta(ge=1, le=limits.MAX_INT)]
Name = Annotated[str, Meta(max_length=limits.MAX_NAME)]
Attributes = Annotated[
    dict[
        Annotated[str, Meta(min_length=1, max_length=limits.MAX_NAME)],
        Annotated[str, Meta(max_length=limits.MAX_ATTRIBUTE_VALUE)],
    ],
    Meta(max_length=limits.MAX_ATTRIBUTES),
]


class Severity(StrEnum):
    """Severity of an event, from the sources' own levels (Windows, syslog, log files)."""

    CRITICAL = "critical"
    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One tick of one interval: time and values in layout order."""

    layout: Digest
    """Digest of the layout, 32 bytes."""
    time_ms: TimeMs
    """Milliseconds since 1970-01-01 UTC, by the host's clock (corrected when far off)."""
    values: Annotated[list[Value | None], Meta(min_length=1, max_length=limits.MAX_SERIES_PER_LAYOUT)]
    """One value per series of the layout; None = not measured at this tick."""


class Event(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Something that happened once."""

    time_ms: TimeMs
    source: Annotated[str, Meta(min_length=1, max_length=limits.MAX_NAME)]
    """Who says it: an event log's provider, a log file's name, ``ucx-agent``."""
    event_id: Name
    """The source's own identifier ('7031', '1105', 'process.top'); may be empty."""
    severity: Severity
    message: Annotated[str, Meta(max_length=limits.MAX_TEXT)]
    """In plain words; at most ``MAX_TEXT`` characters, no NUL."""
    attributes: Attributes = {}


class FrameBatch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A numbered envelope of frames."""

    version: int
    kind: Literal["frames"]
    agent: AgentId
    epoch: Number
    seq: Number
    frames: Annotated[list[Frame], Meta(min_length=1, max_length=limits.MAX_FRAMES_PER_BATCH)]


class EventBatch(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A numbered envelope of events."""

    version: int
    kind: Literal["events"]
    agent: AgentId
    epoch: Number
    seq: Number
    events: Annotated[list[Event], Meta(min_length=1, max_length=limits.MAX_EVENTS_PER_BATCH)]


Batch = FrameBatch | EventBatch


def encode(batch: Batch) -> bytes:
    """The batch's bytes, for ever. Raises NotFinite for a value that every collector would refuse."""
    if isinstance(batch, FrameBatch):
        _require_finite(batch.frames)
    return msgspec.msgpack.encode(batch)


def _require_finite(frames: list[Frame]) -> None:
    for row, frame in enumerate(frames):
        for column, value in enumerate(frame.values):
            if value is not None and not math.isfinite(value):
                raise NotFinite(
                    "not a finite number; a missing value is nil", f"frames[{row}].values[{column}]"
                )


def digest(body: bytes) -> str:
    """SHA-256 of the batch's bytes, 64 hex digits."""
    return hashlib.sha256(body).hexdigest()
