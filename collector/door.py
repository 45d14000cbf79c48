"""The short way in for batches: a request that arrived whole is taken without a framework and without a task.

A host's batch is one small request on a connection kept open. The HTTP server's general way of serving it - a
parser's callbacks, a task, an application, a future, two timers - costs more than all the rest of its commit.
So ``Door`` looks at the bytes first. A plain, whole ``POST /v1/batches`` goes straight to the queue, and its
answer is written when its commit is done; everything else is handed, byte for byte, to the general way, which
alone says no. What counts as plain is decided by ``read_plain``, strictly: doubt means the general way.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from collector.group import too_late
from collector.route import BATCHES, SENT_AT_DIGITS, IngestApp, Plain
from wire import limits
from wire.problem import Problem
from wire.receipt import Receipt

log = logging.getLogger(__name__)

REQUEST_LINE = f"POST {BATCHES} HTTP/1.1\r\n".encode()
MOST_HEAD = 16_384
MOST_HELD = 65_536
"""A request larger than this goes the general way, whose flow control bounds it, in bytes."""
HOLD_S = 0.25
"""A request that has begun plainly is waited for this long; then the general way takes over, in seconds."""
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_UNUSUAL = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"trailer"))
_NAMES_KNOWN = 1_000
_names: dict[bytes, bytes] = {}
"""Header names as sent -> in lower case: agents send the same ones again and again."""


class Doubt(Enum):
    """Why a request is not read here."""

    UNUSUAL = "the general way decides"
    INCOMPLETE = "the rest may come"


def read_plain(data: bytes) -> Plain | Doubt:
    """The request that ``data`` is, when it is exactly one, whole, without anything unusual."""
    if not data.startswith(REQUEST_LINE):
        return Doubt.UNUSUAL
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return Doubt.INCOMPLETE if len(data) < MOST_HEAD else Doubt.UNUSUAL
    headers = _headers(data[len(REQUEST_LINE) : end])
    length = headers.get(b"content-length", b"") if headers else b""
    if headers is None or not (length.isdigit() and len(length) < 8):
        return Doubt.UNUSUAL
    whole = end + 4 + int(length)
    if int(length) > limits.MAX_REQUEST_BYTES or len(data) > whole:
        return Doubt.UNUSUAL
    if len(data) < whole:
        return Doubt.INCOMPLETE if whole <= MOST_HELD else Doubt.UNUSUAL
    return _plain(headers, data[end + 4 :])


def _plain(headers: dict[bytes, bytes], body: bytes) -> Plain:
    return Plain(
        headers.get(b"authorization", b""),
        headers.get(b"content-encoding", b"identity").decode("latin-1"),
        headers.get(b"ucx-sent-at", b"").decode("latin-1") or None,
        body,
    )


class Habit:
    """The head of a connection's last request: the next one's differs in two numbers, if at all.

    What is equal byte by byte was read already. The numbers are digits alone: nothing else fits in."""

    __slots__ = ("_authorization", "_before", "_between", "_encoding", "_end", "_first", "_second")

    def __init__(self, before: bytes, between: bytes, end: bytes, last: Plain) -> None:
        self._before = before
        self._between = between
        self._end = end
        self._first = len(before)
        self._second = len(before) + SENT_AT_DIGITS + len(between)
        self._authorization = last.authorization
        self._encoding = last.encoding

    @classmethod
    def of(cls, data: bytes, last: Plain) -> Habit | None:
        """Of a request that was read; None when it is not written as our agents write theirs."""
        sent_at, length = (last.sent_at or "").encode("latin-1"), str(len(last.body)).encode()
        head = data[: len(data) - len(last.body)]
        before, name, rest = head.partition(b"\r\nUCX-Sent-At: " + sent_at + b"\r\n")
        between, other, end = rest.partition(b"Content-Length: " + length + b"\r\n")
        at_line_start = not between or between.endswith(b"\r\n")
        if len(sent_at) != SENT_AT_DIGITS or not (name and other and at_line_start):
            return None
        lead, trail = before + name[: -SENT_AT_DIGITS - 2], b"\r\n" + end
        return cls(lead, b"\r\n" + between + other[:16], trail, last)

    def read(self, data: bytes) -> Plain | None:
        """The request that ``data`` is, when it is whole and like the last one."""
        first, second, end = self._first, self._second, self._end
        third = data.find(b"\r", second, second + 8)
        if not (data.startswith(self._before) and data.startswith(self._between, first + SENT_AT_DIGITS)):
            return None
        if not (third > second and data.startswith(end, third)):
            return None
        sent_at, length, body = data[first : first + SENT_AT_DIGITS], data[second:third], third + len(end)
        if not (sent_at.isdigit() and length.isdigit()):
            return None
        if not len(data) - body == int(length) <= limits.MAX_REQUEST_BYTES:
            return None
        return Plain(self._authorization, self._encoding, sent_at.decode("ascii"), data[body:])


def _headers(block: bytes) -> dict[bytes, bytes] | None:
    """None for anything that two readers could read differently."""
    lines = block.split(b"\r\n")
    ends = len(lines) - 1
    if block.count(b"\n") != ends or block.count(b"\r") != ends or b"\0" in block:
        return None
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        known = _names.get(name) or _name(name)
        if not (known and colon):
            return None
        headers[known] = value.strip(b" \t")
    lasting = headers.get(b"connection", b"keep-alive").lower() == b"keep-alive"
    plain = lasting and headers.keys().isdisjoint(_UNUSUAL)
    return headers if plain and len(headers) == len(lines) else None


def _name(name: bytes) -> bytes | None:
    """A header's name in lower case; None when it is none."""
    if not name or name.translate(None, _TOKEN):
        return None
    if len(_names) >= _NAMES_KNOWN:
        _names.clear()
    return _names.setdefault(name, name.lower())


