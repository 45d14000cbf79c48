"""The short way in for batches: a request that arrived whole is taken without a framework and without a task.

A host's batch is one small request on a connection kept open. The HTTP server's general way of serving it - a
parser's callbacks, a task, an application, a future, two timers - costs more than all the rest of its commit.
So ``Door`` looks at the bytes first. A plain, whole ``POST /v1/batches`` goes straight to the queue, and its
answer is written when its commit is done; everything else is handed, byte for byte, to the general way, which
alone says no. What counts as plain is decided by ``read_plain``, strictly: doubt means the general way.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from enum import Enum
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from collector.group import too_late
from collector.route import BATCHES, IngestApp
from wire import limits
from wire.problem import Problem
from wire.receipt import Receipt

REQUEST_LINE = f"POST {BATCHES} HTTP/1.1\r\n".encode()
MOST_HEAD = 16_384
MOST_HELD = 65_536
"""A request larger than this goes the general way, whose flow control bounds it, in bytes."""
HOLD_S = 0.25
"""A request that has begun plainly is waited for this long; then the general way takes over, in seconds."""
_TOKEN = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_UNUSUAL = (b"transfer-encoding", b"expect", b"upgrade", b"trailer")


class Doubt(Enum):
    """Why a request is not read here."""

    UNUSUAL = "the general way decides"
    INCOMPLETE = "the rest may come"


class Plain(msgspec.Struct, frozen=True):
    """A whole, plain request."""

    headers: dict[bytes, bytes]
    """Names in lower case; each occurs once."""
    body: bytes


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
    return Plain(headers, data[end + 4 :])


def _headers(block: bytes) -> dict[bytes, bytes] | None:
    """None for anything that two readers could read differently."""
    lines = block.split(b"\r\n")
    if block.count(b"\n") != len(lines) - 1 or block.count(b"\r") != len(lines) - 1 or b"\0" in block:
        return None
    headers: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if not (name and colon) or name.translate(None, _TOKEN):
            return None
        headers[name.lower()] = value.strip(b" \t")
    lasting = headers.get(b"connection", b"keep-alive").lower() == b"keep-alive"
    plain = lasting and not any(name in headers for name in _UNUSUAL)
    return headers if plain and len(headers) == len(lines) else None


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
        self._door.answered(result)


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


Render = Callable[[Problem], tuple[int, dict[str, str], bytes]]
"""A problem as status, headers and body."""


class Door(HttpToolsProtocol):
    """One connection. Between requests it looks at what comes; see this module's text."""

    def __init__(self, ingest: IngestApp, deadlines: Deadlines, render: Render, **server: Any) -> None:
        super().__init__(**server)
        self._ingest = ingest
        self._deadlines = deadlines
        self._render = render
        self._held = b""
        self._hold: asyncio.TimerHandle | None = None
        self._answering = False
        self._inside = False
        self._last = False

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self._answering:
            self._held += data
            self.flow.pause_reading()
            return
        if self._inside or not (self.cycle is None or self.cycle.response_complete):
            super().data_received(data)
            return
        self._look(self._let_go() + data)

    def _look(self, data: bytes) -> None:
        request = read_plain(data)
        if request is Doubt.INCOMPLETE:
            self._held = data
            self._hold = self.loop.call_later(HOLD_S, self._give_up)
        elif not isinstance(request, Plain) or not self._take(request):
            super().data_received(data)

    def _take(self, request: Plain) -> bool:
        waiting = Waiting(self)
        self._answering = self._ingest.quick(request.headers, request.body, waiting)
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
        if self.transport.is_closing():
            return
        self.transport.write(self._response(result))
        self.server_state.total_requests += 1
        if self._last:
            self.transport.close()
            return
        self.flow.resume_reading()
        if held := self._let_go():
            self.data_received(held)
            return
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def _response(self, result: Receipt | Problem) -> bytes:
        if isinstance(result, Problem):
            status, headers, body = self._render(result)
        else:
            status, headers, body = 200, {"content-type": "application/json"}, msgspec.json.encode(result)
        lines = [b"HTTP/1.1 %d %s" % (status, b"OK" if status == 200 else b"Problem")]
        lines += [name + b": " + value for name, value in self.server_state.default_headers]
        lines += [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
        lines += [b"content-length: %d" % len(body), b"", body]
        return b"\r\n".join(lines)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone. A batch that was taken stays taken: its next try finds it in the ledger."""
        self._let_go()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """The server stops: what was taken is answered first."""
        self._last = True
        if not self._answering:
            super().shutdown()

    def on_message_begin(self) -> None:
        """A request has begun on the general way: until its end, nothing else begins."""
        self._inside = True
        super().on_message_begin()

    def on_message_complete(self) -> None:
        """Its end."""
        self._inside = False
        super().on_message_complete()


def doors(ingest: IngestApp, render: Render, deadline_s: float) -> Callable[..., Door]:
    """What the server calls for each connection."""
    deadlines = Deadlines(deadline_s)
    return lambda **server: Door(ingest, deadlines, render, **server)
