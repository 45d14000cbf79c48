"""The event log as win32evtlog shows it: channels that are written, rotate, are cleared and die."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, quoteattr

from tests.agent.windows.world import Handle, WinError, World

CONSTANTS = {
    "EvtOpenChannelPath": 1,
    "EvtOpenFilePath": 2,
    "EvtQueryChannelPath": 0x1,
    "EvtQueryFilePath": 0x2,
    "EvtQueryForwardDirection": 0x100,
    "EvtQueryReverseDirection": 0x200,
    "EvtSubscribeToFutureEvents": 1,
    "EvtSubscribeStartAtOldestRecord": 2,
    "EvtSubscribeStartAfterBookmark": 3,
    "EvtSubscribeStrict": 0x10000,
    "EvtRenderEventValues": 0,
    "EvtRenderEventXml": 1,
    "EvtRenderBookmark": 2,
    "EvtFormatMessageEvent": 1,
    "EvtLogNumberOfLogRecords": 5,
    "EvtLogOldestRecordNumber": 6,
}
_MOST_EXPRESSIONS = 23
_TERM = re.compile(r"(EventRecordID|EventID|Level)(>|=)(\d+)|@Name='([^']*)'")
_START = datetime(2026, 11, 23, 5, 40, tzinfo=UTC)


class Entry(NamedTuple):
    """One record."""

    number: int
    time: str
    event_id: int
    level: int
    provider: str
    text: str

    def xml(self, channel: str) -> str:
        return (
            "<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System>"
            f"<Provider Name={quoteattr(self.provider)} Guid='{{555908d1-a6d7-4695-8e1e-26931d2012f4}}'/>"
            f"<EventID Qualifiers='49152'>{self.event_id}</EventID><Level>{self.level}</Level>"
            f"<TimeCreated SystemTime='{self.time}'/>"
            f"<EventRecordID>{self.number}</EventRecordID><Channel>{escape(channel)}</Channel>"
            f"</System><EventData><Data>{escape(self.text)}</Data></EventData></Event>"
        )


class Channel:
    """One log."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.number = 0
        self.generation = 0
        """Counts clearings: what was asked before one is stale."""
        self._ticks = 0

    def write(
        self, event_id: int, text: str = "", *, level: int = 2, provider: str = "Service Control Manager"
    ) -> int:
        self.number += 1
        self._ticks += 1
        time = (_START + timedelta(seconds=self._ticks)).strftime("%Y-%m-%dT%H:%M:%S.0000001Z")
        self.entries.append(Entry(self.number, time, event_id, level, provider, text))
        return self.number

    def rotate(self, keep: int) -> None:
        """The oldest are overwritten."""
        self.entries = self.entries[-keep:] if keep else []

    def clear(self, *, anew: bool = True) -> None:
        self.entries = []
        self.generation += 1
        self.number = 0 if anew else self.number


