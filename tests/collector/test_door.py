"""The short way in: what it takes, and that everything else goes the general way."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.commit import IngestCommit
from collector.door import REQUEST_LINE, Door, Doubt, Habit, read_plain
from collector.route import Plain
from tests.collector.kit import Front, frames, running
from ucx_proactive import serve
from wire.problem import Problem
from wire.receipt import Receipt

PLAIN = REQUEST_LINE + b"Host: x\r\nAuthorization: Bearer t\r\nContent-Length: 3\r\n\r\nabc"


def test_a_whole_plain_request_is_read():
    """Names are lower-cased, values stripped, the body is what the length says."""
    found = read_plain(PLAIN)
    assert isinstance(found, Plain)
    assert found == Plain(b"Bearer t", "identity", None, b"abc")


@pytest.mark.parametrize(
    "headers",
    [
        b"Transfer-Encoding: chunked",
        b"transfer-encoding : chunked",
        b"Content-Length: 3",
        b" Folded: line",
        b"Expect: 100-continue",
        b"Connection: close",
        b"Upgrade: h2c",
        b"No colon",
        b": no name",
        b"Bare: line\nfeed: x",
        b"Bare: carriage\rreturn",
        b"Nul: \0",
    ],
)
def test_what_two_readers_could_read_differently_is_not_read_here(headers: bytes):
    """A second length, a folded line, a stray line end: the server's own parser decides."""
    assert read_plain(PLAIN.replace(b"Host: x", b"Host: x\r\n" + headers)) is Doubt.UNUSUAL


def test_more_than_one_request_is_not_read_here():
    """Bytes after the body belong to another request."""
    assert read_plain(PLAIN + b"G") is Doubt.UNUSUAL


@given(st.integers(0, len(PLAIN) - 1))
def test_a_part_of_a_request_is_waited_for_or_handed_on(cut: int):
    """A prefix is never taken for a whole."""
    assert not isinstance(read_plain(PLAIN[:cut]), Plain)


@given(st.binary(max_size=200), st.binary(max_size=50))
def test_whatever_comes_is_judged(head: bytes, body: bytes):
    """No bytes raise, and what is read has the length that it says."""
    data = REQUEST_LINE + head + b"\r\n\r\n" + body
    found = read_plain(data)
    if isinstance(found, Plain):
        lengths = re.findall(rb"(?i)\r\ncontent-length:[ \t]*(\d+)[ \t]*(?=\r\n)", data)
        assert [int(length) for length in lengths] == [len(found.body)]
        assert data.endswith(b"\r\n\r\n" + found.body)


@given(st.binary(max_size=50), st.integers(0, 60))
def test_a_request_of_another_length_is_never_read(body: bytes, length: int):
    """Bytes are missing, or there are more: not one whole request."""
    data = REQUEST_LINE + b"Authorization: Bearer t\r\nContent-Length: %d\r\n\r\n" % length + body
    assert isinstance(read_plain(data), Plain) is (len(body) == length)


AGENTS = (
    REQUEST_LINE + b"User-Agent: ucx-agent/1\r\nHost: x\r\nContent-Type: application/vnd.msgpack\r\n"
    b"UCX-Sent-At: %d\r\nAuthorization: Bearer t\r\nContent-Length: %d\r\n\r\n%s"
)


def _habit(data: bytes) -> Habit | None:
    first = read_plain(data)
    assert isinstance(first, Plain)
    return Habit.of(data, first)


@given(st.integers(1_500_000_000_000, 1_900_000_000_000), st.binary(max_size=300))
def test_a_habit_reads_what_the_reader_reads(sent_at: int, body: bytes):
    """The next request of a connection, with other numbers: both readers see the same headers and body."""
    habit = _habit(AGENTS % (1_767_225_600_000, 3, b"abc"))
    assert habit is not None
    data = AGENTS % (sent_at, len(body), body)
    assert habit.read(data) == read_plain(data)


