"""What a host's evaluation remembers between commits: one small blob per host, in its locked row.

MessagePack: ``[1, {layout digest prefix: newest evaluated ms}, [Track, ...], [EventTrack, ...]]``.
A series that is healthy under plain thresholds has no entry at all. A track's size does not grow with
time; an event track holds at most ``MAX_BUCKETS`` counters.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from alerting.errors import StateError
from alerting.machine import LevelState

VERSION = 1
MAX_BUCKETS = 30
"""Counters over an event rule's window: counts are exact to a thirtieth of it."""
MAX_LAYOUTS = 16
"""Layouts of one host whose frontier is remembered; the longest unseen is forgotten first."""

Key = tuple[str, str]
"""(rule id, instance)."""


class Track(msgspec.Struct, frozen=True, array_like=True):
    """One rule on one instance that is not plainly healthy."""

    rule_id: str
    instance: str
    rule: bytes
    """Fingerprint of the rule that this was concluded by."""
    levels: tuple[LevelState, ...]
    """In the rule's order, most severe first."""
    priorities: tuple[int, ...]
    """The levels' priorities: they say which level is which when the rule changes."""
    recorded: str
    """State last written to the alert; empty = no row yet."""
    priority: int
    """Priority last written; 0 = none."""
    since: int
    """When the condition began to hold, ms."""
    fired_at: int
    """When it fired, ms; 0 = not yet."""
    last: int
    """Newest frame with a known value, ms."""
    present: int
    """Newest frame whose layout has this series, ms."""
    interval_ms: int
    """Interval of that layout."""


class EventTrack(msgspec.Struct, frozen=True, array_like=True):
    """One event rule on one instance, within its window or not yet quiet."""

    rule_id: str
    instance: str
    rule: bytes
    buckets: tuple[tuple[int, int], ...]
    """(start ms, events), oldest first."""
    recorded: str
    priority: int
    since: int
    """First event of the window, ms."""
    fired_at: int
    last: int
    """Newest event, ms."""
    due: int
    """Over at this time, ms, unless another event comes."""


class Memory(msgspec.Struct, frozen=True):
    """The decoded blob. Never changed in place: evaluation makes new dictionaries."""

    layouts: Mapping[bytes, int] = {}
    tracks: Mapping[Key, Track] = {}
    events: Mapping[Key, EventTrack] = {}


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    version: int
    layouts: dict[bytes, int]
    tracks: list[Track]
    events: list[EventTrack]


class _Head(msgspec.Struct, frozen=True, array_like=True):
    version: int


EMPTY = Memory()


def dump(memory: Memory) -> bytes | None:
    """The blob; None when there is nothing to remember."""
    if not (memory.layouts or memory.tracks or memory.events):
        return None
    stored = _Stored(
        VERSION, dict(memory.layouts), list(memory.tracks.values()), list(memory.events.values())
    )
    return msgspec.msgpack.encode(stored)


def load(blob: bytes | None) -> Memory:
    """The memory in a blob. Raises StateError when this release cannot read it."""
    if blob is None:
        return EMPTY
    try:
        if msgspec.msgpack.decode(blob, type=_Head).version != VERSION:
            raise StateError(f"The evaluation state is not of version {VERSION}; run the release that wrote it.")
        stored = msgspec.msgpack.decode(blob, type=_Stored)
    except msgspec.MsgspecError as error:
        raise StateError(f"The evaluation state cannot be read: {error}") from error
    tracks = {(t.rule_id, t.instance): t for t in stored.tracks}
    return Memory(stored.layouts, tracks, {(e.rule_id, e.instance): e for e in stored.events})
