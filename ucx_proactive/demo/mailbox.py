"""The customer's mail server: real SMTP on loopback, every mail kept as a file and as what a reader sees.

    001-it@platinum.example.eml   as it came over the wire
    001-it@platinum.example.txt   its plain text
    001-it@platinum.example.html  its HTML, for a browser

Only what a submission needs (RFC 5321): HELO, EHLO, MAIL, RCPT, DATA, RSET, NOOP, QUIT. No relay, no TLS.
"""

from __future__ import annotations

import email
import email.policy
import re
import socketserver
import threading
from datetime import datetime
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import msgspec

from wire.clock import Clock

MAX_BYTES = 10 * 1024**2
"""Largest mail that is taken."""
_ADDRESS = re.compile(r"^(?:MAIL FROM|RCPT TO):\s*<([^<>\s]*)>", re.IGNORECASE)
_UNSAFE = re.compile(r"[^A-Za-z0-9@._+-]")


class Mail(msgspec.Struct, frozen=True):
    """A mail that arrived."""

    at: datetime
    recipient: str
    subject: str
    language: str
    """As its Content-Language says; empty: it says nothing."""
    message_id: str
    text: str
    """Its plain text."""
    file: Path
    """Where the .eml lies; .txt and .html beside it."""


class Mailbox:
    """A mail server in a thread of its own, from ``with`` to the end of the block."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._clock = clock
        self._mails: tuple[Mail, ...] = ()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Session)
        self._server.mailbox = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def mails(self) -> tuple[Mail, ...]:
        """Everything that arrived, in order; a mail that came twice (same Message-ID) stands here once."""
        return self._mails

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def keep(self, recipient: str, body: bytes) -> None:
        """Store one mail for one recipient."""
        message = email.message_from_bytes(body, policy=email.policy.default)
        with self._lock:
            if any(m.message_id == message["Message-ID"] and m.recipient == recipient for m in self._mails):
                return
            name = f"{len(self._mails) + 1:03}-{_UNSAFE.sub('_', recipient)}"
            file = self._directory / f"{name}.eml"
            file.write_bytes(body)
            text, markup = part(message, "plain"), part(message, "html")
            file.with_suffix(".txt").write_text(text, encoding="utf-8")
            file.with_suffix(".html").write_text(markup, encoding="utf-8")
            self._mails += (self._mail(recipient, message, text, file),)

    def _mail(self, recipient: str, message: EmailMessage, text: str, file: Path) -> Mail:
        return Mail(
            at=self._clock(),
            recipient=recipient,
            subject=str(message["Subject"] or ""),
            language=str(message["Content-Language"] or ""),
            message_id=str(message["Message-ID"] or ""),
            text=text,
            file=file,
        )


def part(message: EmailMessage, kind: str) -> str:
    """The mail's text of one kind (``plain`` or ``html``); empty when it has none."""
    body = message.get_body((kind,))
    return "" if body is None else str(body.get_content())


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    mailbox: Mailbox


class _Session(socketserver.StreamRequestHandler):
    """One connection of a client's."""

    timeout = 60

    def handle(self) -> None:
        self._recipients: list[str] = []
        self._say("220 loopback ESMTP of the demo")
        while line := self.rfile.readline(4096):
            command = line.decode("utf-8", "replace").strip()
            if not self._obey(command):
                return

    def _obey(self, command: str) -> bool:
        """Answer one command; False: the client has said goodbye."""
        match command[:4].upper():
            case "EHLO":
                self._say("250-loopback", f"250-SIZE {MAX_BYTES}", "250-8BITMIME", "250 SMTPUTF8")
            case "MAIL" | "RSET":
                self._recipients = []
                self._say("250 well")
            case "RCPT":
                self._recipient(command)
            case "DATA":
                self._data()
            case "HELO" | "NOOP":
                self._say("250 well")
            case "QUIT":
                self._say("221 goodbye")
                return False
            case _:
                self._say("502 not known here")
        return True

    def _recipient(self, command: str) -> None:
        found = _ADDRESS.match(command)
        if found is None or not found[1]:
            self._say("501 an address in angle brackets is needed")
            return
        self._recipients.append(found[1])
        self._say("250 well")

    def _data(self) -> None:
        if not self._recipients:
            self._say("503 a recipient comes first")
            return
        self._say("354 go on, a single dot ends it")
        body = self._body()
        if body is None:
            self._say("552 too large")
            return
        for recipient in self._recipients:
            cast(_Server, self.server).mailbox.keep(recipient, body)
        self._recipients = []
        self._say("250 kept")

    def _body(self) -> bytes | None:
        """The lines up to the single dot, unstuffed; None: too many."""
        lines, size = [], 0
        while (line := self.rfile.readline(64 * 1024)) not in (b".\r\n", b".\n", b""):
            size += len(line)
            if size <= MAX_BYTES:
                lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines) if size <= MAX_BYTES else None

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())
