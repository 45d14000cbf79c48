"""A start beside a database that starts up: it waits, says so, and gives up where waiting cannot help."""

from __future__ import annotations

import logging
import socket
import threading
import time

import psycopg
import pytest

from ucx_proactive.serve import wait_for_database


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_database_that_is_there_is_not_waited_for(database_url: str) -> None:
    """One connection, and on."""
    wait_for_database(database_url, within_s=0)


def test_what_waiting_cannot_mend_is_told_at_once(database_url: str) -> None:
    """A database that does not exist stays away; its start ends with the server's own words."""
    elsewhere = psycopg.conninfo.make_conninfo(database_url, dbname="nowhere")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        wait_for_database(elsewhere, within_s=600)


def test_a_database_that_never_comes_ends_the_start(caplog: pytest.LogCaptureFixture) -> None:
    """The wait is said once, bounded, and ends with the reason."""
    url = f"postgresql://nobody@127.0.0.1:{closed_port()}/none"
    with caplog.at_level(logging.WARNING), pytest.raises(psycopg.OperationalError, match="refused"):
        wait_for_database(url, within_s=0.3, pause_s=0.05)
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "waiting up to 0 s for the database"
    ]
    assert "refused" in caplog.text  # the reason, and not the question that libpq adds to it


def test_a_database_that_comes_late_is_waited_for(database_url: str) -> None:
    """Nobody listens at first; a relay to the real server opens the port a moment later."""
    port, known = closed_port(), psycopg.conninfo.conninfo_to_dict(database_url)
    late = psycopg.conninfo.make_conninfo(database_url, host="127.0.0.1", port=port)
    relay = threading.Thread(
        target=_relay_once, args=(port, str(known["host"]), int(str(known["port"]))), daemon=True
    )
    relay.start()
    wait_for_database(late, within_s=30, pause_s=0.05)
    relay.join()


def _relay_once(port: int, host: str, real: int) -> None:
    """Open ``port`` after a moment and pass one connection on to the real server."""
    time.sleep(0.3)
    family = socket.AF_UNIX if host.startswith("/") else socket.AF_INET
    address = f"{host}/.s.PGSQL.{real}" if host.startswith("/") else (host, real)
    with socket.create_server(("127.0.0.1", port)) as door, socket.socket(family) as server:
        client, _ = door.accept()
        server.connect(address)
        back = threading.Thread(target=_pump, args=(server, client), daemon=True)
        back.start()
        _pump(client, server)
        back.join()
        client.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)
    target.shutdown(socket.SHUT_WR)
