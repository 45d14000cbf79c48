"""The line to a SQL Server: what the driver takes for a socket. TLS, time limits and size limits are ours.

TDS begins in clear: both sides exchange PRELOGIN packets, in which they agree on encryption, and then wrap a
TLS handshake in further PRELOGIN packets ([MS-TDS] 2.2.6.5, 3.2.5.1). The driver's own TLS needs one more
library and compares names of hosts loosely, so the driver is told that there is none: this line asks the
server for encryption in the driver's name, does the handshake with Python's ssl (chain and host name, or a
pinned certificate), tells the driver "no encryption", and encrypts everything from the login on.

    clear    the driver's PRELOGIN goes out, changed to ask for encryption
    asked    the server's answer is read; no encryption = refused; handshake; the answer is handed on, changed
    open     everything is encrypted (``tls: plain``: nothing is)

Every look has a deadline and an allowance of bytes, so that a server that hangs, trickles or floods costs
what is said here and no more.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
import struct
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from pathlib import Path
from socket import SHUT_RDWR, socket
from time import monotonic

from agent.databases import Blind, Unreachable

MAX_BYTES = 1 << 18
"""A look never needs more than some ten thousand."""
MAX_PRELOGIN = 4096
HEADER = struct.Struct(">BBHHBB")
"""Type, status, length with header, SPID, packet number, window."""
_OPTION = struct.Struct(">BHH")
LOGIN, SSPI, PRELOGIN = 0x10, 0x11, 0x12
REPLY = 0x04
LAST = 0x01
_ENCRYPTION = 1
_END = 0xFF
_ON, _NOT_SUPPORTED, _REQUIRED = 1, 2, 3
_GONE = "See whether the SQL Server service runs, and read its error log."
_TRUST = (
    "Give its root as `ca_file`, or this very certificate's SHA-256 as `certificate_sha256`; for a server on"
    " this host with its self-made certificate: `tls: unverified`."
)
_BROKEN = "Is this the port of a SQL Server? Use an instance that speaks TDS 7.4 (SQL Server 2012 or newer)."


class Late(Unreachable):
    """The deadline has passed."""

    def __init__(self) -> None:
        super().__init__("no answer in time", _GONE)


class _Stage(Enum):
    CLEAR = "clear"
    ASKED = "asked"
    OPEN = "open"


def client_context(ca_file: Path | None, pin: str, verify: bool) -> ssl.SSLContext:
    """As the rule wants it. TLS 1.3 is left out: with it TDS 7 has no handshake. Raises Blind."""
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as fault:
        raise Blind(f"ca_file {ca_file} cannot be used: {fault}", "Give a PEM file of roots.") from None
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    if pin or not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


class Line:
    """One connection; methods that the driver calls bear a socket's names."""

    def __init__(self, connection: socket, host: str, context: ssl.SSLContext | None, pin: str = "") -> None:
        self._socket = connection
        self._host = host
        self._context = context
        self._pin = pin.lower()
        self._stage = _Stage.OPEN if context is None else _Stage.CLEAR
        self._secured: ssl.SSLObject | None = None
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ready = b""
        self._logged_in = False
        self._deadline_s = 0.0
        self._allowance = 0

    def allow(self, seconds: float) -> None:
        """A new look begins: it may take so long, and ``MAX_BYTES``."""
        self._deadline_s = monotonic() + seconds
        self._allowance = MAX_BYTES

    # ---- as the driver sees it

    def setsockopt(self, level: int, option: int, value: int) -> None:
        self._socket.setsockopt(level, option, value)

    def settimeout(self, timeout: float | None) -> None:
        """The deadline of the whole look holds instead."""

    def gettimeout(self) -> float | None:
        return None

    def sendall(self, data: bytes | bytearray) -> None:
        data = self._typed(bytes(data))
        if self._stage is _Stage.CLEAR:
            self._send(with_encryption(data, _ON))
            self._stage = _Stage.ASKED
        elif self._secured is None:
            self._send(data)
        else:
            self._secured.write(data)
            self._send(self._outgoing.read())

    def _typed(self, packet: bytes) -> bytes:
        """The driver sends later steps of Windows authentication as further logins: they have a type."""
        if packet[0] != LOGIN:
            return packet
        typed = bytes([SSPI if self._logged_in else LOGIN]) + packet[1:]
        self._logged_in = self._logged_in or bool(packet[1] & LAST)
        return typed

    def recv_into(self, buffer: memoryview, size: int = 0) -> int:
        data = self.recv(size or len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def recv(self, size: int) -> bytes:
        """Some bytes; raises Unreachable at the end, and what the line has to say against the server."""
        if self._stage is _Stage.ASKED:
            self._ready = self._negotiate()
            self._stage = _Stage.OPEN
        if not self._ready:
            self._ready = self._receive() if self._secured is None else self._decrypted(self._secured)
        data, self._ready = self._ready[:size], self._ready[size:]
        return data

    def close(self) -> None:
        with suppress(OSError):  # the other side was first
            self._socket.shutdown(SHUT_RDWR)
        self._socket.close()

    # ---- bytes under limits

    def _left_s(self) -> float:
        left = self._deadline_s - monotonic()
        if left <= 0:
            raise Late
        return left

    def _send(self, data: bytes) -> None:
        self._limited(lambda: self._socket.sendall(data))

    def _receive(self, most: int = 16_384) -> bytes:
        data = self._limited(lambda: self._socket.recv(most))
        if not data:
            raise Unreachable("the server closed the connection", _GONE)
        self._allowance -= len(data)
        if self._allowance < 0:
            raise Blind(f"the server sends more than {MAX_BYTES} bytes to small questions", _BROKEN)
        return data

    def _limited(self, act: Callable[[], bytes | None]) -> bytes:
        self._socket.settimeout(self._left_s())
        try:
            return act() or b""
        except TimeoutError:
            raise Late from None
        except OSError as fault:
            raise Unreachable(f"the connection broke: {fault.strerror or fault}", _GONE) from None

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += self._receive(size - len(data))
        return data

    # ---- encryption

    def _message(self) -> tuple[int, bytes]:
        """Type and body of the server's next message, which may have several packets."""
        body = b""
        while True:
            kind, status, length, *_ = HEADER.unpack(self._exactly(HEADER.size))
            if length < HEADER.size or len(body) + length > 16 * MAX_PRELOGIN:
                raise Blind("it answers with something that is no TDS", _BROKEN)
            body += self._exactly(length - HEADER.size)
            if status & LAST:
                return kind, body

    def _negotiate(self) -> bytes:
        """The server's PRELOGIN for the driver, once everything is encrypted."""
        assert self._context is not None
        kind, body = self._message()
        if kind != REPLY or len(body) > MAX_PRELOGIN:
            raise Blind("it answers with something that is no TDS", _BROKEN)
        answer = HEADER.pack(REPLY, LAST, HEADER.size + len(body), 0, 1, 0) + body
        if encryption(answer) not in (_ON, _REQUIRED):
            raise Blind(
                "the server does not encrypt", "Give it a certificate, or for loopback: `tls: plain`."
            )
        self._secured = self._handshake(self._context)
        return with_encryption(answer, _NOT_SUPPORTED)

    def _handshake(self, context: ssl.SSLContext) -> ssl.SSLObject:
        secured = context.wrap_bio(self._incoming, self._outgoing, server_hostname=self._host)
        while True:
            try:
                secured.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._send_wrapped(self._outgoing.read())
                self._incoming.write(self._wrapped())
            except ssl.SSLError as fault:
                raise _distrust(fault) from None
        if rest := self._outgoing.read():
            self._send_wrapped(rest)
        self._check_pin(secured.getpeercert(binary_form=True) or b"")
        return secured

    def _wrapped(self) -> bytes:
        kind, body = self._message()
        if kind != PRELOGIN:
            raise Blind("it answers the TLS handshake with something else", _BROKEN)
        return body

    def _send_wrapped(self, data: bytes) -> None:
        self._send(HEADER.pack(PRELOGIN, LAST, HEADER.size + len(data), 0, 0, 0) + data)

    def _check_pin(self, certificate: bytes) -> None:
        shown = hashlib.sha256(certificate).hexdigest()
        if self._pin and not hmac.compare_digest(shown, self._pin):
            raise Blind(
                f"another certificate than the pinned one is shown: {shown}",
                "If it was renewed, correct certificate_sha256.",
            )

    def _decrypted(self, secured: ssl.SSLObject) -> bytes:
        while True:
            try:
                data = secured.read(16_384)
            except ssl.SSLWantReadError:
                self._incoming.write(self._receive())
            except ssl.SSLError as fault:
                raise Unreachable(f"TLS broke: {fault.reason or fault}", _GONE) from None
            else:
                if data:
                    return data
                raise Unreachable("the server closed the connection", _GONE)


def _distrust(fault: ssl.SSLError) -> Blind:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return Blind(f"the server's certificate is not trusted: {fault.verify_message}", _TRUST)
    return Blind(
        f"no TLS with the server: {fault.reason or fault}", "It must speak TLS 1.2: update SQL Server."
    )


# ---- PRELOGIN: a list of (option, offset, length), then the data; pure -------------------------------------


def _encryption_at(packet: bytes) -> int:
    """Where the byte of the encryption option stands. Raises Blind."""
    at = HEADER.size
    while at + 5 <= len(packet) and packet[at] != _END:
        option, offset, length = _OPTION.unpack_from(packet, at)
        place: int = HEADER.size + offset
        if option == _ENCRYPTION and length >= 1 and place < len(packet):
            return place
        at += 5
    raise Blind("it answers with something that is no TDS", _BROKEN)


def encryption(packet: bytes) -> int:
    """What a PRELOGIN packet says about encryption. Raises Blind."""
    return packet[_encryption_at(packet)]


def with_encryption(packet: bytes, value: int) -> bytes:
    """The packet with another word about encryption. Raises Blind."""
    at = _encryption_at(packet)
    return packet[:at] + bytes([value]) + packet[at + 1 :]
