"""Named instances: the SQL Server Browser tells their port."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from agent.databases import Unreachable
from agent.databases.browser import ask_port, read_answer
from tests.agent.tds.kit import opened


def answer(instance: str = "SQLEXPRESS", tail: str = "tcp;49731;np;\\\\HOST\\pipe\\sql\\query;;") -> bytes:
    text = f"ServerName;HOST;InstanceName;{instance};IsClustered;No;Version;15.0.2000.5;{tail}".encode()
    return b"\x05" + len(text).to_bytes(2, "little") + text


class Browser(threading.Thread):
    """Answers on loopback as [MC-SQLR] has it; ``lose`` questions are not heard."""

    def __init__(self, reply: bytes, lose: int = 0) -> None:
        super().__init__(daemon=True)
        self._line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._line.bind(("127.0.0.1", 0))
        self.port = int(self._line.getsockname()[1])
        self._reply, self._lose = reply, lose
        self.asked: list[bytes] = []
        self.start()

    def run(self) -> None:
        with self._line:
            self._line.settimeout(20)
            for left in range(self._lose, -1, -1):
                question, client = self._line.recvfrom(100)
                self.asked.append(question)
                if left == 0:
                    self._line.sendto(self._reply, client)


def test_the_port_of_an_instance_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CLNT_UCAST_INST; one lost question is repeated; the case of the name says nothing."""
    monkeypatch.setattr("agent.databases.browser._WAIT_S", 0.3)
    browser = Browser(answer(), lose=1)
    assert ask_port("127.0.0.1", "SqlExpress", browser.port) == 49_731
    assert browser.asked == [b"\x04SqlExpress\0"] * 2


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        (b"", "no SQL Server Browser"),
        (b"\x05\xff\xffx", "no SQL Server Browser"),
        (b"\x06" + answer()[1:], "no SQL Server Browser"),
        (answer("OTHER"), "no instance 'SQLEXPRESS'"),
        (answer(tail="np;\\\\HOST\\pipe;;"), "does not listen on TCP"),
        (answer(tail="tcp;70000;;"), "does not listen on TCP"),
    ],
    ids=["empty", "size", "kind", "other", "no-tcp", "port"],
)
def test_answers_that_do_not_help(reply: bytes, fault: str) -> None:
    """Each says what to do."""
    with pytest.raises(Unreachable, match=fault) as caught:
        read_answer(reply, "SQLEXPRESS")
    assert caught.value.do


def test_nobody_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service is stopped, or a firewall swallows the question."""
    monkeypatch.setattr("agent.databases.browser._WAIT_S", 0.05)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        with pytest.raises(Unreachable, match="does not answer") as caught:
            ask_port("127.0.0.1", "X", silent.getsockname()[1])
    assert "SQL Server Browser" in caught.value.do
    with pytest.raises(Unreachable, match="not found") as caught:
        ask_port("name.invalid", "X")
    assert "DNS" in caught.value.do


def test_a_named_instance_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Browser, then server."""
    with opened(tmp_path) as site:
        server = site.server()
        browser = Browser(answer(tail=f"tcp;{server.port};;"))

        def ask(host: str, instance: str, *_: Any) -> int:
            return ask_port("127.0.0.1", instance, browser.port)

        monkeypatch.setattr("agent.databases.mssql.ask_port", ask)
        assert site.database(server, instance="SQLEXPRESS", port=9).look().online
