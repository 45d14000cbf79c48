"""The Windows Event Log, behind a small port: an open subscription per channel, events as XML out.

Bookmark: ``<number> <time>`` of the last record that is done with (EventRecordID, SystemTime). Windows counts
records up for the life of a log file, over rotation. Whether the bookmark still holds is asked once, when the
subscription is opened (at the start, and after every trouble); ``resume`` decides what follows:

    the record is there, of the same time     go on after it
    it is gone, later ones are there          rotated: go on with the oldest; what lay between is told as lost
    numbers begin anew, or its time differs   the log was cleared: read it from its beginning, and say so

When nothing comes for a while, the subscription may have died without a word (seen with several collectors):
so the log itself is asked now and then whether there is nothing.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from agent.events import Chunk, Record
from wire.batch import Severity

_NS = "{http://schemas.microsoft.com/win/2004/08/events/event}"
_SEVERITIES = {1: Severity.CRITICAL, 2: Severity.ERROR, 3: Severity.WARNING}
_MAX_XML = 1 << 20
"""Characters; Windows takes 64 KB for an event."""
_MAX_CLAUSES = 18
"""Windows takes at most 23 expressions in one XPath condition; with more, we filter alone."""
_IDLE_LOOKS = 20
"""Looks without an event (10 minutes) after which the log itself is asked."""
_STEP = 500
"""Records by which the log must have grown for that to happen sooner."""


class Channel(NamedTuple):
    """One configured channel; an event matches when its id is listed, or its level is (all, without both)."""

    name: str
    ids: tuple[int, ...] = ()
    levels: tuple[int, ...] = ()
    """1 critical, 2 error, 3 warning, 4 information."""
    providers: tuple[str, ...] = ()
    """Only these; empty = all."""


DEFAULT_CHANNELS = (
    Channel("System", ids=(41, 1001, 6008, 7031, 7034)),
    Channel("Application", ids=(823, 824, 825, 1105, 1827, 9002)),
)
"""What the default rules speak of: unexpected reboots, bugchecks, crashed services, a database that cannot
write or read."""


class RawEvent(NamedTuple):
    """One event as Windows renders it."""

    xml: str
    message: str
    """In words; empty when the provider's texts are not installed."""


class Edges(NamedTuple):
    """Numbers of the oldest and the newest record; 0, 0 = the channel is empty."""

    oldest: int
    newest: int


class Mark(NamedTuple):
    """A record that is done with."""

    number: int
    time: str = ""
    """SystemTime as Windows wrote it; empty = not known."""


class NotThere(OSError):
    """The record to go on after is not in the log."""


class Stale(OSError):
    """The subscription is of no use any more: the log was cleared, or rolled over what was not read yet."""


class Cursor(Protocol):
    """An open subscription. ``take`` may raise Stale or another OSError: then it must be closed."""

    def take(self, most: int) -> list[RawEvent]:
        """What is there and was not taken yet, oldest first; empty = nothing now."""
        ...

    def close(self) -> None: ...


class EventLog(Protocol):
    """The port. Each call may raise OSError."""

    def edges(self, channel: str) -> Edges: ...

    def find(self, channel: str, query: str) -> RawEvent | None:
        """The newest record that matches."""
        ...

    def open(self, channel: str, query: str, after: int | None) -> Cursor:
        """Subscribe, after a record (NotThere when it is gone), or from the oldest on."""
        ...


class Resumption(NamedTuple):
    """Where to go on."""

    number: int
    """After this record."""
    there: bool
    """It is in the log: the subscription can begin right there."""
    lost: str
    """What could not be read any more."""


class WindowsFeed:
    """One channel."""

    def __init__(self, channel: Channel, log: EventLog) -> None:
        self.name = f"windows:{channel.name}"
        self._channel = channel
        self._log = log
        self._cursor: Cursor | None = None
        self._at = ""
        """Bookmark that the subscription stands at."""
        self._idle = 0

    def read(self, bookmark: str, most: int) -> Chunk:
        try:
            return self._read(bookmark, most)
        except OSError:
            self._close()
            raise

    def _read(self, bookmark: str, most: int) -> Chunk:
        mark = read_mark(bookmark)
        if mark is None:
            return Chunk([], write_mark(self._mark(self._log.edges(self._channel.name).newest)))
        lost = "" if self._cursor is not None and self._at == bookmark else self._open(mark)
        assert self._cursor is not None
        events = self._cursor.take(most)
        if not events:
            mark = self._rest(mark)
        else:
            self._idle = 0
        parsed = [found for event in events if (found := parse(event)) is not None]
        if parsed:
            mark = parsed[-1].mark
        self._at = write_mark(mark)
        if unreadable := len(events) - len(parsed):
            lost = f"{lost}; {unreadable} events of {self.name} could not be read".removeprefix("; ")
        records = [one.record for one in parsed if matches(self._channel, one)]
        return Chunk(records, self._at, len(events) >= most, lost)

    def _open(self, mark: Mark) -> str:
        """Subscribe after a record; in words, what is lost."""
        self._close()
        name, query = self._channel.name, xpath(self._channel)
        found = self._log.find(name, f"*[System[EventRecordID={mark.number}]]") if mark.number else None
        how = resume(name, mark, found, self._log.edges(name))
        if how.there:
            try:
                self._cursor = self._log.open(name, query, how.number)
                return how.lost
            except NotThere:
                pass  # rotated away just now, or it counts only what matches: the next line needs neither
        self._cursor = self._log.open(name, xpath(self._channel, how.number), None)
        return how.lost

    def _rest(self, mark: Mark) -> Mark:
        """Nothing came. Now and then the log itself is asked whether that is so: if it is, the bookmark
        follows the log, so that rotation does not pass it by; if not, the subscription is opened anew."""
        newest = self._log.edges(self._channel.name).newest
        self._idle += 1
        if newest == mark.number or (self._idle < _IDLE_LOOKS and newest - mark.number < _STEP):
            return mark
        if self._log.find(self._channel.name, xpath(self._channel, mark.number)) is not None:
            self._close()
            return mark
        self._idle = 0
        return self._mark(newest)

    def _mark(self, number: int) -> Mark:
        """A record with its time, if it is there."""
        event = self._log.find(self._channel.name, f"*[System[EventRecordID={number}]]") if number else None
        found = parse(event) if event is not None else None
        return found.mark if found is not None else Mark(number)

    def _close(self) -> None:
        self._idle = 0
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            cursor.close()


