"""The Windows Event Log: the port of agent/events/winlog.py over win32evtlog.

Pull subscriptions (with an event object that is never waited for: EvtNext is asked at each look) and strict
bookmarks: a lax one would begin after the record *next to* the missing one, and pass that over. Each handle
is closed as soon as it is done with; the text files of the last few providers stay open.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"  # read by type checkers too

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn
from xml.sax.saxutils import quoteattr

import pywintypes
import win32event
import win32evtlog

from agent.events.winlog import Cursor, Edges, NotThere, RawEvent, Stale

_BATCH = 32
_WAIT_MS = 2000
"""For the answer to a query; a subscription has it, or has nothing now."""
_PROVIDERS = 16
_MAX_MESSAGE = 16_384
_TIMEOUT = 1460
_TOO_MUCH = 1734
"""RPC_S_INVALID_BOUND: events so large that this many do not fit into one answer."""
_NOT_FOUND, _STALE, _BAD_POSITION = 1168, 15011, 15012
_SAID = {
    5: "the agent may not read it: make its account a member of Event Log Readers",
    1722: "the Windows Event Log service does not run",
    15001: "Windows does not take the query",
    15007: "there is no such channel",
}
_OPEN_CHANNEL = win32evtlog.EvtOpenChannelPath
_COUNT, _OLDEST = win32evtlog.EvtLogNumberOfLogRecords, win32evtlog.EvtLogOldestRecordNumber
_format: Any = win32evtlog.EvtFormatMessage  # its stub is not typed


class SystemEventLog:
    """The real one."""

    def __init__(self) -> None:
        self._texts = Texts()
        self._batch = _BATCH

    def edges(self, channel: str) -> Edges:
        with _asking(channel), _closing(win32evtlog.EvtOpenLog(channel, _OPEN_CHANNEL)) as log:
            # Its stub says that these two are pairs; they are (value, type) only in old versions.
            count, oldest = (_plain(win32evtlog.EvtGetLogInfo(log, key)) for key in (_COUNT, _OLDEST))
        return Edges(oldest, oldest + count - 1) if count else Edges(0, 0)

    def find(self, channel: str, query: str) -> RawEvent | None:
        flags = win32evtlog.EvtQueryChannelPath | win32evtlog.EvtQueryReverseDirection
        with _asking(channel), _closing(win32evtlog.EvtQuery(channel, flags, query)) as result:
            found = win32evtlog.EvtNext(result, 1, _WAIT_MS)
            return self._texts.render(found[0]) if found else None

    def open(self, channel: str, query: str, after: int | None) -> Cursor:
        with _asking(channel):
            signal = win32event.CreateEvent(None, True, True, None)
            if after is None:
                oldest = win32evtlog.EvtSubscribeStartAtOldestRecord
                subscription = win32evtlog.EvtSubscribe(channel, oldest, SignalEvent=signal, Query=query)
            else:
                flags = win32evtlog.EvtSubscribeStartAfterBookmark | win32evtlog.EvtSubscribeStrict
                with _closing(win32evtlog.EvtCreateBookmark(_bookmark(channel, after))) as bookmark:
                    subscription = win32evtlog.EvtSubscribe(
                        channel, flags, SignalEvent=signal, Query=query, Bookmark=bookmark
                    )
        return Subscription(channel, subscription, signal, self)

    def take(self, channel: str, subscription: Any, most: int) -> list[RawEvent]:
        """What a subscription has."""
        found: list[RawEvent] = []
        with _asking(channel):
            while len(found) < most and (
                handles := self._next(subscription, min(self._batch, most - len(found)))
            ):
                found += [self._texts.render(handle) for handle in handles]
        return found

    def _next(self, subscription: Any, most: int) -> Any:
        try:
            return win32evtlog.EvtNext(subscription, most, 0)
        except pywintypes.error as fault:
            if fault.winerror == _TIMEOUT:
                return ()
            if fault.winerror == _TOO_MUCH:
                self._batch = max(1, self._batch // 2)  # what did not fit is read anew from the bookmark
            raise


class Subscription:
    """An open one."""

    def __init__(self, channel: str, handle: Any, signal: Any, log: SystemEventLog) -> None:
        self._channel = channel
        self._handle = handle
        self._signal = signal
        self._log = log

    def take(self, most: int) -> list[RawEvent]:
        return self._log.take(self._channel, self._handle, most)

    def close(self) -> None:
        for handle in (self._handle, self._signal):
            with suppress(pywintypes.error):
                handle.Close()


class Texts:
    """Renders events; keeps the providers' text files of the last few providers open."""

    def __init__(self) -> None:
        self._open: OrderedDict[str, Any] = OrderedDict()

    def render(self, event: Any) -> RawEvent:
        """Closes the event."""
        with _closing(event):
            xml = str(win32evtlog.EvtRender(event, win32evtlog.EvtRenderEventXml))
            return RawEvent(xml, self._message(event, _provider(xml)))

    def _message(self, event: Any, provider: str) -> str:
        """In the system's language; empty when the texts are not there or lack this event."""
        try:
            metadata = self._metadata(provider)
            if metadata is None:
                return ""
            return str(_format(metadata, event, win32evtlog.EvtFormatMessageEvent))[:_MAX_MESSAGE].strip()
        except pywintypes.error:
            return ""

    def _metadata(self, provider: str) -> Any:
        if provider in self._open:
            self._open.move_to_end(provider)
            return self._open[provider]
        try:
            found = win32evtlog.EvtOpenPublisherMetadata(provider)
        except pywintypes.error:
            found = None  # kept too: it would not be found the next time either
        self._open[provider] = found
        if len(self._open) > _PROVIDERS:
            _, oldest = self._open.popitem(last=False)
            if oldest is not None:
                oldest.Close()
        return found


def _provider(xml: str) -> str:
    """Its name in the event; what is escaped in XML does not occur in names of providers."""
    _, _, rest = xml[:4000].partition("<Provider Name=")
    return rest[1:].partition(rest[0])[0] if rest else ""


def _bookmark(channel: str, number: int) -> str:
    """As EvtRender writes one."""
    one = f"<Bookmark Channel={quoteattr(channel)} RecordId='{number}' IsCurrent='true'/>"
    return f"<BookmarkList>{one}</BookmarkList>"


def _plain(found: Any) -> int:
    return int(found[0] if isinstance(found, tuple) else found)


@contextmanager
def _closing(handle: Any) -> Iterator[Any]:
    try:
        yield handle
    finally:
        handle.Close()


@contextmanager
def _asking(channel: str) -> Iterator[None]:
    """What Windows says as our own errors."""
    try:
        yield
    except pywintypes.error as fault:
        _refuse(channel, fault)


def _refuse(channel: str, fault: pywintypes.error) -> NoReturn:
    said = f"event log '{channel}': {_SAID.get(fault.winerror, fault.strerror)} ({fault.winerror})"
    if fault.winerror == _NOT_FOUND:
        raise NotThere(said) from None
    if fault.winerror in (_STALE, _BAD_POSITION):
        raise Stale(said) from None
    raise OSError(said) from None