class EvtLog:
    """win32evtlog, and what of win32event it needs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.channels = {"System": Channel(), "Application": Channel()}
        self.texts = {"Service Control Manager": "The {} service terminated unexpectedly."}
        """What providers' text files say; a provider without one has no metadata."""
        self.forbidden: set[str] = set()
        self.down = False
        self.fits = 1000
        """Events that go into one answer."""
        self.deaf = False
        """Open subscriptions say nothing any more (and no error either)."""
        self.bookmark_must_match = False
        """Whether a strict bookmark counts as found only when its record matches the query."""
        names = (
            *("EvtOpenLog", "EvtGetLogInfo", "EvtQuery", "EvtNext", "EvtRender", "EvtFormatMessage"),
            *("EvtOpenPublisherMetadata", "EvtSubscribe", "EvtCreateBookmark"),
        )
        world.module("win32evtlog", error=WinError, **CONSTANTS, **{n: getattr(self, n) for n in names})
        world.module("win32event", CreateEvent=self.CreateEvent)

    def _channel(self, name: str, function: str) -> Channel:
        assert isinstance(name, str)
        if self.down:
            raise WinError(1722, function, "The RPC server is unavailable.")
        if name not in self.channels:
            raise WinError(15007, function, "The specified channel could not be found.")
        if name in self.forbidden:
            raise WinError(5, function, "Access is denied.")
        return self.channels[name]

    def CreateEvent(self, attributes: Any, manual: bool, initial: bool, name: str | None) -> Handle:
        assert attributes is None
        assert name is None
        return Handle(self.world, "event")

    def EvtOpenLog(self, Path: str, Flags: int) -> Handle:
        assert Flags == 1
        return Handle(self.world, "log", channel=self._channel(Path, "EvtOpenLog"))

    def EvtGetLogInfo(self, Log: Handle, PropertyId: int) -> int:
        channel: Channel = Log.use("log")["channel"]
        assert PropertyId in (5, 6)
        if PropertyId == 5:
            return len(channel.entries)
        return channel.entries[0].number if channel.entries else 0

    def EvtQuery(self, Path: str, Flags: int, Query: str | None = None) -> Handle:
        channel = self._channel(Path, "EvtQuery")
        assert Flags & 0x3 == 1, "a channel, no file"
        assert Flags & 0x300 in (0x100, 0x200), "one direction"
        assert Flags & ~0x1303 == 0
        chosen = [e for e in channel.entries if selects(Query, e)]
        if Flags & 0x200:
            chosen.reverse()
        return Handle(self.world, "query", name=Path, left=chosen, channel=channel, since=channel.generation)

    def EvtSubscribe(
        self,
        ChannelPath: str,
        Flags: int,
        SignalEvent: Handle | None = None,
        Callback: Any = None,
        Context: Any = None,
        Query: str | None = None,
        Session: Any = None,
        Bookmark: Handle | None = None,
    ) -> Handle:
        channel = self._channel(ChannelPath, "EvtSubscribe")
        origin, strict = Flags & 0x3, bool(Flags & 0x10000)
        assert Flags & ~0x11003 == 0, "no such flag"
        assert origin, "one of the three beginnings"
        assert (SignalEvent is None) != (Callback is None), "an event object or a callback, not both"
        assert (Bookmark is not None) == (origin == 3), "a bookmark, if the subscription begins after one"
        assert not strict or origin == 3
        if SignalEvent is not None:
            SignalEvent.use("event")
        selects(Query, Entry(1, "", 1, 1, "", ""))
        after = 0 if origin == 2 else channel.number
        if Bookmark is not None:
            after = self._bookmarked(channel, Query, Bookmark.use("bookmark"), ChannelPath, strict=strict)
        content = {
            "name": ChannelPath,
            "after": after,
            "query": Query,
            "since": channel.generation,
            "strict": strict,
        }
        return Handle(self.world, "subscription", channel=channel, **content)

    def _bookmarked(
        self, channel: Channel, query: str | None, bookmark: dict[str, Any], name: str, *, strict: bool
    ) -> int:
        assert bookmark["channel"] == name
        number: int = bookmark["number"]
        there = [e for e in channel.entries if not self.bookmark_must_match or selects(query, e)]
        if any(e.number == number for e in there):
            return number
        if strict:
            raise WinError(1168, "EvtSubscribe", "Element not found.")
        # As documented: it begins after the closest one, which is passed over.
        return min((e.number for e in there), key=lambda n: abs(n - number), default=0)

    def EvtCreateBookmark(self, BookmarkXML: str | None = None) -> Handle:
        assert BookmarkXML is not None
        root = ET.fromstring(BookmarkXML)
        assert root.tag == "BookmarkList"
        (one,) = root
        assert one.get("IsCurrent") == "true"
        return Handle(self.world, "bookmark", channel=one.get("Channel"), number=int(one.get("RecordId", "")))

    def EvtNext(self, ResultSet: Handle, Count: int, Timeout: int = -1, Flags: int = 0) -> tuple[Handle, ...]:
        assert Flags == 0
        assert Count > 0
        assert Timeout != -1, "waiting for ever would hang the check"
        assert ResultSet.kind == "query" or Timeout == 0, "a look at a subscription must not wait for events"
        content = ResultSet.content
        assert ResultSet.open, "a closed result set was used"
        self._channel(content["name"], "EvtNext")
        channel: Channel = content["channel"]
        if channel.generation != content["since"]:
            raise WinError(15011, "EvtNext", "The query result is stale.")
        found = self._due(ResultSet, channel)[:Count]
        if len(found) > self.fits:
            raise WinError(1734, "EvtNext", "The array bounds are invalid.")
        if ResultSet.kind == "query":
            content["left"] = content["left"][Count:]
        elif found:
            content["after"] = found[-1].number
        return tuple(Handle(self.world, "entry", entry=e, name=content["name"]) for e in found)

    def _due(self, result: Handle, channel: Channel) -> list[Entry]:
        content = result.content
        if result.kind == "query":
            left: list[Entry] = content["left"]
            return left
        assert result.kind == "subscription"
        if self.deaf:
            return []
        if content["strict"] and channel.entries and channel.entries[0].number > content["after"] + 1:
            raise WinError(15011, "EvtNext", "The query result is stale.")
        return [e for e in channel.entries if e.number > content["after"] and selects(content["query"], e)]

    def EvtRender(self, Event: Handle, Flags: int) -> str:
        assert Flags == 1
        content = Event.use("entry")
        return str(content["entry"].xml(content["name"]))

    def EvtOpenPublisherMetadata(self, PublisherIdentity: str) -> Handle:
        assert isinstance(PublisherIdentity, str)
        if PublisherIdentity not in self.texts:
            raise WinError(15002, "EvtOpenPublisherMetadata", "The publisher metadata cannot be found.")
        return Handle(self.world, "metadata", text=self.texts[PublisherIdentity])

    def EvtFormatMessage(self, Metadata: Handle, Event: Handle, Flags: int) -> str:
        assert Flags == 1
        text: str = Metadata.use("metadata")["text"]
        entry: Entry = Event.use("entry")["entry"]
        if entry.event_id == 9999:
            raise WinError(
                15028, "EvtFormatMessage", "The message id for the desired message could not be found."
            )
        return text.format(entry.text)


def selects(query: str | None, entry: Entry) -> bool:
    """Whether an XPath of the form that we write selects a record; what Windows refuses is 15001."""
    if query in (None, "*"):
        return True
    assert query is not None
    found = re.fullmatch(r"\*\[System\[(.+)\]\]", query)
    if found is None or len(_TERM.findall(query)) > _MOST_EXPRESSIONS:
        raise WinError(15001, "EvtQuery", "The specified query is invalid.")
    for part in re.split(r" and (?![^(\[]*[)\]])", found[1]):
        inner = re.fullmatch(r"\((.+)\)|Provider\[(.+)\]|(.+)", part)
        assert inner is not None
        terms = (inner[1] or inner[2] or inner[3]).split(" or ")
        if not any(_holds(term, entry, in_provider=bool(inner[2])) for term in terms):
            return False
    return True


def _holds(term: str, entry: Entry, *, in_provider: bool) -> bool:
    found = _TERM.fullmatch(term)
    if found is None or bool(found[4] is not None) != in_provider:
        raise WinError(15001, "EvtQuery", "The specified query is invalid.")
    if in_provider:
        return found[4] == entry.provider
    value = {"EventRecordID": entry.number, "EventID": entry.event_id, "Level": entry.level}[found[1]]
    return value > int(found[3]) if found[2] == ">" else value == int(found[3])
