"""What a host's evaluation remembers between commits: one small blob per host, in its locked row.

MessagePack: ``[1, {layout digest prefix: newest evaluated ms}, [Track ...], [EventTrack ...],
[SilentTrack ...], [Gap ...], [(rule, instance, times fired) ...], [Ahead ...]]``.
A series that is healthy under plain thresholds has no entry at all. A track's size does not grow with
time; an event track holds at most ``KEPT_BUCKETS`` counters.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

import msgspec

from alerting.errors import StateError
from alerting.machine import LevelState

VERSION = 1
MAX_BUCKETS = 30
"""Counters over an event rule's window: counts are exact to a thirtieth of it."""
KEPT_BUCKETS = 2 * MAX_BUCKETS
"""Counters of an event track in all: of two windows when events are many, of longer when they are few."""
MAX_LAYOUTS = 16
"""Layouts of one host whose frontier is remembered; the longest unseen is forgotten first."""

Key = tuple[str, str]
"""(rule id, instance)."""
AheadKey = tuple[str, str, str]
"""(rule id, instance, term)."""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What the alert's row says of it."""

    state: str = ""
    """Empty = there is no row yet."""
    priority: int = 0
    """1 .. 4; 0 = none yet."""
    since: int = 0
    """When the condition began to hold, ms."""
    fired_at: int = 0
    """ms; 0 = not yet."""
    hidden: str = ""
    """Why it counts as a consequence of another alert; empty: it does not."""


class Track(msgspec.Struct, frozen=True, array_like=True):
    """One rule on one instance that is not plainly healthy."""

    rule_id: str
    instance: str
    rule: bytes
    """Fingerprint of the rule that this was concluded by."""
    told: Told
    levels: tuple[LevelState, ...]
    """In the rule's order, most severe first."""
    priorities: tuple[int, ...]
    """The levels' priorities: they say which level is which when the rule changes."""
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
    told: Told
    buckets: tuple[tuple[int, int], ...]
    """(start ms, events), oldest first."""
    last: int
    """Newest event, ms."""
    due: int
    """Over at this time, ms, unless another event comes."""


class SilentTrack(msgspec.Struct, frozen=True, array_like=True):
    """A host that was silent for too long, until it has reported often enough."""

    rule_id: str
    rule: bytes
    told: Told
    reports: int
    """Receipts since."""
    last: int
    """The newest of them, ms."""


class Gap(msgspec.Struct, frozen=True, array_like=True):
    """A stretch that newer frames jumped over. What arrives of it later is stored, and replayed from here."""

    layouts: dict[bytes, tuple[int, int]]
    """Layout digest prefix -> newest frame judged before, first one judged after, ms."""
    tracks: list[Track]
    """As they were before."""
    late: int = 0
    """Receipt of the newest frame that arrived late, ms; 0 = none did."""
    due: int = 0
    """When it is replayed unless more arrives, ms; 0 = nothing to replay."""

    @property
    def start(self) -> int:
        return min(start for start, _ in self.layouts.values())

    @property
    def end(self) -> int:
        return max(end for _, end in self.layouts.values())


class Ahead(msgspec.Struct, frozen=True, array_like=True):
    """A question about the future of one series, and its answer."""

    rule_id: str
    instance: str
    term: str
    """Name of the forecast in the rule."""
    metric: str
    attributes: tuple[tuple[str, str], ...]
    """Of the series that is looked ahead for."""
    asked: int = 0
    """Newest frame that wanted it, ms."""
    computed: int = 0
    """When it was answered, ms; 0 = not yet."""
    reached: int = 0
    """When the limit is reached at the latest, ms; 0 = not in sight."""
    due: int = 0
    """When to look (again), ms."""
    likely: int = 0
    """When the limit is likely reached, ms; 0 = not in sight."""

    @property
    def key(self) -> AheadKey:
        return (self.rule_id, self.instance, self.term)


class Memory(msgspec.Struct, frozen=True):
    """The decoded blob. Never changed in place: evaluation makes new dictionaries."""

    layouts: Mapping[bytes, int] = {}
    tracks: Mapping[Key, Track] = {}
    events: Mapping[Key, EventTrack] = {}
    silent: Mapping[str, SilentTrack] = {}
    """By rule id."""
    gaps: tuple[Gap, ...] = ()
    """Oldest first."""
    recent: Mapping[Key, tuple[int, ...]] = {}
    """When alerts fired within the last hour, ms: what comes and goes is noticed by it."""
    ahead: Mapping[AheadKey, Ahead] = {}
    """Forecasts that are wanted."""

    @property
    def calm(self) -> bool:
        """Nothing is remembered but how far the frames have come."""
        return not (self.tracks or self.events or self.silent or self.gaps or self.recent or self.ahead)

    def troubles(self) -> Iterator[Track | EventTrack | SilentTrack]:
        """Everything that is not plainly healthy."""
        return chain(self.tracks.values(), self.events.values(), self.silent.values())


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    version: int
    layouts: dict[bytes, int]
    tracks: list[Track]
    events: list[EventTrack]
    silent: list[SilentTrack]
    gaps: tuple[Gap, ...] = ()
    recent: list[tuple[str, str, tuple[int, ...]]] = []
    ahead: list[Ahead] = []


class _Head(msgspec.Struct, frozen=True, array_like=True):
    version: int


EMPTY = Memory()
_encode = msgspec.msgpack.Encoder().encode
_HEAD = msgspec.msgpack.Decoder(_Head)
_STORED = msgspec.msgpack.Decoder(_Stored)
_VERSION_BYTE = bytes([VERSION])
"""Where the version stands when the array has fewer than 16 parts: no need to ask for it apart."""


def dump(memory: Memory) -> bytes | None:
    """The blob; None when there is nothing to remember."""
    if memory.calm and memory.layouts:
        return _encode((VERSION, memory.layouts, (), (), ()))
    parts: list[object] = [list(held.values()) for held in (memory.tracks, memory.events, memory.silent)]
    recent = [(*key, times) for key, times in memory.recent.items()]
    if memory.gaps or recent or memory.ahead:
        parts += [list(memory.gaps), recent]
    if memory.ahead:
        parts.append(list(memory.ahead.values()))
    if not memory.layouts and not any(parts):
        return None
    return _encode([VERSION, memory.layouts, *parts])


def load(blob: bytes | None) -> Memory:
    """The memory in a blob. Raises StateError when this release cannot read it."""
    if blob is None:
        return EMPTY
    try:
        if blob[1:2] != _VERSION_BYTE and _HEAD.decode(blob).version != VERSION:
            raise StateError(
                f"The evaluation state is not of version {VERSION}; run the release that wrote it."
            )
        stored = _STORED.decode(blob)
    except msgspec.MsgspecError as error:
        raise StateError(f"The evaluation state cannot be read: {error}") from error
    if not any((stored.tracks, stored.events, stored.silent, stored.gaps, stored.recent, stored.ahead)):
        return Memory(stored.layouts)  # a healthy host's
    tracks = {(t.rule_id, t.instance): t for t in stored.tracks}
    events = {(e.rule_id, e.instance): e for e in stored.events}
    silent = {s.rule_id: s for s in stored.silent}
    recent = {(rule_id, instance): times for rule_id, instance, times in stored.recent}
    ahead = {asked.key: asked for asked in stored.ahead}
    return Memory(stored.layouts, tracks, events, silent, stored.gaps, recent, ahead)
