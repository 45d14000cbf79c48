"""Events of the host's own logs: one port, three kinds of log.

A feed reads one log onwards from a bookmark. What it found and the new bookmark enter the spool in one
transaction (``Spool.put_marked``): killed anywhere, nothing is missed and nothing comes twice. The log itself
is the buffer: while the spool's disk cannot be written, nothing is read.

Everything passes ``redact`` before it enters the spool: no personal data leaves this host.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, Protocol

from wire.batch import Severity


class Record(NamedTuple):
    """One entry of a log, as found: not yet redacted."""

    time_ms: int | None
    """Milliseconds since 1970 by the host's clock; None = the log does not say, so the time of reading."""
    source: str
    event_id: str
    severity: Severity
    message: str
    attributes: Mapping[str, str] = MappingProxyType({})


class Chunk(NamedTuple):
    """What one look at a log gave."""

    records: list[Record]
    bookmark: str
    """Where the log was read to: these records included, nothing else."""
    more: bool = False
    """There is more to read at once."""
    lost: str = ""
    """In words, what could not be read any more (a log that was truncated, or rotated twice)."""


class Feed(Protocol):
    """One log. ``read`` may raise OSError: the bookmark stays, and it is tried again later."""

    name: str
    """Names the bookmark and the counters: ``journal``, ``file:ucx-platform``, ``windows:System``."""

    def read(self, bookmark: str, most: int) -> Chunk:
        """At most ``most`` records after the bookmark, oldest first; an empty bookmark = begin now."""
        ...