class Waiting:
    """One batch whose answer is written to its connection."""

    __slots__ = ("_answered", "_door", "since")

    def __init__(self, door: Door) -> None:
        self._door = door
        self._answered = False
        self.since = time.monotonic()

    def done(self) -> bool:
        """See ``collector.pending.Answer``."""
        return self._answered

    def set_result(self, result: Receipt | Problem, /) -> None:
        """See ``collector.pending.Answer``."""
        self._answered = True
        try:
            self._door.answered(result)
        except Exception:
            log.exception("an answer could not be given; the agent asks again and the ledger knows its batch")
            self._door.tear()


class Deadlines:
    """Answers what has waited for too long: one timer for all connections, none per request."""

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._waiting: deque[Waiting] = deque()
        self._ticking = False

    def watch(self, waiting: Waiting) -> None:
        """See to it that ``waiting`` is answered in time."""
        self._waiting.append(waiting)
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(1.0, self._tick)

    def _tick(self) -> None:
        now = time.monotonic()
        while self._waiting and (self._waiting[0].done() or now - self._waiting[0].since > self._deadline_s):
            oldest = self._waiting.popleft()
            if not oldest.done():
                oldest.set_result(too_late())
        self._ticking = bool(self._waiting)
        if self._ticking:
            asyncio.get_running_loop().call_later(1.0, self._tick)


