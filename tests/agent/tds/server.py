"""A server that speaks TDS 7.4 on loopback, strictly: packets, PRELOGIN, TLS inside PRELOGIN, LOGIN7,
batches, sp_executesql, attention. What it does not like is kept in ``faults`` and ends the connection.

By its script it misbehaves: it hangs, closes, floods, trickles, refuses, sends elsewhere.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.agent.tds import tokens
from tests.agent.tds.tokens import Result
from tests.agent.tds.wire import (
    ENCRYPTION,
    HEADER,
    INSTANCE,
    LARGEST_BEFORE_LOGIN,
    MARS,
    THREAD,
    VERSION,
    Encryption,
    Kind,
    Login,
    Malformed,
    agree,
    packets,
    read_batch,
    read_login,
    read_prelogin,
    read_rpc,
    want,
    write_prelogin,
)

Answer = Callable[[str, dict[str, object]], Result | None]
"""From a statement and its values to rows; None = done, without rows. May raise Refusal."""


class Refusal(Exception):
    """An ERROR token."""

    def __init__(self, number: int, text: str, level: int = 14) -> None:
        super().__init__(text)
        self.number, self.text, self.level = number, text, level


@dataclass
class Script:
    """How it misbehaves; by default not at all."""

    encryption: Encryption = Encryption.ON
    certificate: Path | None = None
    """PEM with key and certificate; needed unless encryption is NOT_SUPPORTED."""
    users: dict[str, str] = field(default_factory=lambda: {"ucx_agent": "secret"})
    refuse_login: Refusal | None = None
    hang_at: str = ""
    """accept, prelogin, tls, login, query, row: says nothing any more from there on."""
    close_at: str = ""
    """The same places: closes the connection there."""
    flood: bool = False
    """Answers a query with rows without end."""
    trickle_s: float = 0.0
    """Waits so long after every byte of an answer to a query."""
    route: tuple[str, int] | None = None
    garbage: bytes | None = None
    """Instead of the answer to PRELOGIN."""
    split: int = 4096
    """Largest packet of an answer."""
    address: str = "127.0.0.1"
    accept_sspi: Callable[[bytes], tuple[bytes, bool]] | None = None
    """One step of Windows authentication: (answer, is it complete)."""


class Closed(Exception):
    """The client has gone, or we leave."""


class _Wire:
    """Bytes to and from one client: in clear, or through TLS; ``wrapped`` = TLS inside PRELOGIN packets."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self.secured: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._plain = b""
        self.largest = LARGEST_BEFORE_LOGIN

    def exactly(self, size: int) -> bytes:
        while len(self._plain) < size:
            self._plain += self._more()
        data, self._plain = self._plain[:size], self._plain[size:]
        return data

    def _more(self) -> bytes:
        while self.secured is not None:
            try:
                if data := self.secured.read(65_536):
                    return data
                raise Closed
            except ssl.SSLWantReadError:
                self._incoming.write(self._raw())
        return self._raw()

    def _raw(self) -> bytes:
        if data := self.line.recv(65_536):
            return data
        raise Closed

    def send(self, data: bytes) -> None:
        if self.secured is None:
            self.line.sendall(data)
        else:
            self.secured.write(data)
            self.line.sendall(self._outgoing.read())

    def message(self) -> tuple[Kind, bytes]:
        """The client's next message, from as many packets as it takes."""
        body, kind, count = b"", None, None
        while True:
            first, status, length, _, number, window = HEADER.unpack(self.exactly(HEADER.size))
            want(first in set(Kind) and first != Kind.REPLY, f"a packet of type {first:x}")
            want(kind in (None, first), "a message of several types")
            want(status & ~0x09 == 0, f"status {status:x}")
            want(HEADER.size <= length <= self.largest, f"a packet of {length} bytes")
            want(window == 0, "the window is not used")
            want(count is None or number == (count + 1) % 256, "packets out of order")
            kind, count = Kind(first), number
            body += self.exactly(length - HEADER.size)
            if status & 0x01:
                return kind, body
            want(length == self.largest, "a packet that is not the last one is full")

    def handshake(self, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = ssl.TLSVersion.TLSv1_2  # as SQL Server with TDS 7
        context.load_cert_chain(certificate)
        secured = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                secured.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._send_wrapped()
                kind, body = self.message()
                want(kind is Kind.PRELOGIN, "the handshake goes in PRELOGIN packets")
                self._incoming.write(body)
        self._send_wrapped()
        self.secured = secured

    def _send_wrapped(self) -> None:
        if data := self._outgoing.read():
            self.line.sendall(packets(Kind.PRELOGIN, data))


class FakeSqlServer:
    """Listens while it is entered. ``logins`` and ``statements`` are what clients sent."""

    def __init__(self, script: Script, answer: Answer) -> None:
        self.script = script
        self.answer = answer
        self.logins: list[Login] = []
        self.statements: list[tuple[str, dict[str, object]]] = []
        self.faults: list[str] = []
        self.attentions = 0
        self.accepted = 0
        self._over = threading.Event()
        self._lines: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server((script.address, 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> FakeSqlServer:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.drop_all()

    @property
    def open_connections(self) -> int:
        with self._lock:
            return len(self._lines)

    def drop_all(self) -> None:
        """As a restart does."""
        with self._lock:
            lines = list(self._lines)
        for line in lines:
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = self._listener.accept()
                self.accepted += 1
                with self._lock:
                    self._lines.add(line)
                threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        try:
            _Session(self, _Wire(line)).run()
        except (Closed, OSError):
            pass
        except Malformed as fault:
            self.faults.append(str(fault))
        except Exception as fault:
            self.faults.append(repr(fault))
        finally:
            with self._lock:
                self._lines.discard(line)
            line.close()

    def misbehave(self, stage: str) -> None:
        if self.script.close_at == stage:
            raise Closed
        if self.script.hang_at == stage:
            self._over.wait(60)
            raise Closed

    def pause(self, seconds: float) -> None:
        if self._over.wait(seconds):
            raise Closed


class _Session:
    """One client's connection."""

    def __init__(self, server: FakeSqlServer, wire: _Wire) -> None:
        self._server, self._wire = server, wire
        self._script = server.script

    def run(self) -> None:
        self._server.misbehave("accept")
        agreed = self._prelogin()
        if self._log_in(agreed):
            while True:
                self._request()

    # ---- getting in

    def _prelogin(self) -> Encryption:
        kind, body = self._wire.message()
        want(kind is Kind.PRELOGIN, "the first message is PRELOGIN")
        options = read_prelogin(body)
        self._server.misbehave("prelogin")
        if self._script.garbage is not None:
            self._wire.send(self._script.garbage)
            raise Closed
        agreed = agree(Encryption(options.get(ENCRYPTION, b"\2")[0]), self._script.encryption)
        answer = {VERSION: bytes([15, 0, 0x07, 0xD0, 0, 0]), ENCRYPTION: bytes([agreed]), INSTANCE: b"\0"}
        answer |= {THREAD: b"", MARS: b"\0"}
        self._wire.send(packets(Kind.REPLY, write_prelogin(answer)))
        if agreed is not Encryption.NOT_SUPPORTED:
            self._server.misbehave("tls")
            assert self._script.certificate is not None
            try:
                self._wire.handshake(self._script.certificate)
            except ssl.SSLError:
                raise Closed from None  # it does not trust us: that is its right
        return agreed

    def _log_in(self, agreed: Encryption) -> bool:
        kind, body = self._wire.message()
        want(kind is Kind.LOGIN, "after PRELOGIN comes LOGIN7")
        login = read_login(body)
        if agreed is Encryption.OFF:
            self._wire.secured = None  # only the login is encrypted
        self._server.logins.append(login)
        self._server.misbehave("login")
        if login.integrated:
            try:
                self._windows(login)
            except Refusal as refusal:
                self._refuse(refusal)
                return False
        elif self._script.users.get(login.user) != login.password:
            self._refuse(Refusal(18456, f"Login failed for user '{login.user}'."))
            return False
        if self._script.refuse_login is not None:
            self._refuse(self._script.refuse_login)
            return False
        if self._script.route is not None:
            self._reply(tokens.login_ack() + tokens.route(*self._script.route) + tokens.done(0, command=0))
            return False
        size = login.packet_size or 4096
        self._reply(tokens.logged_in(login.database or "master", size))
        self._wire.largest = size
        return True

    def _windows(self, login: Login) -> None:
        want(self._script.accept_sspi is not None, "Windows authentication was not expected")
        assert self._script.accept_sspi is not None
        token, complete = login.sspi, False
        while not complete:
            answer, complete = self._script.accept_sspi(token)
            if not complete:
                self._reply(b"\xed" + len(answer).to_bytes(2, "little") + answer)
                kind, token = self._wire.message()
                want(kind is Kind.SSPI, "SSPI's next step")

    def _refuse(self, refusal: Refusal) -> None:
        self._reply(tokens.failed(refusal.number, refusal.text, refusal.level))

    # ---- work

    def _request(self) -> None:
        kind, body = self._wire.message()
        if kind is Kind.ATTENTION:
            want(body == b"", "an attention has no body")
            self._server.attentions += 1
            self._reply(tokens.done(tokens.ATTENTION))
            return
        want(kind in (Kind.BATCH, Kind.RPC), f"a request of type {kind.name}")
        proc = kind is Kind.RPC
        statement, values = read_rpc(body) if proc else (read_batch(body), {})
        self._server.statements.append((statement, values))
        self._server.misbehave("query")
        try:
            found = self._server.answer(statement, values)
        except Refusal as refusal:
            self._reply(tokens.failed(refusal.number, refusal.text, refusal.level, proc))
            if refusal.level >= 20:
                raise Closed from None
            return
        if found is None:
            self._reply(tokens.done(0, command=0xF9))
        else:
            self._rows(found, proc)

    def _rows(self, found: Result, proc: bool) -> None:
        body = tokens.result(found, proc)
        if self._script.flood:
            self._flood(found)
        if "row" in (self._script.hang_at, self._script.close_at):
            self._wire.send(HEADER.pack(Kind.REPLY, 0, 4096, 51, 1, 0) + body[: len(body) // 2])
            self._server.misbehave("row")
        if self._script.trickle_s:
            for at, byte in enumerate(packets(Kind.REPLY, body)):
                self._server.pause(self._script.trickle_s if at else 0)
                self._wire.send(bytes([byte]))
            return
        self._reply(body)

    def _flood(self, found: Result) -> None:
        row = tokens.row(found.columns, found.rows[0])
        self._wire.send(self._part(tokens.metadata(found.columns)))
        many = self._part(row * (4000 // len(row)))
        while not self._server._over.is_set():
            self._wire.send(many)

    @staticmethod
    def _part(body: bytes) -> bytes:
        return HEADER.pack(Kind.REPLY, 0, HEADER.size + len(body), 51, 1, 0) + body

    def _reply(self, body: bytes) -> None:
        self._wire.send(packets(Kind.REPLY, body, self._script.split))
