"""Agents by the thousand in one process, as cheap as they can be: their CPU is not the collector's.

Reads one JSON document from standard input (``Orders``), prints one to standard output (``Report``). Each
connection serves its share of the hosts in turn and waits for every receipt, as a shipper does. Tokens are
signed as an agent signs them: each lives a minute and is used until it is nearly over.
"""

from __future__ import annotations

import asyncio
import base64
import resource
import sys
import time
from typing import cast

import msgspec
import uvloop
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from benchmarks._fleet import healthy, layout
from wire.layout import digest, encode

TOKEN_LIFE_S = 60
RENEW_AFTER_S = 45.0
SPREADS = 64
"""Different frames that are sent over and over."""


class Orders(msgspec.Struct):
    """What to send, and where."""

    ports: list[int]
    agents: list[tuple[str, str]]
    """(agent id, private key), both in hex."""
    connections: int
    series: int
    seconds: float
    """0: one batch of every host."""
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
    last_seq: int = 0


class Sender:
    """One host: its key, its token, its numbers."""

    def __init__(self, agent_id: str, private_key: str, first_seq: int) -> None:
        self.agent_id = agent_id
        self.seq = first_seq
        self._key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(private_key))
        self._header = b""
        self._signed_at = -RENEW_AFTER_S

    def header(self, now: float) -> bytes:
        """The request's head up to the length of its body."""
        if now - self._signed_at > RENEW_AFTER_S:
            self._signed_at = now
            self._header = (
                b"POST /v1/batches HTTP/1.1\r\nHost: collector\r\nAuthorization: Bearer "
                + self._token()
                + b"\r\nContent-Length: "
            )
        return self._header

    def _token(self) -> bytes:
        at = int(time.time())
        head = {"alg": "EdDSA", "kid": self.agent_id, "typ": "JWT"}
        claims = {"iss": self.agent_id, "aud": "ucx-collector", "iat": at, "exp": at + TOKEN_LIFE_S}
        signed = _pack(msgspec.json.encode(head)) + b"." + _pack(msgspec.json.encode(claims))
        return signed + b"." + _pack(self._key.sign(signed))


def _pack(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


class Line(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, senders: list[Sender], values: list[msgspec.Raw], digest: bytes, until: float) -> None:
        self._senders = senders
        self._values = values
        self._digest = digest
        self._until = until
        self._turn = 0
        self._sent_at = 0.0
        self._buffer = b""
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stored = 0
        self.busy = 0
        self.latencies: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not derive from it
        self._send()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("the collector hung up"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.lower().find(b"content-length: ")
        size = int(self._buffer[at + 16 : self._buffer.index(b"\r\n", at)])
        if len(self._buffer) < head + 4 + size:
            return
        answer, self._buffer = self._buffer[: head + 4 + size], b""
        self._answered(answer)

    def _answered(self, answer: bytes) -> None:
        now = time.monotonic()
        status = answer[9:12]
        if status == b"200" and b'"stored"' in answer:
            self.stored += 1
            self.latencies.append(now - self._sent_at)
            self._turn += 1
        elif status in (b"429", b"503"):
            self.busy += 1
            asyncio.get_running_loop().call_later(0.05, self._send)
            return
        else:
            self.done.set_exception(RuntimeError(answer[:600].decode("latin-1")))
            return
        over = now >= self._until if self._until else self._turn >= len(self._senders)
        if over:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._send()

    def _send(self) -> None:
        sender = self._senders[self._turn % len(self._senders)]
        now = time.monotonic()
        values = self._values[(self._turn + sender.seq) % SPREADS]
        frame = (self._digest, int(time.time() * 1000), values)
        body = msgspec.msgpack.encode((1, "frames", sender.agent_id, 1, sender.seq, (frame,)))
        sender.seq += 1
        self._sent_at = now
        self._transport.write(sender.header(now) + str(len(body)).encode() + b"\r\n\r\n" + body)


async def run(orders: Orders) -> Report:
    """Send until the time is up."""
    loop = asyncio.get_running_loop()
    shape = layout(orders.series)
    values = [msgspec.Raw(msgspec.msgpack.encode(healthy(shape, n / SPREADS))) for n in range(SPREADS)]
    senders = [Sender(*agent, orders.first_seq) for agent in orders.agents]
    started = time.monotonic()
    until = started + orders.seconds if orders.seconds else 0.0
    count = min(orders.connections, len(senders))
    lines = []
    for n in range(count):
        line = Line(senders[n::count], values, digest(encode(shape)), until)
        await loop.create_connection(lambda line=line: line, "127.0.0.1", orders.ports[n % len(orders.ports)])  # type: ignore[misc]
        lines.append(line)
    await asyncio.gather(*(line.done for line in lines))
    seconds = time.monotonic() - started
    times = sorted(t for line in lines for t in line.latencies)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return Report(
        stored=sum(line.stored for line in lines),
        seconds=seconds,
        cpu_s=used.ru_utime + used.ru_stime,
        p50_ms=times[len(times) // 2] * 1000,
        p99_ms=times[len(times) * 99 // 100] * 1000,
        busy=sum(line.busy for line in lines),
        last_seq=max(sender.seq for sender in senders),
    )


def main() -> None:
    """Orders in, report out."""
    orders = msgspec.json.decode(sys.stdin.buffer.read(), type=Orders)
    report = uvloop.run(run(orders))
    sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")


if __name__ == "__main__":
    main()