class Common:
    """The header lines of every answer, put together once for each second's date."""

    def __init__(self) -> None:
        self._headers: list[tuple[bytes, bytes]] = []
        self._text = b""

    def text(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """The lines of ``headers``: the server makes a new list when one of them changes."""
        if headers is not self._headers:
            self._headers = headers
            self._text = b"".join([name + b": " + value + b"\r\n" for name, value in headers])
        return self._text


class Idle:
    """Hangs up when nothing came for long, or not so much as a request's head: one timer for all connections,
    none per request."""

    def __init__(self) -> None:
        self._since: dict[Door, float] = {}
        """In the order in which their time ends: all have the same."""
        self._ticking = False

    def add(self, door: Door) -> None:
        """``door`` waits for its client from now on."""
        self._since[door] = time.monotonic()
        if not self._ticking:
            self._ticking = True
            asyncio.get_running_loop().call_later(1.0, self._tick)

    def drop(self, door: Door) -> None:
        """Something came, or the client is gone."""
        self._since.pop(door, None)

    def _tick(self) -> None:
        now = time.monotonic()
        while self._since:
            door, since = next(iter(self._since.items()))
            if now - since < door.timeout_keep_alive:
                break
            del self._since[door]
            door.timeout_keep_alive_handler()
        self._ticking = bool(self._since)
        if self._ticking:
            asyncio.get_running_loop().call_later(1.0, self._tick)


Render = Callable[[Problem], tuple[int, dict[str, str], bytes]]
"""A problem as status, headers and body."""


class Door(HttpToolsProtocol):
    """One connection. Between requests it looks at what comes; see this module's text."""

    def __init__(
        self,
        ingest: IngestApp,
        deadlines: Deadlines,
        render: Render,
        common: Common,
        idle: Idle,
        **server: Any,
    ) -> None:
        super().__init__(**server)
        self._common = common
        self._idle = idle
        self._ingest = ingest
        self._deadlines = deadlines
        self._render = render
        self._habit: Habit | None = None
        self._held = b""
        self._hold: asyncio.TimerHandle | None = None
        self._answering = False
        self._inside = False
        self._last = False
        self._unread = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        """Somebody has come, and says nothing as yet."""
        super().connection_made(transport)
        self._idle.add(self)

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._answering:
            self._held += data
            self.flow.pause_reading()
            return
        if self._inside or not (self.cycle is None or self.cycle.response_complete):
            super().data_received(data)
            return
        self._idle.drop(self)
        self._look(self._held + data if self._held else data)

    def _look(self, data: bytes) -> None:
        request = (self._habit and self._habit.read(data)) or self._read(data)
        if request is Doubt.INCOMPLETE:
            self._held = data
            if self._hold is None:  # from its beginning: else a byte now and then is waited for, ever
                self._hold = self.loop.call_later(HOLD_S, self._give_up)
            return
        if self._held:
            self._let_go()
        if not isinstance(request, Plain) or not self._take(request):
            super().data_received(data)

    def _read(self, data: bytes) -> Plain | Doubt:
        request = read_plain(data)
        if isinstance(request, Plain):
            self._habit = Habit.of(data, request)
        return request

    def _take(self, request: Plain) -> bool:
        waiting = Waiting(self)
        self._answering = self._ingest.quick(request, waiting)
        if self._answering:
            self._unset_keepalive_if_required()
            self._deadlines.watch(waiting)
        return self._answering

    def _let_go(self) -> bytes:
        held, self._held = self._held, b""
        if self._hold is not None:
            self._hold.cancel()
            self._hold = None
        return held

    def _give_up(self) -> None:
        """The rest did not come: a slow sender is the general way's business."""
        held = self._let_go()
        if not self.transport.is_closing():
            super().data_received(held)

    def answered(self, result: Receipt | Problem) -> None:
        """Write the answer, and go on with what came meanwhile."""
        self._answering = False
        if isinstance(result, Problem):
            self._ingest.turned_away(result.kind)
        if self.transport.is_closing():
            return
        self.transport.write(self._response(result))
        self.server_state.total_requests += 1
        if self._last:
            self.transport.close()
        elif self.flow.write_paused:  # answers that are not fetched would fill the memory
            self._unread = True
            self.flow.pause_reading()
            self._idle.add(self)
        else:
            self._go_on()

    def _go_on(self) -> None:
        self.flow.resume_reading()
        if self._held:
            self.data_received(self._let_go())
            return
        self._idle.add(self)

    def resume_writing(self) -> None:
        """The client has fetched its answers."""
        super().resume_writing()
        if self._unread and not self.transport.is_closing():
            self._unread = False
            self._idle.drop(self)
            self._go_on()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing came for long. Who does not fetch its answers would not see the end of them either."""
        if self._unread:
            self.transport.abort()
        else:
            super().timeout_keep_alive_handler()

    def tear(self) -> None:
        """Close a connection that cannot be answered: its client is to see that, not silence."""
        self._ingest.turned_away("unanswered")
        self.transport.abort()

    def _response(self, result: Receipt | Problem) -> bytes:
        common = self._common.text(self.server_state.default_headers)
        if isinstance(result, Receipt):
            body = msgspec.json.encode(result)
            return b"HTTP/1.1 200 OK\r\n%scontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (
                common,
                len(body),
                body,
            )
        status, headers, body = self._render(result)
        own = "".join([f"{name}: {value}\r\n" for name, value in headers.items()]).encode("latin-1")
        return b"HTTP/1.1 %d Problem\r\n%s%scontent-length: %d\r\n\r\n%s" % (
            status,
            common,
            own,
            len(body),
            body,
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone. A batch that was taken stays taken: its next try finds it in the ledger."""
        self._let_go()
        self._idle.drop(self)
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: what was taken is answered first."""
        self._last = True
        if not self._answering:
            super().shutdown()

    def on_message_begin(self) -> None:
        """A request has begun on the general way: until its end, nothing else begins. Its head is not waited
        for longer than for a request; its body is waited for by who reads it."""
        self._inside = True
        self._idle.add(self)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its head is whole."""
        self._idle.drop(self)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Its end."""
        self._inside = False
        super().on_message_complete()


def doors(ingest: IngestApp, render: Render, deadline_s: float) -> Callable[..., Door]:
    """What the server calls for each connection."""
    deadlines, common, idle = Deadlines(deadline_s), Common(), Idle()
    return lambda **server: Door(ingest, deadlines, render, common, idle, **server)
