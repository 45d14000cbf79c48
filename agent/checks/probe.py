"""Endpoints asked as a client would: HTTP(S), with the certificate that is shown; and certificates in files.

A probe succeeds when the answer has the expected status and text in time, over TLS that is trusted. The
certificate's days left are read even when it is not trusted (expired, unknown issuer, wrong name), so that
"expired yesterday" is a number and not a gap.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, NamedTuple
from urllib.parse import urlsplit

from agent.bounded import Bounded, Deadline
from agent.reading import Column, Reading
from agent.transport import tls_context

_DEADLINE_S = 5.0
_TOTAL_S = 8.0
_MAX_BODY = 262_144


class ProbeRule(NamedTuple):
    """One endpoint."""

    name: str
    url: str
    expect: str = ""
    """Text that must stand in the answer; empty = any."""
    status: tuple[int, ...] = (200,)
    ca_file: Path | None = None


class CertificateRule(NamedTuple):
    """One certificate in a PEM or DER file."""

    name: str
    file: Path


class Answer(NamedTuple):
    """What one probe gave."""

    success: bool
    latency_s: float | None
    """Until the answer was read; None when there was none."""
    expires_s: float | None
    """End of the certificate's life, seconds since 1970."""
    trusted: bool | None
    """The certificate's chain and name; None without TLS, or without an answer."""


class ProbeCheck:
    name: ClassVar[str] = "probe"
    interval_s: ClassVar[float] = 60.0

    def __init__(
        self,
        probes: Sequence[ProbeRule],
        certificates: Sequence[CertificateRule],
        now_s: Callable[[], float],
    ) -> None:
        self._probes = tuple(probes)
        self._certificates = tuple(certificates)
        self._now_s = now_s
        self._asked = [Bounded(_asking(rule)) for rule in self._probes]
        self._columns = (
            *(column for rule in probes for column in _columns(rule)),
            *(Column("ucx.certificate.remaining", (("ucx.certificate.name", r.name),)) for r in certificates),
        )

    def read(self, now_s: float) -> Reading:
        """All endpoints at the same time: several that hang cost one deadline."""
        for asked in self._asked:
            asked.start()
        values: list[float | None] = []
        left = Deadline(_TOTAL_S)
        for rule, asked in zip(self._probes, self._asked, strict=True):
            values += self._probe(rule, asked, left.seconds())
        values += [self._left(file_expiry(rule.file)) for rule in self._certificates]
        return Reading(self._columns, values)

    def _probe(self, rule: ProbeRule, asked: Bounded[Answer], left_s: float) -> list[float | None]:
        try:
            answer = asked.result(left_s)
        except OSError:
            answer = Answer(False, None, None, None)
        values: list[float | None] = [float(answer.success), answer.latency_s]
        if not rule.url.startswith("https:"):
            return values
        return [
            *values,
            self._left(answer.expires_s),
            None if answer.trusted is None else float(answer.trusted),
        ]

    def _left(self, expires_s: float | None) -> float | None:
        return None if expires_s is None else expires_s - self._now_s()


def _columns(rule: ProbeRule) -> list[Column]:
    named = (("ucx.probe.name", rule.name),)
    found = [Column("ucx.probe.success", named), Column("ucx.probe.duration", named)]
    if rule.url.startswith("https:"):
        certificate = (("ucx.certificate.name", rule.name),)
        found.append(Column("ucx.certificate.remaining", certificate))
        found.append(Column("ucx.certificate.trusted", certificate))
    return found


def _asking(rule: ProbeRule) -> Callable[[], Answer]:
    return lambda: ask(rule)


def ask(rule: ProbeRule) -> Answer:
    """One GET; never raises OSError: what goes wrong is the answer."""
    try:
        return _ask(rule, tls_context(rule.ca_file))
    except ssl.SSLCertVerificationError:
        return Answer(False, None, shown_expiry(rule), False)
    except (http.client.HTTPException, OSError, ValueError):
        return Answer(False, None, None, None)


def _ask(rule: ProbeRule, context: ssl.SSLContext) -> Answer:
    parts = urlsplit(rule.url)
    began = time.monotonic()
    connection = _connection(rule.url, context)
    try:
        connection.connect()
        expires = _expiry(connection.sock)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers={"User-Agent": "ucx-agent probe", "Connection": "close"})
        response = connection.getresponse()
        body = response.read(_MAX_BODY)
    finally:
        connection.close()
    good = response.status in rule.status and rule.expect.encode() in body
    return Answer(good, time.monotonic() - began, expires, True if parts.scheme == "https" else None)


def _connection(url: str, context: ssl.SSLContext) -> http.client.HTTPConnection:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme == "https":
        return http.client.HTTPSConnection(host, parts.port or 443, timeout=_DEADLINE_S, context=context)
    return http.client.HTTPConnection(host, parts.port or 80, timeout=_DEADLINE_S)


def _expiry(sock: socket.socket) -> float | None:
    if not isinstance(sock, ssl.SSLSocket):
        return None
    shown = sock.getpeercert(binary_form=True)
    return expiry(shown) if shown else None


def shown_expiry(rule: ProbeRule) -> float | None:
    """The end of a certificate that is not trusted: nothing is sent over that connection."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = _connection(rule.url, context)
    with suppress(OSError, ValueError):
        connection.connect()
        expires = _expiry(connection.sock)
        connection.close()
        return expires
    return None


def file_expiry(path: Path) -> float | None:
    """The earliest end of the certificates in a file; None when it cannot be read."""
    try:
        data = path.read_bytes()[:1_048_576]
        blocks = re.findall(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", data, re.DOTALL)
        ends = [expiry(ssl.PEM_cert_to_DER_cert(block.decode("ascii"))) for block in blocks] or [expiry(data)]
    except (OSError, ValueError):
        return None
    return min(ends)


def expiry(der: bytes) -> float:
    """End of a certificate's life, seconds since 1970; raises ValueError for what is none."""
    from cryptography import x509

    return x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp()