@given(st.data())
def test_a_habit_never_reads_what_the_reader_does_not(data: st.DataObject):
    """A request changed anywhere: whatever the habit still reads, the reader reads alike."""
    habit = _habit(AGENTS % (1_767_225_600_000, 3, b"abc"))
    assert habit is not None
    request = bytearray(AGENTS % (1_767_225_600_123, 5, b"abcde"))
    start = data.draw(st.integers(0, len(request) - 1))
    length = data.draw(st.integers(0, 20))
    request[start : start + length] = data.draw(
        st.binary(max_size=20) | st.sampled_from([b"\r\n", b"1", b"\r\nA: b"])
    )
    found = habit.read(bytes(request))
    assert found is None or found == read_plain(bytes(request))


@pytest.mark.parametrize(
    "head",
    [
        b"Host: x\r\nContent-Length: 3\r\n",
        b"UCX-Sent-At: 12\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nUCX-Sent-At: 1767225600000\r\n",
        b"UCX-Sent-At: 1767225600000\r\nX-Content-Length: 3\r\ncontent-length: 3\r\n",
    ],
)
def test_a_head_written_otherwise_makes_no_habit(head: bytes):
    """Another order, other names: every request is read anew."""
    assert _habit(REQUEST_LINE + head + b"\r\nabc") is None


@pytest.mark.parametrize(
    ("sent_at", "length"),
    [
        (b"1\r\nUpgrade: h2", b"3"),
        (b"1767225600000", b"+3"),
        (b"1767225600000", b"0_3"),
        (b"1767225600000", b"-3"),
        (b"1767225600000", b"00000003"),
        (b"1767225600000", b""),
        (b"17672256000000", b"3"),
    ],
)
def test_nothing_but_digits_fits_in_where_a_number_stood(sent_at: bytes, length: bytes):
    """A line smuggled in, a number in another style: not for the habit.

    Broken twin, tried: without its checks for digits it reads the first three."""
    habit = _habit(AGENTS % (1_767_225_600_000, 3, b"abc"))
    assert habit is not None
    data = AGENTS % (1_767_225_600_000, 3, b"abc")
    data = data.replace(b"At: 1767225600000", b"At: " + sent_at).replace(b"Length: 3", b"Length: " + length)
    assert habit.read(data) is None


async def test_an_idle_connection_is_hung_up_and_a_busy_one_is_not(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """After the server's keep-alive time; each answer starts it anew.

    Broken twin, tried: a list that keeps the time of a connection's first answer cuts it off at work."""
    monkeypatch.setattr(serve, "KEEP_ALIVE_S", 1)
    async with running(database_url) as front:
        await _quiet_and_busy(front)


async def _quiet_and_busy(front: Front) -> None:
    agent = await front.agent()
    start = front.clock() - timedelta(minutes=5)
    assert (await agent.send((start, [0.1, 0.2]))).status_code == 200
    port = int(front.url.rsplit(":", 1)[1])
    token = agent.token()

    async def connect() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)

    def asked(n: int) -> bytes:
        return _request(front, token, agent.batch(frames=frames((start + timedelta(seconds=n), [0.1, 0.2]))))

    (quiet, quiet_writer), (busy, busy_writer) = await connect(), await connect()
    quiet_writer.write(asked(1))
    assert (await _answer(quiet))[0] == 200
    for n in range(2, 8):
        busy_writer.write(asked(n))
        assert (await _answer(busy))[0] == 200
        await asyncio.sleep(0.4)
    assert await asyncio.wait_for(quiet.read(), 10) == b""
    busy_writer.write(asked(9))
    assert (await _answer(busy))[0] == 200
    for writer in (quiet_writer, busy_writer):
        writer.close()


def _request(front: Front, token: str, body: bytes) -> bytes:
    head = f"Host: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n\r\n"
    return REQUEST_LINE + head.encode() + body


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    length = next(
        int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line
    )
    assert b"\r\ndate: " in head.lower()
    return int(head[9:12]), await reader.readexactly(length)


