"""HTTP to the collector, bounded in every direction: no redirects, a small answer, a hard end in time.

    Unreachable       no answer: name, connection, TLS, time
    `- NotTrusted     the certificate is not one that we trust

Plain http is for loopback addresses only, or when the administrator says so explicitly.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from agent import VERSION
from agent.address import is_loopback
from agent.delivery import Reply

MAX_ANSWER_BYTES = 65_536
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
TOTAL_TIMEOUT_S = 60.0
"""No request takes longer, however slowly an answer drips."""


class Unreachable(Exception):
    """No answer. The message says at which step."""


class NotTrusted(Unreachable):
    """TLS: the other side's certificate is not trusted."""


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """The system's trusted roots, or only those of ``ca_file``; raises OSError when it cannot be read."""
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Transport:
    """One connection to the collector, one request at a time."""

    def __init__(self, url: str, ca_file: Path | None = None, total_s: float = TOTAL_TIMEOUT_S) -> None:
        self._base = url.rstrip("/")
        self._total_s = total_s
        self._stream: Any = None
        parts = urlsplit(url)
        self._client = httpx.Client(
            verify=tls_context(ca_file) if parts.scheme == "https" else False,
            trust_env=not is_loopback(parts.hostname or ""),
            follow_redirects=False,
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=90.0),
            headers={"User-Agent": f"ucx-agent/{VERSION}", "Accept": "application/json"},
        )

    def close(self) -> None:
        self._client.close()

    def request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        """One request; raises Unreachable. A body that is too long comes back cut."""
        end = threading.Timer(self._total_s, self._cut_off)
        end.daemon = True
        end.start()
        try:
            return self._ask(method, path, body, headers)
        except httpx.TimeoutException as fault:
            raise Unreachable(f"no answer in time ({type(fault).__name__})") from None
        except (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, OSError, ValueError) as fault:
            raise _unreachable(fault) from None
        finally:
            end.cancel()

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        request = self._client.build_request(
            method, self._base + path, content=body, headers=headers, extensions={"trace": self._trace}
        )
        response = self._client.send(request, stream=True)
        try:
            answer, complete = _bounded_body(response, time.monotonic() + self._total_s)
        finally:
            response.close()
        head = response.headers
        return Reply(
            response.status_code,
            head.get("content-type", ""),
            head.get("retry-after", ""),
            head.get("date", ""),
            answer,
            complete,
        )

    def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Remember the connection in use, so that it can be cut."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._stream = info.get("return_value")

    def _cut_off(self) -> None:
        """From the timer's thread: end a request that drips. The reading side then sees a closed socket."""
        stream = self._stream
        sock = stream.get_extra_info("socket") if stream is not None else None
        if sock is not None:
            try:
                # Not SSLSocket's own method: it would pull the TLS state from under the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                return


def _bounded_body(response: httpx.Response, end_s: float) -> tuple[bytes, bool]:
    """The raw body (no decompression: nothing of ours is compressed on the way back), and if it is whole."""
    parts, size = [], 0
    for part in response.iter_raw(16_384):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES or time.monotonic() > end_s:
            return b"".join(parts)[:MAX_ANSWER_BYTES], False
    return b"".join(parts), True


def _unreachable(fault: Exception) -> Unreachable:
    text = str(fault) or type(fault).__name__
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate verify failed" in text:
        return NotTrusted(f"TLS: {text}")
    return Unreachable(text)
