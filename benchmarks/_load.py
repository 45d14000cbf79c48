"""Hosts by the thousand in one process, as cheap as they can be: their CPU is not the receiver's.

    first line of standard input     ``Orders``, JSON
    standard output                  "ready" once every host has reported once
    second line of standard input    anything: begin
    standard output                  ``Report``, JSON

Each connection serves its share of the hosts in turn and waits for every answer, as a shipper does. What a
host does on its own machine is done ahead, or once for many hosts, where the bytes allow it. Requests are
those of our agent - the same headers, gzip, tokens that are used until they are nearly over - or, for the
systems that we are held against, those of a remote-write sender with the same series and values.
"""

from __future__ import annotations

import asyncio
import base64
import resource
import sys
import time
from collections.abc import Sequence
from typing import Literal, Protocol, cast

import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.packing import gzipped
from benchmarks import _remote
from benchmarks._fleet import healthy, layout
from wire.layout import digest, encode

TOKEN_LIFE_S = 60
RENEW_AFTER_S = 35.0
"""As agent/token.py: one with less than 25 s left is not used again."""
SPREADS = 64
"""Different frames that are sent over and over."""


Kind = Literal["batches", "remote write"]


class Orders(msgspec.Struct):
    """What to send, and where."""

    ports: list[int]
    agents: list[tuple[str, str]]
    """(agent id, private key), both in hex; for remote write (host, tenant)."""
    connections: int
    series: int
    seconds: float
    kind: Kind = "batches"
    frames_per_s: float = 0.0
    """Of all hosts together; 0: as fast as the answers come."""
    first_seq: int = 1


class Report(msgspec.Struct):
    """What came of it."""

    stored: int
    seconds: float
    cpu_s: float
    p50_ms: float
    p99_ms: float
    busy: int = 0
    """Answers 429 and 503: sent again after a pause."""
    tokens: int = 0
    """Tokens that were signed, and so had to be proven."""


class Host(Protocol):
    """One sender."""

    def request(self, now: float) -> bytes:
        """Its next request."""


class Agent:
    """A host with our agent: its key, its token, its numbers."""

    tokens = 0

    def __init__(
        self,
        agent_id: str,
        private_key: str,
        frames: Sequence[msgspec.Raw],
        digest: bytes,
        first_seq: int,
    ) -> None:
        self._agent_id = agent_id
        self._seq = first_seq - 1
        self._frames = frames
        self._digest = digest
        self._key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_key))
        self._head = b""
        self._signed_at = -RENEW_AFTER_S

    def request(self, now: float) -> bytes:
        """One batch of one frame."""
        self._seq += 1
        at = int(time.time() * 1000)
        frame = (self._digest, at, self._frames[self._seq % SPREADS])
        body = msgspec.msgpack.encode((1, "frames", self._agent_id, 1, self._seq, (frame,)))
        body = gzipped(body)
        if now - self._signed_at >= RENEW_AFTER_S:
            self._sign(now)
        return self._head + b"%d\r\nContent-Length: %d\r\n\r\n%s" % (at, len(body), body)

    def _sign(self, now: float) -> None:
        Agent.tokens += 1
        self._signed_at = now
        self._head = (
            b"POST /v1/batches HTTP/1.1\r\nUser-Agent: ucx-agent/0.1.0\r\nHost: collector.example.com\r\n"
            b"Content-Type: application/vnd.msgpack\r\nContent-Encoding: gzip\r\nAuthorization: Bearer "
            + self._token()
            + b"\r\nUCX-Sent-At: "
        )

    def _token(self) -> bytes:
        at = int(time.time())
        head = {"alg": "EdDSA", "kid": self._agent_id, "typ": "JWT"}
        claims = {"iss": self._agent_id, "aud": "ucx-collector", "iat": at, "exp": at + TOKEN_LIFE_S}
        signed = _pack(msgspec.json.encode(head)) + b"." + _pack(msgspec.json.encode(claims))
        return signed + b"." + _pack(self._key.sign(signed))