async def test_a_connection_that_cannot_be_answered_is_closed_and_keeps_no_other_waiting(
    front: Front, monkeypatch: pytest.MonkeyPatch
):
    """Its client sees a closed connection, not silence, and it is counted; the batch is stored, and the next
    connection is answered.

    Broken twin, tried: an error let through ends the committer's task, and nobody is answered."""
    agent = await front.agent()
    start = front.clock() - timedelta(minutes=5)
    assert (await agent.send((start, [0.1, 0.2]))).status_code == 200
    port = int(front.url.rsplit(":", 1)[1])

    def torn(_: Door, result: object) -> None:
        raise RuntimeError("the transport is gone")

    (first, one), (second, two) = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    bodies = [agent.batch(frames=frames((start + timedelta(seconds=n), [0.1, 0.2]))) for n in (1, 2)]
    with monkeypatch.context() as broken:
        broken.setattr(Door, "answered", torn)
        one.write(_request(front, agent.token(), bodies[0]))
        assert await asyncio.wait_for(first.read(), 10) == b""
    two.write(_request(front, agent.token(), bodies[1]))
    assert (await _answer(second))[0] == 200
    for writer in (one, two):
        writer.close()
    assert await front.count("frame") == 3
    assert await _counted(front, "unanswered") == 1


async def _counted(front: Front, reason: str) -> float:
    """Batches without a receipt, for this reason."""
    metrics = (await front.http.get("/metrics")).text
    found = re.search(f'turned_away_total{{reason="{reason}",request="batch"}} ([0-9.]+)', metrics)
    return float(found[1]) if found else 0


async def test_a_batch_that_could_not_be_stored_is_counted(front: Front, monkeypatch: pytest.MonkeyPatch):
    """Taken at once, then the database is away: 503, and one more without a receipt.

    Broken twin, tried: counted on the general way alone, it is not there."""
    agent = await front.agent()
    assert (await agent.send((front.clock(), [0.1, 0.2]))).status_code == 200

    async def away(*_: object, **__: object) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(IngestCommit, "__call__", away)
    assert (await agent.send((front.clock(), [0.3, 0.4]))).status_code == 503
    assert await _counted(front, "unavailable") == 1


@pytest.mark.parametrize("begun", [b"", REQUEST_LINE + b"Host", b"GET /heal"])
async def test_a_request_that_does_not_come_is_not_waited_for_for_ever(
    database_url: str, monkeypatch: pytest.MonkeyPatch, begun: bytes
):
    """A client that vanished without a word, after nothing or half a head, holds no connection.

    Broken twin, tried: watched after its first answer alone, a connection that never had one stays."""
    monkeypatch.setattr(serve, "KEEP_ALIVE_S", 1)
    async with running(database_url) as front, _connected(front) as (reader, writer):
        writer.write(begun)
        assert await asyncio.wait_for(reader.read(), 10) == b""


async def test_a_body_that_trickles_in_is_cut_off_in_time(database_url: str):
    """A byte now and then, each before the short way gives up: the deadline for bodies holds all the same.

    Broken twin, tried: waiting anew after each byte, the collector takes all of it."""
    async with running(database_url, body_deadline_s=0.5) as front, _connected(front) as (reader, writer):
        agent = await front.agent()
        request = _request(front, agent.token(), b"x" * 100)
        writer.write(request[:-100])
        answer = asyncio.create_task(_answer(reader))
        for byte in request[-100:]:
            if answer.done():
                break
            writer.write(bytes([byte]))
            await asyncio.sleep(0.1)
        assert (await answer)[0] == 408


@contextlib.asynccontextmanager
async def _connected(front: Front) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", int(front.url.rsplit(":", 1)[1]))
    try:
        yield reader, writer
    finally:
        writer.close()


MOST_UNREAD = 1_500
"""Answers; three times what fits into the buffers of both sides."""


