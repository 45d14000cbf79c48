"""The Windows Event Log, behind a small port: a query in, events as XML out.

Bookmark: the number of the last record seen in the channel (EventRecordID). Windows counts it up for the life
of the log file, over rotation and clearing; when the newest record's number is below ours the file was made
anew, and it is read from its beginning.
"""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from agent.events import Chunk, Record
from wire.batch import Severity

_NS = "{http://schemas.microsoft.com/win/2004/08/events/event}"
_SEVERITIES = {1: Severity.CRITICAL, 2: Severity.ERROR, 3: Severity.WARNING}
_MAX_XML = 65_536
_MAX_CLAUSES = 20
"""Windows takes at most 23 expressions in one XPath condition."""


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


class EventLog(Protocol):
    """The port. May raise OSError."""

    def query(self, channel: str, xpath: str, most: int) -> list[RawEvent]:
        """The oldest ``most`` events that match."""
        ...

    def newest(self, channel: str) -> int:
        """Number of the channel's newest record; 0 = it is empty."""
        ...


class WindowsFeed:
    """One channel."""

    def __init__(self, channel: Channel, log: EventLog) -> None:
        self.name = f"windows:{channel.name}"
        self._channel = channel
        self._log = log

    def read(self, bookmark: str, most: int) -> Chunk:
        newest = self._log.newest(self._channel.name)
        if not (bookmark.isascii() and bookmark.isdecimal()):
            return Chunk([], str(newest))
        seen = int(bookmark)
        lost = f"the event log '{self._channel.name}' was made anew" if newest < seen else ""
        seen = 0 if lost else seen
        events = self._log.query(self._channel.name, xpath(self._channel, seen), most)
        parsed = [found for event in events if (found := parse(event)) is not None]
        full = len(events) >= most
        # A full answer ends at its last event; otherwise all was seen up to the newest number asked before.
        end = max((number for number, _ in parsed), default=seen) if full else max(newest, seen)
        end = max(end, *(number for number, _ in parsed)) if parsed else end
        return Chunk([record for _, record in parsed], str(end), full and end > seen, lost)


def xpath(channel: Channel, after: int) -> str:
    """The channel's events after a record number."""
    wanted = [f"EventID={number}" for number in channel.ids[:_MAX_CLAUSES]]
    wanted += [f"Level={level}" for level in channel.levels[: _MAX_CLAUSES - len(wanted)]]
    parts = [f"EventRecordID>{after}"]
    if wanted:
        parts.append(f"({' or '.join(wanted)})")
    if channel.providers:
        named = " or ".join(f"@Name='{name}'" for name in channel.providers[:_MAX_CLAUSES])
        parts.append(f"Provider[{named}]")
    return f"*[System[{' and '.join(parts)}]]"


def parse(event: RawEvent) -> tuple[int, Record] | None:
    """(record number, event); None for what is no event of Windows."""
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
    level = system.findtext(f"{_NS}Level", "4")
    record = Record(
        _time_ms(system.find(f"{_NS}TimeCreated")),
        (provider.get("Name") if provider is not None else None) or "Windows",
        system.findtext(f"{_NS}EventID", ""),
        _SEVERITIES.get(int(level) if level.isdecimal() else 4, Severity.INFO),
        event.message or _data(root),
        {"windows.channel": system.findtext(f"{_NS}Channel", "")},
    )
    return number, record


def _data(root: ET.Element) -> str:
    """The event's own values, when its provider's texts are missing."""
    return "; ".join(text for element in root.iter(f"{_NS}Data") if (text := (element.text or "").strip()))


def _time_ms(element: ET.Element | None) -> int | None:
    text = (element.get("SystemTime") or "") if element is not None else ""
    try:
        return round(datetime.fromisoformat(text[:26].rstrip("Z")).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        return None


if sys.platform == "win32":
    from typing import Any

    import pywintypes
    import win32evtlog

    _format: Any = win32evtlog.EvtFormatMessage  # its stub is not typed

    class SystemEventLog:
        """The real one, through the Evt* functions."""

        def query(self, channel: str, xpath: str, most: int) -> list[RawEvent]:
            try:
                result = win32evtlog.EvtQuery(
                    channel, win32evtlog.EvtQueryChannelPath | win32evtlog.EvtQueryForwardDirection, xpath
                )
                found: list[RawEvent] = []
                while len(found) < most and (
                    handles := win32evtlog.EvtNext(result, min(50, most - len(found)))
                ):
                    found += [self._render(handle) for handle in handles]
            except pywintypes.error as fault:
                raise OSError(f"event log '{channel}': {fault}") from fault
            return found

        def newest(self, channel: str) -> int:
            try:
                result = win32evtlog.EvtQuery(
                    channel, win32evtlog.EvtQueryChannelPath | win32evtlog.EvtQueryReverseDirection, "*"
                )
                handles = win32evtlog.EvtNext(result, 1)
                found = parse(self._render(handles[0])) if handles else None
            except pywintypes.error as fault:
                raise OSError(f"event log '{channel}': {fault}") from fault
            return found[0] if found else 0

        def _render(self, handle: Any) -> RawEvent:
            xml = str(win32evtlog.EvtRender(handle, win32evtlog.EvtRenderEventXml))
            return RawEvent(xml, self._message(handle, xml))

        def _message(self, handle: Any, xml: str) -> str:
            """In the system's language; empty when the provider's texts are not there."""
            provider = ET.fromstring(xml).find(f"{_NS}System/{_NS}Provider")  # noqa: S314 - from the system
            try:
                metadata = win32evtlog.EvtOpenPublisherMetadata(
                    (provider.get("Name") or "") if provider is not None else ""
                )
                return str(_format(metadata, handle, win32evtlog.EvtFormatMessageEvent)).strip()
            except pywintypes.error:
                return ""


def system_log() -> Callable[[], EventLog] | None:
    """Makes the real port; None on every other system."""
    if sys.platform == "win32":
        return SystemEventLog
    else:  # noqa: RET505 - type checkers follow the platform only through if and else
        return None
