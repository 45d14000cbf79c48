"""A collector for the agent's tests: real HTTP on loopback, checks what it is sent, misbehaves on demand.

It keeps a ledger as the real one does: the same key and bytes get the same receipt, the same key with other
bytes is told to renumber. ``script`` holds answers that are given instead, one per request.
"""

from __future__ import annotations

import json
import threading
import time
import zlib
from base64 import urlsafe_b64decode
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import msgspec
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from wire import batch as wire_batch
from wire import layout as wire_layout
from wire.batch import Batch, FrameBatch
from wire.layout import Layout
from wire.receipt import Outcome, Receipt
from wire.validate import check_width, decode_batch, decode_layout

AGENT = "0123456789abcdef" * 2

Misbehaviour = Callable[["Handler"], None]


class Ledger:
    """What the collector has: shared with the test, guarded by ``lock``."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.keys: dict[tuple[str, int, int], str] = {}
        self.batches: list[Batch] = []
        self.layouts: dict[bytes, Layout] = {}
        self.keys_by_agent: dict[str, Ed25519PublicKey] = {}
        self.tokens = {"ucxe_good"}
        self.script: list[Misbehaviour] = []
        self.requests: list[tuple[str, str]] = []
        self.sent_at: list[int] = []
        self.clock_ahead_s = 0.0
        self.faults: list[str] = []
        self.takes = {"identity", "gzip", "zstd"}
        self.encodings: list[str] = []
        self.gave = 0
        """Megabytes that a misbehaviour could get rid of."""

    @property
    def frames(self) -> list[tuple[bytes, int, tuple[float | None, ...]]]:
        """All frames that were stored, in order of arrival."""
        return [
            (frame.layout, frame.time_ms, tuple(frame.values))
            for batch in self.batches
            if isinstance(batch, FrameBatch)
            for frame in batch.frames
        ]

    def receive(self, body: bytes) -> Receipt:
        """The verdict on a batch; raises KeyError with the layouts that are missing."""
        batch = decode_batch(body)
        key, digest = (batch.agent, batch.epoch, batch.seq), wire_batch.digest(body)
        with self.lock:
            known = self.keys.get(key)
            if known is None:
                self._store(batch, key, digest)
                known = digest
        outcome = Outcome.STORED if known == digest else Outcome.RENUMBER
        return Receipt(batch.agent, batch.epoch, batch.seq, digest, outcome)

    def _store(self, batch: Batch, key: tuple[str, int, int], digest: str) -> None:
        if isinstance(batch, FrameBatch):
            missing = {frame.layout.hex() for frame in batch.frames} - {d.hex() for d in self.layouts}
            if missing:
                raise KeyError(*sorted(missing))
            for frame in batch.frames:
                check_width(frame, self.layouts[frame.layout])
        self.keys[key] = digest
        self.batches.append(batch)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 20
    server: Collector

    def do_POST(self) -> None:
        self._handle()

    def do_PUT(self) -> None:
        self._handle()

    def do_GET(self) -> None:
        self._handle()

    def _handle(self) -> None:
        ledger = self.server.ledger
        self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        with ledger.lock:
            ledger.requests.append((self.command, self.path))
            misbehave = ledger.script.pop(0) if ledger.script and self.path == "/v1/batches" else None
        try:
            if misbehave is not None:
                misbehave(self)
            else:
                self.behave()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def behave(self) -> None:
        """As the contract says."""
        if self.path == "/v1/enrol":
            self._enrol()
        elif not self._authenticated():
            self.problem(401, "unauthorised", detail="The token is not accepted.")
        elif self.path == "/v1/batches":
            self._batch()
        elif self.path.startswith("/v1/layouts/"):
            self._layout()
        else:
            self.problem(404, "not-found", detail="A collector of an earlier version.")

    def _enrol(self) -> None:
        asked = json.loads(self.body)
        ledger = self.server.ledger
        if asked["token"] not in ledger.tokens:
            self.problem(401, "unauthorised", detail="This enrolment token is not known or was used.")
            return
        ledger.tokens.discard(asked["token"])
        raw = urlsafe_b64decode(asked["public_key"] + "=")
        ledger.keys_by_agent[AGENT] = Ed25519PublicKey.from_public_bytes(raw)
        answer = {"agent_id": AGENT, "tenant": "acme", "deployment": "main", "host": asked["host_name"]}
        self.answer(201, json.dumps(answer).encode())

    def _authenticated(self) -> bool:
        """EdDSA, this agent's key, the right audience, good now."""
        ledger = self.server.ledger
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            agent = jwt.get_unverified_header(token)["kid"]
            claims = jwt.decode(
                token,
                ledger.keys_by_agent[agent],
                algorithms=["EdDSA"],
                audience="ucx-collector",
                options={"require": ["aud", "iat", "exp"], "verify_iat": False, "verify_exp": False},
            )
            now = time.time() + ledger.clock_ahead_s
            return bool(abs(claims["iat"] - now) < 65 and claims["exp"] > now)
        except (jwt.PyJWTError, KeyError):
            return False

    def plain(self) -> bytes:
        """The body, unpacked."""
        encoding = self.headers.get("Content-Encoding", "identity")
        if encoding == "gzip":
            return zlib.decompress(self.body, 31)
        return zstandard.ZstdDecompressor().decompress(self.body) if encoding == "zstd" else self.body

    def _batch(self) -> None:
        ledger = self.server.ledger
        encoding = self.headers.get("Content-Encoding", "identity")
        ledger.encodings.append(encoding)
        if encoding not in ledger.takes:
            self.problem(415, "unknown-encoding", detail="Send gzip.")
            return
        body = self.plain()
        ledger.sent_at.append(int(self.headers["UCX-Sent-At"]))
        try:
            receipt = ledger.receive(body)
        except KeyError as missing:
            self.problem(409, "unknown-layouts", layouts=list(missing.args))
            return
        except ValueError as fault:
            ledger.faults.append(str(fault))
            self.problem(422, "invalid", detail=str(fault))
            return
        self.answer(200, msgspec.json.encode(receipt))

    def _layout(self) -> None:
        layout = decode_layout(self.body)
        digest = wire_layout.digest(self.body)
        assert self.path == f"/v1/layouts/{digest.hex()}"
        with self.server.ledger.lock:
            self.server.ledger.layouts[digest] = layout
        self.answer(201, b"{}")

    # ---- writing answers

    def answer(
        self, status: int, body: bytes, content_type: str = "application/json", **headers: str
    ) -> None:
        self.send_response_only(status)
        self.send_header("Date", formatdate(time.time() + self.server.ledger.clock_ahead_s, usegmt=True))
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def problem(self, status: int, slug: str, retry_after: str = "", **more: Any) -> None:
        body = json.dumps(
            {"type": f"urn:ucx:problem:{slug}", "title": "-", "status": status, **more}
        ).encode()
        headers = {"Retry_After": retry_after} if retry_after else {}
        self.answer(status, body, "application/problem+json", **headers)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


class Collector(ThreadingHTTPServer):
    """Start with ``with Collector() as collector``; ``collector.url``, ``collector.ledger``."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, port: int = 0, ledger: Ledger | None = None) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.ledger = ledger or Ledger()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Collector:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no fault of the test."""