async def test_answers_that_nobody_fetches_do_not_fill_the_memory(
    database_url: str, monkeypatch: pytest.MonkeyPatch
):
    """A client that sends and never reads is not listened to any more. When it reads, all answers are there,
    and it goes on; when it does not, it is hung up.

    Broken twin, tried: listened to all the same, it has them all put by for it."""
    monkeypatch.setattr(serve, "KEEP_ALIVE_S", 2)
    monkeypatch.setattr(serve, "open_door", _narrow(serve.open_door))
    async with running(database_url) as front:
        agent = await front.agent()
        assert (await agent.send((front.clock(), [0.1, 0.2]))).status_code == 200
        request = _request(front, agent.token(), agent.batch(frames=frames((front.clock(), [0.1, 0.2]))))
        with _unwilling(front) as client, monkeypatch.context() as watched:
            given = _counting(watched)
            sent = await _send_until_stopped(client, request, given)
            assert sent < MOST_UNREAD
            assert await _fetch(client, sent) == sent
            assert await _send_until_stopped(client, request, given) > 1
            await asyncio.sleep(3.5)
            with pytest.raises(ConnectionError):
                await _fetch(client, MOST_UNREAD)


def _narrow(open_door: Callable[[str, int], socket.socket]) -> Callable[[str, int], socket.socket]:
    def opened(host: str, port: int) -> socket.socket:
        door = open_door(host, port)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        return door

    return opened


@contextlib.contextmanager
def _unwilling(front: Front) -> Iterator[socket.socket]:
    client = socket.socket()
    with client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", int(front.url.rsplit(":", 1)[1])))
        client.setblocking(False)
        yield client


def _counting(watched: pytest.MonkeyPatch) -> list[object]:
    """The answers that the short way gives from now on."""
    given: list[object] = []
    answered = Door.answered

    def noted(door: Door, result: Receipt | Problem) -> None:
        answered(door, result)
        given.append(result)

    watched.setattr(Door, "answered", noted)
    return given


async def _send_until_stopped(client: socket.socket, request: bytes, given: list[object]) -> int:
    """One request after another, each when the one before has its answer; how many were sent."""
    loop = asyncio.get_running_loop()
    for sent in range(MOST_UNREAD):
        before = len(given)
        await loop.sock_sendall(client, request)
        until = loop.time() + 0.5
        while len(given) == before:
            if loop.time() > until:
                return sent + 1
            await asyncio.sleep(0.001)
    return MOST_UNREAD


async def _fetch(client: socket.socket, answers: int) -> int:
    loop = asyncio.get_running_loop()
    found = b""
    while found.count(b'"outcome":"stored"') < answers:
        part = await asyncio.wait_for(loop.sock_recv(client, 65_536), 10)
        if not part:
            raise ConnectionResetError("the collector hung up")
        found += part
    return found.count(b"HTTP/1.1 200 OK")


async def test_batches_in_pieces_in_pairs_and_faulty_ones_all_get_their_answers(front: Front):
    """On one connection: whole, cut anywhere, two at once, and one that is refused; each is answered in turn
    and stored once."""
    agent = await front.agent()
    start = front.clock() - timedelta(minutes=5)
    assert (await agent.send((start, [0.1, 0.2]))).status_code == 200
    port = int(front.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    token = agent.token()
    bodies = [
        agent.batch(frames=frames((start + timedelta(seconds=10 * n), [0.1, 0.2]))) for n in range(1, 7)
    ]
    requests = [_request(front, token, body) for body in bodies]
    for request in requests[:2]:
        writer.write(request)
        assert (await _answer(reader))[0] == 200
    writer.write(requests[2][:90])
    await asyncio.sleep(0.05)
    writer.write(requests[2][90:])
    assert (await _answer(reader))[0] == 200
    writer.write(requests[3][:-5])
    await asyncio.sleep(0.6)  # longer than a beginning is held
    writer.write(requests[3][-5:])
    assert (await _answer(reader))[0] == 200
    writer.write(requests[4] + requests[5])
    assert [(await _answer(reader))[0] for _ in range(2)] == [200, 200]
    writer.write(_request(front, token, b"\xc1"))
    assert (await _answer(reader))[0] == 422
    writer.write(_request(front, "nonsense", bodies[0]))
    assert (await _answer(reader))[0] == 401
    writer.write(requests[0])  # again
    status, answer = await _answer(reader)
    assert (status, b'"stored"' in answer) == (200, True)
    writer.close()
    assert await front.count("frame") == 7