def _pack(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


class Writer:
    """A host whose samples go by remote write."""

    def __init__(self, heads: Sequence[bytes], frames: Sequence[Sequence[bytes]], first: int) -> None:
        self._heads = heads
        self._frames = frames
        self._turn = first
        self._at = 0

    def request(self, now: float) -> bytes:
        """One sample of every series."""
        self._turn += 1
        self._at = max(self._at + 1, int(time.time() * 1000))  # two samples at one time would be refused
        body = _remote.request(self._heads, self._frames[self._turn % SPREADS], self._at)
        return (
            b"POST /api/v1/write HTTP/1.1\r\nHost: receiver\r\nUser-Agent: bench\r\n"
            b"Content-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\n"
            b"X-Prometheus-Remote-Write-Version: 0.1.0\r\n"
            b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
        )


def hosts(orders: Orders) -> list[Host]:
    """The senders that the orders name."""
    shape = layout(orders.series)
    values = [healthy(shape, n / SPREADS) for n in range(SPREADS)]
    if orders.kind == "batches":
        frames = [msgspec.Raw(msgspec.msgpack.encode(each)) for each in values]
        return [Agent(*agent, frames, digest(encode(shape)), orders.first_seq) for agent in orders.agents]
    cells = [_remote.cells(each) for each in values]
    return [Writer(_remote.heads(shape, *names), cells, n) for n, names in enumerate(orders.agents)]


class Line(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, served: Sequence[Host], pause_s: float) -> None:
        self._served = served
        self._pause_s = pause_s
        self._turn = 0
        self._sent_at = 0.0
        self._buffer = b""
        self._until: float | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stored = 0
        self.busy = 0
        self.latencies: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        self._buffer = b""
        self._send()

    @property
    def hung_up(self) -> bool:
        """Whether the receiver has closed the connection, as it may while nothing is sent."""
        return self._transport.is_closing()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the receiver hung up"))

    def begin(self, until: float, delay_s: float) -> None:
        """Send until that time (monotonic), for the first time after ``delay_s``; the first round is over,
        and does not count."""
        self.stored = self.busy = 0
        self.latencies.clear()
        self.done = asyncio.get_running_loop().create_future()
        self._until = until
        if time.monotonic() + delay_s >= until:
            self.done.set_result(None)  # its turn comes after the end
        elif delay_s and not self._transport.is_closing():
            asyncio.get_running_loop().call_later(delay_s, self._send)
        elif not self._transport.is_closing():
            self._send()

    def close(self) -> None:
        """Nothing more comes."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.lower().find(b"content-length: ", 0, head)
        size = int(self._buffer[at + 16 : self._buffer.index(b"\r\n", at)]) if at > 0 else 0
        if len(self._buffer) < head + 4 + size:
            return
        answer, self._buffer = self._buffer[: head + 4 + size], b""
        self._answered(answer)

    def _answered(self, answer: bytes) -> None:
        now = time.monotonic()
        status = answer[9:12]
        if (status == b"200" and b'"stored"' in answer) or status == b"204":
            self._stored(now)
        elif status in (b"429", b"503"):
            self.busy += 1
            asyncio.get_running_loop().call_later(0.05, self._send)
        else:
            self.done.set_exception(RuntimeError(answer[:600].decode("latin-1")))

    def _stored(self, now: float) -> None:
        self.stored += 1
        self.latencies.append(now - self._sent_at)
        self._turn += 1
        if (
            max(now, self._sent_at + self._pause_s) >= self._until
            if self._until
            else self._turn >= len(self._served)
        ):
            self.done.set_result(None)
        elif self._pause_s:
            asyncio.get_running_loop().call_later(max(0.0, self._sent_at + self._pause_s - now), self._send)
        else:
            self._send()

    def _send(self) -> None:
        self._sent_at = time.monotonic()
        self._transport.write(self._served[self._turn % len(self._served)].request(self._sent_at))


async def run(orders: Orders) -> Report:
    """Send until the time is up."""
    loop = asyncio.get_running_loop()
    senders = hosts(orders)
    count = min(orders.connections, len(senders))
    pause_s = count / orders.frames_per_s if orders.frames_per_s else 0.0
    lines = [Line(senders[n::count], pause_s) for n in range(count)]

    async def connect(line: Line, n: int) -> None:
        await loop.create_connection(lambda: line, "127.0.0.1", orders.ports[n % len(orders.ports)])

    for n, line in enumerate(lines):
        await connect(line, n)
    await asyncio.gather(*(line.done for line in lines))
    sys.stdout.buffer.write(b"ready\n")
    sys.stdout.buffer.flush()
    sys.stdin.buffer.readline()
    started, cpu, tokens = time.monotonic(), _cpu(), Agent.tokens
    for n, line in enumerate(lines):
        line.begin(started + orders.seconds, pause_s * n / count)
    for n, line in enumerate(lines):
        if line.hung_up:
            await connect(line, n)
    await asyncio.gather(*(line.done for line in lines))
    seconds = time.monotonic() - started
    for line in lines:
        line.close()
    times = sorted(t for line in lines for t in line.latencies)
    return Report(
        stored=sum(line.stored for line in lines),
        seconds=seconds,
        cpu_s=_cpu() - cpu,
        p50_ms=times[len(times) // 2] * 1000,
        p99_ms=times[len(times) * 99 // 100] * 1000,
        busy=sum(line.busy for line in lines),
        tokens=Agent.tokens - tokens,
    )


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Orders in, report out."""
    orders = msgspec.json.decode(sys.stdin.buffer.readline(), type=Orders)
    report = uvloop.run(run(orders))
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")


if __name__ == "__main__":
    main()
