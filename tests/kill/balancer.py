"""A small load balancer of bad manners: every request goes to another collector, half of them go to two at
once, and some answers never come back.

It does what real ones do: a collector that does not take the connection is passed over, one that dies before
it has answered becomes a 502 with a page of the balancer's own. The bad manners are what real ones do
sometimes: a request is tried again elsewhere although the first collector may have committed it.
"""

from __future__ import annotations

import http.client
import random
import socket
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

TWICE_SHARE = 0.5
"""Of the requests that go to two collectors at the same time."""
LOST_SHARE = 0.05
"""Of the answers that never come back."""
PATIENCE_S = 8.0
_PAGE = b"<html><body>The server behind this balancer is away.</body></html>"
_PASSED_ON = ("authorization", "content-type", "content-encoding", "ucx-sent-at")


class Answer(NamedTuple):
    """What goes back to the client."""

    status: int
    kind: str
    body: bytes


BAD_GATEWAY = Answer(502, "text/html", _PAGE)


class Balancer:
    """Listens on a free port of 127.0.0.1 and knows the collectors by theirs."""

    def __init__(self, ports: Sequence[int], chance: random.Random) -> None:
        self._ports = ports
        self._chance = chance
        self._lock = threading.Lock()
        self._senders = ThreadPoolExecutor(32)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_port}"
        self.twice = 0
        """Requests that went to two collectors at once."""
        self.lost = 0
        """Answers that were thrown away."""
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        """No more requests."""
        self._server.shutdown()
        self._server.server_close()
        self._senders.shutdown()

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """What one request comes to; None: its answer is lost, the connection is cut."""
        with self._lock:
            order = self._chance.sample(self._ports, len(self._ports))
            twice, lose = (
                self._chance.random() < TWICE_SHARE,
                self._chance.random() < LOST_SHARE,
            )
            self.twice, self.lost = self.twice + twice, self.lost + lose
        firsts = order[:2] if twice else order[:1]
        sent = [
            self._senders.submit(_forward, _from(order, port), method, path, headers, body) for port in firsts
        ]
        done, _ = wait(sent, timeout=PATIENCE_S, return_when=FIRST_COMPLETED)
        answer = next(iter(done)).result() if done else BAD_GATEWAY
        return None if lose else answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        balancer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name: self.headers[name] for name in _PASSED_ON if name in self.headers}
                answer = balancer.answer(self.command, self.path, headers, body)
                if answer is None:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.kind)
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            do_PUT = do_POST

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        return Handler


def _from(order: Sequence[int], first: int) -> list[int]:
    start = order.index(first)
    return [*order[start:], *order[:start]]


def _forward(ports: Sequence[int], method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
    """The answer of the first collector that takes the connection."""
    for port in ports:
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
        try:
            link.connect()
        except OSError:
            continue  # it is being killed: the next one
        try:
            link.request(method, path, body, dict(headers))
            answer = link.getresponse()
            return Answer(answer.status, answer.getheader("Content-Type", ""), answer.read())
        except (OSError, http.client.HTTPException):
            return BAD_GATEWAY
        finally:
            link.close()
    return BAD_GATEWAY
