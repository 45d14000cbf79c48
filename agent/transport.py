"""HTTP to the collector, bounded in every direction: no redirects, a small answer, a hard end in time.

    Unreachable       no answer: name, connection, proxy, TLS, time
    `- NotTrusted     the certificate is not one that we trust

Plain http is for loopback addresses only, or when the administrator says so explicitly. Python's own
http.client does the work: a larger client costs a customer's host more memory than the rest of the agent.
"""

from __future__ import annotations

import http.client
import select
import socket
import ssl
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

from agent import VERSION
from agent.delivery import Reply
from agent.proxy import Proxy

MAX_ANSWER_BYTES = 65_536
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 30.0
TOTAL_TIMEOUT_S = 60.0
"""No request takes longer, however slowly an answer drips."""
_HEADERS = {"User-Agent": f"ucx-agent/{VERSION}"}
KEEP_S = 90.0
"""A connection that was idle for longer is not used again."""


class Unreachable(Exception):
    """No answer. The message says at which step."""


class NotTrusted(Unreachable):
    """TLS: the other side's certificate is not trusted."""


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """The system's trusted roots, or only those of ``ca_file``; raises OSError when it cannot be read."""
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class _Tunnelled(http.client.HTTPSConnection):
    """Before Python 3.12 an IPv6 address is asked of a proxy without its brackets, which none understands."""

    _tunnel_host: str | None

    def _tunnel(self) -> None:
        host = self._tunnel_host
        if host and ":" in host:
            self._tunnel_host = f"[{host}]"
        try:
            super()._tunnel()  # type: ignore[misc]  # the standard library's own, absent from its stubs
        finally:
            self._tunnel_host = host


class Transport:
    """One connection to the collector, one request at a time."""

    def __init__(
        self,
        url: str,
        ca_file: Path | None = None,
        total_s: float = TOTAL_TIMEOUT_S,
        proxy: Proxy | None = None,
    ) -> None:
        parts = urlsplit(url.rstrip("/"))
        self._host, self._path = parts.hostname or "", parts.path
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._authority = parts.netloc
        self._tls = tls_context(ca_file) if parts.scheme == "https" else None
        self._proxy = proxy
        self._total_s = total_s
        self._connection: http.client.HTTPConnection | None = None
        self._socket: socket.socket | None = None
        """Of the connection; http.client lets go of it while an answer is read to its end."""
        self._used_s = 0.0
        self._cut = False

    def close(self) -> None:
        """Give the connection back; the next request opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        """One request; raises Unreachable. A body that is too long comes back cut."""
        self._cut = False
        end = threading.Timer(self._total_s, self._cut_off)
        end.daemon = True
        end.start()
        try:
            return self._ask(method, path, body, headers)
        except TimeoutError:
            self.close()
            raise Unreachable("no answer in time") from None
        except (http.client.HTTPException, OSError, ValueError) as fault:
            self.close()
            raise self._unreachable(fault) from None
        finally:
            end.cancel()

    def _ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        """A kept connection that the other side has closed meanwhile is replaced, once."""
        kept = self._kept()
        if kept is not None:
            try:
                return self._exchange(kept, method, path, body, headers)
            except (http.client.RemoteDisconnected, ConnectionError):
                self.close()
                if self._cut:
                    raise
        return self._exchange(self._open(), method, path, body, headers)

    def _kept(self) -> http.client.HTTPConnection | None:
        """The connection of the last request, unless it is old or the other side has closed it: a batch sent
        into a closed connection travels for nothing."""
        if self._connection is not None and (time.monotonic() - self._used_s > KEEP_S or self._has_ended()):
            self.close()
        return self._connection

    def _has_ended(self) -> bool:
        """Between two requests nothing is to be read; what can be read there is the end."""
        try:
            return self._socket is None or bool(select.select([self._socket], [], [], 0)[0])
        except (OSError, ValueError):
            return True

    def _open(self) -> http.client.HTTPConnection:
        via = (self._proxy.host, self._proxy.port) if self._proxy else (self._host, self._port)
        connection = self._connection = self._unopened(via)
        self._socket = None
        connection.connect()
        connection.sock.settimeout(READ_TIMEOUT_S)
        self._socket = connection.sock
        return connection

    def _unopened(self, via: tuple[str, int]) -> http.client.HTTPConnection:
        if self._tls is None:
            return http.client.HTTPConnection(*via, timeout=CONNECT_TIMEOUT_S)
        connection = _Tunnelled(*via, timeout=CONNECT_TIMEOUT_S, context=self._tls)
        if self._proxy is not None:
            connection.set_tunnel(self._host, self._port, _proxy_headers(self._proxy))
        return connection

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str],
    ) -> Reply:
        target, more = self._path + path, {**_HEADERS, "Host": self._authority}
        if self._proxy is not None and self._tls is None:
            target, more = f"http://{self._authority}{target}", more | _proxy_headers(self._proxy)
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in (more | headers | {"Content-Length": str(len(body))}).items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        answer, complete = _bounded_body(response)
        self._used_s = time.monotonic()
        if not complete or response.will_close:
            self.close()
        head = response.headers
        return Reply(
            response.status,
            head.get("content-type", ""),
            head.get("retry-after", ""),
            head.get("date", ""),
            answer,
            complete,
        )

    def _cut_off(self) -> None:
        """From the timer's thread: end a request that drips. The reading side then sees a closed socket."""
        self._cut = True
        sock: socket.socket | None = self._socket or getattr(self._connection, "sock", None)
        if sock is not None:
            with suppress(OSError):
                # Not SSLSocket's own method: it would pull the TLS state from under the reading thread.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _unreachable(self, fault: Exception) -> Unreachable:
        text = str(fault) or type(fault).__name__
        if isinstance(fault, ssl.SSLCertVerificationError):
            return NotTrusted(f"TLS: {text}")
        if self._cut:
            return Unreachable(f"no answer within {self._total_s:g} s")
        through = f"through the proxy {self._proxy}: " if self._proxy else ""
        return Unreachable(f"{through}{text[:300]}")


def _proxy_headers(proxy: Proxy) -> dict[str, str]:
    return {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}


def _bounded_body(response: http.client.HTTPResponse) -> tuple[bytes, bool]:
    """The raw body (no decompression: nothing of ours is compressed on the way back), and if it is whole."""
    body = response.read(MAX_ANSWER_BYTES + 1)
    if len(body) > MAX_ANSWER_BYTES:
        return body[:MAX_ANSWER_BYTES], False
    if response.length:
        raise http.client.IncompleteRead(body, response.length)
    return body, True
