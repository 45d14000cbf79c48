"""Reads the host's logs onwards: filtered there, limited and redacted here, then into the spool with the
bookmark in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

from agent.checks import rate
from agent.events import Chunk, Feed, Record
from agent.events.limit import Bucket, admit, describe
from agent.events.redact import redact
from agent.reading import Column, Reading
from wire.batch import Event, Severity
from wire.limits import MAX_ATTRIBUTE_VALUE, MAX_NAME, MIN_TIME_MS, SPOOL_HORIZON_DAYS

SOURCE = "ucx-agent"
_MOST = 80
"""Records per transaction: with the longest texts, a batch stays below its limit."""
_ROUNDS = 20
"""Looks at one log per tick."""
_MAX_MESSAGE = 2_000
_DAY_MS = 86_400_000


class Sink(Protocol):
    """What takes the events: the spool, or the preview."""

    def bookmark(self, feed: str) -> str: ...
    def put_marked(self, events: list[Event], correction_ms: int, feed: str, bookmark: str) -> bool: ...


class Stamp(Protocol):
    """The agent's clock."""

    correction_ms: int

    @property
    def scale_ms(self) -> int: ...
    def raw_s(self) -> float: ...


class EventsCheck:
    name: ClassVar[str] = "events"
    interval_s: ClassVar[float] = 30.0

    def __init__(
        self,
        feeds: Sequence[Feed],
        per_minute: float,
        sink: Sink,
        stamp: Stamp,
        on_spooled: Callable[[], None] = lambda: None,
    ) -> None:
        self._feeds = tuple(feeds)
        self._per_minute = per_minute
        self._sink = sink
        self._stamp = stamp
        self._on_spooled = on_spooled
        self._buckets: dict[str, Bucket] = {}
        self._counts: Counter[tuple[str, str]] = Counter()
        self._before: tuple[float, Counter[tuple[str, str]]] | None = None
        self._columns = tuple(
            Column(metric, (("ucx.feed", feed.name),))
            for feed in self._feeds
            for metric in ("ucx.events.sent", "ucx.events.held_back")
        )

    def read(self, now_s: float) -> Reading:
        faults = [fault for feed in self._feeds if (fault := self._follow(feed, now_s))]
        counts = Counter(self._counts)
        before, self._before = self._before, (now_s, counts)
        if faults:
            raise OSError("; ".join(faults))
        if before is None:
            return Reading(self._columns, [None] * len(self._columns))
        values = [
            rate(counts[feed.name, kind], before[1][feed.name, kind], now_s - before[0])
            for feed in self._feeds
            for kind in ("sent", "held")
        ]
        return Reading(self._columns, values)

    def _follow(self, feed: Feed, now_s: float) -> str:
        """Read one log as far as it goes; what is wrong with it, or nothing."""
        for _ in range(_ROUNDS):
            bookmark = self._sink.bookmark(feed.name)
            try:
                chunk = feed.read(bookmark, _MOST)
            except OSError as fault:
                return f"{feed.name}: {fault}"
            if not self._keep(feed.name, bookmark, chunk, now_s):
                return f"{feed.name}: the spool cannot be written; the log is read later"
            if not chunk.more:
                return ""
        return ""

    def _keep(self, feed: str, bookmark: str, chunk: Chunk, now_s: float) -> bool:
        """Into the spool; True when it is there (or nothing was to be kept)."""
        if chunk.bookmark == bookmark and not chunk.records and not chunk.lost:
            return True
        correction = self._stamp.correction_ms
        now_ms = round(self._stamp.raw_s() * 1000)
        fresh = [record for record in chunk.records if _is_fresh(record, now_ms)]
        passed = admit(self._buckets.get(feed), fresh, self._per_minute, now_s)
        events = [to_event(record, now_ms, correction) for record in passed.records]
        notes = [describe(passed.held)] if passed.held else []
        notes += [f"{chunk.lost}."] if chunk.lost else []
        events += [_note(feed, note, now_ms + correction) for note in notes]
        if not self._sink.put_marked(events, self._stamp.scale_ms, feed, chunk.bookmark):
            return False
        self._buckets[feed] = passed.bucket
        self._counts[feed, "sent"] += len(passed.records)
        self._counts[feed, "held"] += sum(passed.held.values())
        if events:
            self._on_spooled()
        return True


def _is_fresh(record: Record, now_ms: int) -> bool:
    """What is older than the spool would keep is of no use to anybody any more."""
    return record.time_ms is None or record.time_ms > now_ms - SPOOL_HORIZON_DAYS * _DAY_MS


def to_event(record: Record, now_ms: int, correction_ms: int) -> Event:
    """The record as it leaves this host: redacted, bounded, stamped by the corrected clock, never later than
    now."""
    stamp = now_ms if record.time_ms is None else min(record.time_ms, now_ms)
    attributes = {
        name: clean(value, MAX_ATTRIBUTE_VALUE) for name, value in record.attributes.items() if value
    }
    return Event(
        max(MIN_TIME_MS, stamp + correction_ms),
        clean(record.source, MAX_NAME) or "unknown",
        record.event_id[:64],
        record.severity,
        clean(record.message, _MAX_MESSAGE),
        attributes,
    )


def clean(text: str, longest: int) -> str:
    """Redacted, printable, bounded."""
    whole = text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
    return redact(whole)[:longest]


def _note(feed: str, message: str, time_ms: int) -> Event:
    """What the agent itself has to say about a log."""
    attributes = {"ucx.feed": feed[:MAX_ATTRIBUTE_VALUE]}
    return Event(
        time_ms, SOURCE, "events.incomplete", Severity.WARNING, clean(message, _MAX_MESSAGE), attributes
    )
