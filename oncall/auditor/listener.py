"""Hears the keys that are pressed on the auditor's calls: one signed route, of this process alone.

When the provider cannot reach it, the callee hears the provider's error and the call counts as heard at
most: the alarm goes on, which is the safe side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from oncall.auditor.phone import goodbye
from oncall.auditor.settings import Settings
from oncall.voice.signature import HEADER, is_signed

log = logging.getLogger(__name__)
Pressed = Callable[[str, str], Awaitable[bool]]
"""(nonce, digits) -> whether it meant something."""
MOST_BYTES = 65_536


def keys_url(s: Settings, nonce: str) -> str:
    """Where the keys of one call go; '' when nobody could reach it."""
    return f"{s.listen.public_url}/calls/{nonce}/key" if s.listen.public_url else ""


def application(s: Settings, pressed: Pressed) -> Starlette:
    """The one route."""

    async def key(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                return Response("The body is too large.", 413)
        fields = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        url = s.listen.public_url + request.url.path + (f"?{request.url.query}" if request.url.query else "")
        token = s.provider.auth_token if s.provider else ""
        if not is_signed(token, url, fields, request.headers.get(HEADER)):
            return Response("This is not signed with the provider's key.", 403)
        known = await pressed(request.path_params["nonce"], dict(fields).get("Digits", ""))
        text = "Thank you. Good bye." if known else "That means nothing here. You will be called again."
        return Response(goodbye(text), media_type="text/xml")

    async def healthy(request: Request) -> Response:
        return Response("The auditor listens.", media_type="text/plain")

    return Starlette(
        routes=[
            Route("/calls/{nonce}/key", key, methods=["POST"]),
            Route("/healthz", healthy, methods=["GET"]),
        ]
    )


async def serve(s: Settings, pressed: Pressed, stop: asyncio.Event) -> None:
    """Listen until ``stop``; at once over when no public URL is set."""
    if not s.listen.public_url:
        return
    config = uvicorn.Config(
        application(s, pressed),
        host=s.listen.host,
        port=s.listen.port,
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    try:
        door = config.bind_socket()
    except (OSError, SystemExit):
        log.critical("port %d cannot be listened on: calls are heard, nobody can confirm them", s.listen.port)
        return
    task = asyncio.create_task(server.serve(sockets=[door]))
    waiting = asyncio.create_task(stop.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    waiting.cancel()
    await task


class _Server(uvicorn.Server):
    """Signals are the program's affair."""

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:  # type: ignore[override]
        return contextlib.nullcontext()