# ---- decisions ----------------------------------------------------------------------------------------


def resume(channel: str, mark: Mark, found: RawEvent | None, edges: Edges) -> Resumption:
    """Where to go on: pure. ``found`` is the record of the mark's number, if there is one."""
    if mark.number == 0:
        return Resumption(0, False, "")
    there = parse(found) if found is not None else None
    if there is not None and (not mark.time or there.mark.time == mark.time):
        return Resumption(mark.number, True, "")
    if there is not None or edges.newest < mark.number:
        return Resumption(0, False, f"the event log '{channel}' was cleared or made anew")
    if edges.oldest <= mark.number + 1:
        return Resumption(mark.number, False, "")
    gap = f"records {mark.number + 1} to {edges.oldest - 1} of the event log '{channel}'"
    return Resumption(mark.number, False, f"{gap} were overwritten before they were read")


def read_mark(bookmark: str) -> Mark | None:
    """A bookmark; None when there is none, or it cannot be read."""
    number, _, time = bookmark.partition(" ")
    return Mark(int(number), time) if number.isascii() and number.isdecimal() else None


def write_mark(mark: Mark) -> str:
    return f"{mark.number} {mark.time}".rstrip()


def xpath(channel: Channel, after: int | None = None) -> str:
    """The channel's events, after a record number if need be."""
    parts = [] if after is None else [f"EventRecordID>{after}"]
    wanted = [f"EventID={number}" for number in channel.ids]
    wanted += [f"Level={level}" for level in channel.levels]
    if wanted and len(wanted) + len(channel.providers) <= _MAX_CLAUSES:
        parts.append(f"({' or '.join(wanted)})")
    if channel.providers and len(channel.providers) <= _MAX_CLAUSES:
        named = " or ".join(f"@Name='{name}'" for name in channel.providers)
        parts.append(f"Provider[{named}]")
    return f"*[System[{' and '.join(parts)}]]" if parts else "*"


_SAYS_NOTHING = re.compile(r"(?:param\d+)?")
"""A value's name that is only its number."""


class Parsed(NamedTuple):
    """An event, taken apart."""

    mark: Mark
    level: int
    record: Record


def matches(channel: Channel, event: Parsed) -> bool:
    """Whether it is wanted; the query may be coarser than the configuration."""
    wanted = event.record.event_id in map(str, channel.ids) or event.level in channel.levels
    if (channel.ids or channel.levels) and not wanted:
        return False
    return not channel.providers or event.record.source in channel.providers


def parse(event: RawEvent) -> Parsed | None:
    """None for what is no event of Windows."""
    if len(event.xml) > _MAX_XML or "<!DOCTYPE" in event.xml:
        return None
    try:
        root = ET.fromstring(event.xml)  # noqa: S314 - no document type: no entities; bounded
        system = root.find(f"{_NS}System")
        assert system is not None
        number = int(system.findtext(f"{_NS}EventRecordID", ""))
    except (ET.ParseError, AssertionError, ValueError):
        return None
    provider = system.find(f"{_NS}Provider")
    created = system.find(f"{_NS}TimeCreated")
    time = (created.get("SystemTime") or "") if created is not None else ""
    said = system.findtext(f"{_NS}Level", "4")
    level = int(said) if said.isdecimal() else 4
    record = Record(
        _time_ms(time),
        (provider.get("Name") if provider is not None else None) or "Windows",
        system.findtext(f"{_NS}EventID", ""),
        _SEVERITIES.get(level, Severity.INFO),
        event.message or "; ".join(data(root)),
        {"windows.channel": system.findtext(f"{_NS}Channel", "")},
    )
    return Parsed(Mark(number, time), level, record)


def data(root: ET.Element) -> list[str]:
    """The event's own values, all that there is when its provider's texts are missing; with their names, by
    which redaction knows a user from a file."""
    found = [(element.get("Name") or "", (element.text or "").strip()) for element in root.iter(f"{_NS}Data")]
    return [text if _SAYS_NOTHING.fullmatch(name) else f"{name}: {text}" for name, text in found if text]


def _time_ms(text: str) -> int | None:
    try:
        return round(datetime.fromisoformat(text[:26].rstrip("Z")).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None


def system_log() -> Callable[[], EventLog] | None:
    """Makes the real port; None on every other system."""
    if sys.platform == "win32":
        from agent.windows.eventlog import SystemEventLog

        return SystemEventLog
    else:  # noqa: RET505 - type checkers follow the platform only through if and else
        return None
