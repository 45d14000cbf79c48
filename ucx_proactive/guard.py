"""What stands before every request: a bounded body, a known caller, and an answer whatever happens.

``Guard`` wraps the whole application. Requests of agents go on to the thin ingest application as they are (it
reads its own bodies); all others get their caller authenticated and their body read here, before a framework
sees them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection

from collector.body import ClientGone, Message, Receive, Scope, Send, header, read_body
from collector.directory import Directory
from collector.route import IngestApp
from ucx_proactive.problems import problem_of, send_problem
from wire.problem import BadRequest, Unavailable

App = Callable[[Scope, Receive, Send], Awaitable[None]]
MAX_BODY_BYTES = 1_048_576
"""Largest body of any request but the agents', in bytes."""
BODY_DEADLINE_S = 15.0
DRAIN_BYTES = 4 * 1_048_576
DRAIN_S = 2.0


class Public:
    """The addresses that need no credential, because they tell nothing or check another proof themselves."""

    def __init__(self, paths: Collection[str], prefixes: tuple[str, ...]) -> None:
        self._paths = frozenset(paths)
        self._prefixes = prefixes

    def __contains__(self, path: str) -> bool:
        return path in self._paths or path.startswith(self._prefixes)


class Guard:
    """The outermost application."""

    def __init__(self, app: App, ingest: IngestApp | None, directory: Directory, public: Public) -> None:
        self._app = app
        self._ingest = ingest
        self._directory = directory
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await _turn_away(scope, receive, send)
            return
        watched = _Watched(receive, send, body_expected=_has_body(scope))
        try:
            await self._answer(scope, watched.receive, watched.send)
        except ClientGone:
            return
        except Exception as error:  # the last line: no exception may leave without an answer
            problem = problem_of(error)  # logs what is ours
            if not watched.started:
                await watched.drain()
                await send_problem(watched.send, problem, close=not watched.body_read)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if IngestApp.serves(path):
            if self._ingest is None:
                raise Unavailable("This process takes no batches: it was started without the role 'ingest'.")
            await self._ingest(scope, receive, send)
            return
        if "\x00" in path or b"%00" in scope["query_string"]:
            raise BadRequest("NUL characters are not allowed in an address.")
        if path not in self._public:
            principal = await self._directory.principal(header(scope, b"authorization"))
            scope.setdefault("state", {})["principal"] = principal
        body = await read_body(scope, receive, limit=MAX_BODY_BYTES, deadline_s=BODY_DEADLINE_S)
        await self._app(scope, _replay(body, receive), send)


class _Watched:
    """Notes how far a request and its answer have come."""

    def __init__(self, receive: Receive, send: Send, *, body_expected: bool) -> None:
        self._receive = receive
        self._send = send
        self.started = False
        self.body_read = not body_expected

    async def receive(self) -> Message:
        message = await self._receive()
        self.body_read = not message.get("more_body", False)  # true of a disconnect, too
        return message

    async def drain(self) -> None:
        """Read on for a moment what the client is still sending: cut off while it sends, it may never see our
        answer. What is longer or slower than that is cut off."""
        left = DRAIN_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while not self.body_read and left > 0:
                    left -= len((await self.receive()).get("body", b""))

    async def send(self, message: Message) -> None:
        self.started = True
        await self._send(message)


def _has_body(scope: Scope) -> bool:
    """Whether the request's headers announce a body."""
    chunked = header(scope, b"transfer-encoding") is not None
    return chunked or header(scope, b"content-length") not in (None, "0")


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that hands out the body that was read already, then what the server says next."""
    handed = False

    async def replay() -> Message:
        nonlocal handed
        if handed:
            return await receive()
        handed = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay


async def _turn_away(scope: Scope, receive: Receive, send: Send) -> None:
    """WebSockets are not spoken here; lifespan messages do not come (the server is told so)."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008})
