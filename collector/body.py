"""Reading a request's body without being hurt by it: bounded before allocation, with a deadline."""

from __future__ import annotations

import asyncio
import io
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import zstandard

from collector.problem import RequestTimeout, UnknownEncoding
from wire.problem import BadRequest, TooLarge

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

_ZSTD_WINDOW = 8 * 1024 * 1024  # bytes; what RFC 8878 asks every decoder to support, and all we will allocate


class ClientGone(Exception):
    """The client hung up before its body was complete: there is nobody to answer."""


def header(scope: Scope, name: bytes) -> str | None:
    """The first header of this (lower-case) name."""
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    for key, value in headers:
        if key == name:
            return value.decode("latin-1")
    return None


async def read_body(scope: Scope, receive: Receive, *, limit: int, deadline_s: float) -> bytes:
    """The whole body as sent, at most ``limit`` bytes. Raises TooLarge, RequestTimeout, ClientGone."""
    _check_declared_length(header(scope, b"content-length"), limit)
    try:
        async with asyncio.timeout(deadline_s):
            return await _gather(receive, limit)
    except TimeoutError:
        raise RequestTimeout(f"The body did not arrive within {deadline_s:g} s.") from None


def _check_declared_length(declared: str | None, limit: int) -> None:
    if declared is None:
        return
    if not (declared.isascii() and declared.isdigit()):
        raise BadRequest("Content-Length is not a number.")
    if len(declared) > 18 or int(declared) > limit:
        raise TooLarge(f"The body is longer than {limit} bytes: send less at once.")


async def _gather(receive: Receive, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part: bytes = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise TooLarge(f"The body is longer than {limit} bytes: send less at once.")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts) if len(parts) > 1 else part


def decode(body: bytes, encoding: str | None, *, limit: int) -> bytes:
    """The body's content, at most ``limit`` bytes, whatever its compression claims."""
    match (encoding or "identity").strip().lower():
        case "identity" | "":
            content = body
        case "gzip" | "x-gzip":
            content = _gunzip(body, limit)
        case "zstd":
            content = _unzstd(body, limit)
        case other:
            raise UnknownEncoding(f"Content-Encoding '{other[:40]}' is unknown: send gzip, zstd or identity.")
    if len(content) > limit:
        raise TooLarge(f"Decompressed, the body is longer than {limit} bytes: send less at once.")
    return content


def _gunzip(body: bytes, limit: int) -> bytes:
    machine = zlib.decompressobj(wbits=31)
    try:
        content = machine.decompress(body, limit + 1)
    except zlib.error as fault:
        raise BadRequest(f"The body is not gzip: {fault}") from None
    if len(content) <= limit and (not machine.eof or machine.unused_data):
        raise BadRequest("The gzip stream is cut short or followed by other bytes.")
    return content


def _unzstd(body: bytes, limit: int) -> bytes:
    try:
        declared = zstandard.frame_content_size(body)
        reader = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).stream_reader(io.BytesIO(body))
        content = reader.read(limit + 1)
    except (zstandard.ZstdError, MemoryError) as fault:
        raise BadRequest(f"The body is not zstd: {fault}") from None
    if len(content) <= limit and declared >= 0 and declared != len(content):
        raise BadRequest("The zstd frame is cut short.")
    return content
