"""Bodies: bounded before allocation, whatever their headers or their compression claim."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from collector.body import ClientGone, Message, Scope, decode, read_body
from collector.problem import RequestTimeout, UnknownEncoding
from wire.problem import BadRequest, Problem, TooLarge

LIMIT = 100_000


def scope(**headers: str) -> Scope:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return {"type": "http", "headers": raw}


async def read(messages: list[Message], limit: int = LIMIT, deadline_s: float = 5, **headers: str) -> bytes:
    waiting = iter(messages)

    async def receive() -> Message:
        for message in waiting:
            return message
        await asyncio.sleep(3600)
        raise AssertionError

    return await read_body(scope(**headers), receive, limit=limit, deadline_s=deadline_s)


def part(body: bytes, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_the_parts_are_put_together() -> None:
    """A body may come in any number of parts."""
    assert await read([part(b"ab", True), part(b"", True), part(b"cd")]) == b"abcd"


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    """413 without taking a single part."""
    with pytest.raises(TooLarge):
        await read([], content_length=str(LIMIT + 1))
    with pytest.raises(TooLarge):
        await read([], content_length="9" * 5000)


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "٣"])
async def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    """400, not an exception of the conversion."""
    with pytest.raises(BadRequest):
        await read([], content_length=length)


async def test_a_body_longer_than_declared_is_cut_at_the_limit() -> None:
    """Content-Length lies: the count of what came decides."""
    with pytest.raises(TooLarge):
        await read([part(b"x" * 60_000, True)] * 3, content_length="10")


async def test_a_body_that_drips_is_cut_off() -> None:
    """A body that does not end within its time costs one waiting task, then 408."""
    with pytest.raises(RequestTimeout):
        await read([part(b"x", True)], deadline_s=0.05)


async def test_a_client_that_hangs_up_is_nobody_to_answer() -> None:
    """The disconnect ends the reading."""
    with pytest.raises(ClientGone):
        await read([part(b"x", True), {"type": "http.disconnect"}])


@pytest.mark.parametrize(
    ("encoding", "bomb"),
    [
        ("gzip", gzip.compress(b"\0" * 200_000_000)),
        ("zstd", zstandard.ZstdCompressor().compress(b"\0" * 200_000_000)),
        ("zstd", zstandard.ZstdCompressor(write_content_size=False).compress(b"\0" * 200_000_000)),
    ],
)
def test_a_bomb_is_refused_in_little_memory(encoding: str, bomb: bytes) -> None:
    """200 MB of zeros in a small body: refused after the limit, without allocating what it claims."""
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            decode(bomb, encoding, limit=LIMIT)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20 * LIMIT


def test_a_window_larger_than_we_allow_is_refused() -> None:
    """A zstd frame that asks for a 128 MB window gets none."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    packed = zstandard.ZstdCompressor(compression_params=parameters)
    machine = packed.compressobj()
    frame = machine.compress(b"x" * 10) + machine.flush()
    with pytest.raises(BadRequest):
        decode(frame, "zstd", limit=LIMIT)


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "é"])
def test_an_unknown_encoding_is_named(encoding: str) -> None:
    """415 says what we speak."""
    with pytest.raises(UnknownEncoding, match="gzip, zstd or identity"):
        decode(b"", encoding, limit=LIMIT)


@pytest.mark.parametrize(
    "tail", [b"", b"x", gzip.compress(b"second", mtime=0)], ids=["nothing", "a byte", "a second member"]
)
def test_gzip_must_end_where_the_body_ends(tail: bytes) -> None:
    """Cut short, or followed by anything: refused."""
    whole = gzip.compress(b"content")
    broken = whole + tail if tail else whole[:-3]
    with pytest.raises(BadRequest):
        decode(broken, "gzip", limit=LIMIT)


@given(st.binary(max_size=2000))
def test_content_survives_each_encoding(content: bytes) -> None:
    """What was compressed comes back."""
    assert decode(content, None, limit=LIMIT) == content
    assert decode(gzip.compress(content), "GZIP", limit=LIMIT) == content
    assert decode(zstandard.compress(content), "zstd", limit=LIMIT) == content


@given(st.binary(max_size=300), st.sampled_from(["gzip", "zstd"]))
def test_any_bytes_are_content_or_a_refusal(body: bytes, encoding: str) -> None:
    """Garbage is a problem for the sender, not an exception for us."""
    for candidate in (body, zlib.compress(body, wbits=31)[:-4] + body, zstandard.compress(body)[:-2] + body):
        assert outcome(candidate, encoding) in (200, 400, 413)


def outcome(body: bytes, encoding: str) -> int:
    """200 for content within the limit, else the refusal's status."""
    try:
        content = decode(body, encoding, limit=LIMIT)
    except Problem as problem:
        return problem.status
    return 200 if len(content) <= LIMIT else 0
