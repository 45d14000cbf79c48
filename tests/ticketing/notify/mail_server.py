"""A small mail server that speaks the protocol strictly and keeps what it was given."""

from __future__ import annotations

import asyncio
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser


class MailServer:
    """Listens on a free port; ``answers`` are given to coming RCPT commands instead of 250."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.answers: list[str] = []
        self.port = 0

    async def __aenter__(self) -> MailServer:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 test\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line.split()[0].upper()
            if verb == "DATA":
                writer.write(b"354 go on\r\n")
                self._keep(await reader.readuntil(b"\r\n.\r\n"))
                writer.write(b"250 kept\r\n")
            elif verb == "RCPT" and self.answers:
                writer.write(f"{self.answers.pop(0)}\r\n".encode())
            else:
                assert verb in ("EHLO", "MAIL", "RCPT", "QUIT", "RSET"), line
                writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 ok\r\n")
            if verb == "QUIT":
                break
        writer.close()

    def _keep(self, raw: bytes) -> None:
        body = raw.removesuffix(b"\r\n.\r\n").replace(b"\r\n..", b"\r\n.")
        mail = BytesParser(policy=policy.default).parsebytes(body)
        assert isinstance(mail, EmailMessage)
        self.mails.append(mail)
