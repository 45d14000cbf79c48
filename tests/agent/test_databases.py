"""PostgreSQL and MariaDB are watched: the real servers, with the documented logins."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from agent.checks.database import DatabaseCheck, open_database
from agent.databases import Blind, DatabaseRule, Unreachable
from tests.agent.kit import by_name

_DB = "ucx.database"


@pytest.fixture
def watched(database_url: str, tmp_path: Path) -> DatabaseRule:
    """A PostgreSQL database with the login that the documentation names."""
    role = f"ucx_agent_{os.getpid()}"
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(f"DROP ROLE IF EXISTS {role}")
        conn.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'secret'")
        conn.execute(f"GRANT pg_monitor TO {role}")
    parts = conninfo_to_dict(database_url)
    (tmp_path / "pw").write_text("secret\n")
    return DatabaseRule(
        "main",
        "postgresql",
        str(parts["host"]),
        int(parts["port"] or 0),
        role,
        str(parts["dbname"]),
        tmp_path / "pw",
    )


def test_postgresql_is_watched_with_the_least_rights(watched: DatabaseRule, database_url: str) -> None:
    """Size as PostgreSQL itself says; nothing can be written over this login's connection."""
    check = DatabaseCheck([watched])
    check.read(0.0)
    values = by_name(check.read(60.0))
    with psycopg.connect(database_url) as conn:
        row = conn.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row is not None
    assert values["ucx.database.online main"] == 1
    assert values["ucx.database.size main"] == pytest.approx(row[0], rel=0.05)
    assert values["ucx.database.sessions.blocked main"] == 0
    assert values["ucx.database.deadlock.rate main"] == 0
    used = values["ucx.database.connections.utilization main"]
    assert used is not None
    assert 0 < used < 1


def test_a_blocked_session_is_counted(watched: DatabaseRule, database_url: str) -> None:
    """Two sessions, one lock."""
    with psycopg.connect(database_url) as first, psycopg.connect(database_url) as second:
        first.execute("CREATE TABLE held (a int)")
        first.commit()
        first.execute("LOCK TABLE held")
        waiting = threading.Thread(target=second.execute, args=("LOCK TABLE held",))
        waiting.start()
        end = time.monotonic() + 20
        while not (blocked := open_database(watched).look().blocked) and time.monotonic() < end:
            time.sleep(0.05)
        first.commit()
        waiting.join()
        second.rollback()
    assert blocked == 1


def test_a_database_out_of_reach_is_not_online_and_one_that_lets_us_not_in_is_not_watched(
    watched: DatabaseRule,
) -> None:
    """Nobody there, no such database: 0. Wrong password, no password file: nobody is woken for our login."""
    (watched.password_file or Path()).with_name("wrong").write_text("wrong")
    rules = [
        watched._replace(name="gone", host="127.0.0.1", port=9),
        watched._replace(name="absent", database="no_such_database"),
        watched._replace(name="wrong", password_file=(watched.password_file or Path()).with_name("wrong")),
        watched._replace(name="nobody", user="nobody_at_all"),
        watched._replace(name="no_file", password_file=Path("/no/such/file")),
    ]
    values = by_name(DatabaseCheck(rules).read(0.0))
    told = {
        rule.name: (values[f"{_DB}.online {rule.name}"], values[f"{_DB}.watched {rule.name}"])
        for rule in rules
    }
    blind, down = (None, 0), (0, 1)
    assert told == {"gone": down, "absent": down, "wrong": blind, "nobody": blind, "no_file": blind}
    assert values["ucx.database.size gone"] is None


@pytest.fixture(scope="module")
def mariadb() -> Iterator[tuple[int, str]]:
    """A real MariaDB on a free port: (port, socket)."""
    folder = Path(tempfile.mkdtemp(prefix="ucx-maria-"))
    shutil.chown(folder, "mysql", "mysql")
    install = [
        "mariadb-install-db",
        "--user=mysql",
        f"--datadir={folder}/data",
        "--auth-root-authentication-method=normal",
    ]
    subprocess.run(install, check=True, capture_output=True)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [
        "mariadbd",
        "--no-defaults",
        "--user=mysql",
        f"--datadir={folder}/data",
        f"--socket={folder}/s",
        f"--port={port}",
    ]
    server = subprocess.Popen(
        [*command, "--bind-address=127.0.0.1", f"--pid-file={folder}/pid"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await_mariadb(port)
        yield port, f"{folder}/s"
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _await_mariadb(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError("MariaDB did not start")


_needs_mariadb = [
    pytest.mark.needs("mariadbd", "mariadb-install-db"),
    pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="starts MariaDB as its own user"),
]


def needs_mariadb(test: Callable[..., None]) -> Callable[..., None]:
    for mark in _needs_mariadb:
        test = mark(test)
    return test


@pytest.fixture
def maria(mariadb: tuple[int, str], tmp_path: Path) -> Iterator[tuple[DatabaseRule, Any]]:
    """A database with the login of the documentation; a cursor of root."""
    pymysql = pytest.importorskip("pymysql")
    port, path = mariadb
    (tmp_path / "pw").write_text("secret\n")
    rule = DatabaseRule("ucx", "mysql", "127.0.0.1", port, "ucx_agent", "ucx", tmp_path / "pw")
    with pymysql.connect(unix_socket=path, user="root", autocommit=True) as root, root.cursor() as cursor:
        cursor.execute("CREATE DATABASE ucx")
        cursor.execute("CREATE TABLE ucx.calls (id INT PRIMARY KEY, note VARCHAR(200)) ENGINE=InnoDB")
        cursor.execute("INSERT INTO ucx.calls VALUES (1, ''), (2, '')")
        cursor.execute("CREATE USER ucx_agent@localhost IDENTIFIED BY 'secret'")
        cursor.execute("GRANT PROCESS ON *.* TO ucx_agent@localhost")
        cursor.execute("GRANT SELECT ON ucx.* TO ucx_agent@localhost")
        try:
            yield rule, cursor
        finally:
            cursor.execute("DROP DATABASE ucx")
            cursor.execute("DROP USER ucx_agent@localhost")


@needs_mariadb
def test_mariadb_is_watched_with_the_least_rights(maria: tuple[DatabaseRule, Any]) -> None:
    """The login of the documentation sees all values; size as MariaDB itself says."""
    rule, _ = maria
    check = DatabaseCheck([rule, rule._replace(name="closed", password_file=None)])
    check.read(0.0)
    values = by_name(check.read(60.0))
    assert values["ucx.database.online ucx"] == 1
    assert values["ucx.database.size ucx"] == 16_384
    assert values["ucx.database.sessions.blocked ucx"] == 0
    assert values["ucx.database.deadlock.rate ucx"] == 0
    used = values["ucx.database.connections.utilization ucx"]
    assert used is not None
    assert 0 < used < 0.1
    assert values["ucx.database.online closed"] is None
    assert values["ucx.database.watched closed"] == 0
    assert open_database(rule).look().missing == ()


@needs_mariadb
def test_mariadb_tells_blocked_sessions_and_deadlocks(maria: tuple[DatabaseRule, Any]) -> None:
    """Two sessions, two rows, the wrong order: first one waits, then one is the victim."""
    import pymysql

    rule, root = maria
    root.execute("GRANT ALL ON ucx.* TO ucx_agent@localhost")
    before = open_database(rule).look().deadlocks
    login: dict[str, Any] = {"host": rule.host, "port": rule.port, "user": rule.user, "password": "secret"}
    with (
        contextlib.closing(pymysql.connect(**login)) as one,
        contextlib.closing(pymysql.connect(**login)) as two,
    ):
        lock = "SELECT * FROM ucx.calls WHERE id = {} FOR UPDATE"
        one.cursor().execute(lock.format(1))
        two.cursor().execute(lock.format(2))
        waiting = threading.Thread(target=_swallow(lambda: one.cursor().execute(lock.format(2))))
        waiting.start()
        end = time.monotonic() + 20
        while not (state := open_database(rule).look()).blocked and time.monotonic() < end:
            time.sleep(0.05)
        _swallow(lambda: two.cursor().execute(lock.format(1)))()
        waiting.join(20)
    assert state.blocked == 1
    after = open_database(rule).look().deadlocks
    assert before is not None
    assert after == before + 1


def _swallow(act: Callable[[], object]) -> Callable[[], None]:
    import pymysql

    def run() -> None:
        with contextlib.suppress(pymysql.Error):
            act()

    return run


@needs_mariadb
def test_mariadb_names_a_missing_right(maria: tuple[DatabaseRule, Any]) -> None:
    """Without PROCESS the waiting sessions are not seen; without SELECT no size; the rest stays. A database
    that is gone is not online, one that is closed to us is not watched."""
    rule, root = maria
    root.execute("REVOKE PROCESS ON *.* FROM ucx_agent@localhost")
    state = open_database(rule).look()
    assert (state.blocked, state.size) == (None, 16_384)
    assert [one.do for one in state.missing] == ["GRANT PROCESS ON *.* TO this login."]
    root.execute("GRANT PROCESS ON *.* TO ucx_agent@localhost")
    root.execute("REVOKE SELECT ON ucx.* FROM ucx_agent@localhost")
    with pytest.raises(Blind, match="1044"):
        open_database(rule).look()
    root.execute("GRANT SELECT ON *.* TO ucx_agent@localhost")
    with pytest.raises(Unreachable, match="1049"):
        open_database(rule._replace(database="gone")).look()


@needs_mariadb
def test_over_mariadb_nothing_can_be_written(maria: tuple[DatabaseRule, Any]) -> None:
    """Even a login with every right only reads: its session is read-only."""
    import pymysql

    from agent.databases.mysql import _state

    rule, root = maria
    root.execute("GRANT ALL ON *.* TO ucx_agent@localhost")
    connection = pymysql.connect(host=rule.host, port=rule.port, user=rule.user, password="secret")
    with contextlib.closing(connection), connection.cursor() as cursor:
        _state(cursor, "ucx")
        with pytest.raises(pymysql.Error, match="READ ONLY"):
            cursor.execute("INSERT INTO ucx.calls VALUES (9, '')")


def test_a_line_to_postgresql_that_is_cut_is_noticed_within_seconds(
    watched: DatabaseRule, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the system's own limits a question over it would hang for two hours, and the database count as out
    of reach as long. What libpq was told, by its own account."""
    told: list[dict[str, str]] = []
    connect = psycopg.connect

    def spy(**settings: Any) -> Any:
        connection = connect(**settings)
        told.append(connection.info.get_parameters())
        return connection

    monkeypatch.setattr(psycopg, "connect", spy)
    assert open_database(watched).look().online
    [settings] = told
    idle, interval, count = (int(settings[f"keepalives_{name}"]) for name in ("idle", "interval", "count"))
    assert idle + interval * count <= 8
    assert int(settings["tcp_user_timeout"]) <= 8000


def test_postgresql_names_a_missing_right(watched: DatabaseRule, database_url: str) -> None:
    """Without pg_monitor other roles' waits are hidden: no value, never a false 0."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(f"REVOKE pg_monitor FROM {watched.user}")
    state = open_database(watched).look()
    assert (state.blocked, state.online) == (None, True)
    assert state.size is not None
    assert [one.do for one in state.missing] == ["GRANT pg_monitor TO this login."]


def test_postgresql_counts_deadlocks(watched: DatabaseRule, database_url: str) -> None:
    """Two sessions, two locks, the wrong order."""
    before = open_database(watched).look().deadlocks
    with psycopg.connect(database_url) as first, psycopg.connect(database_url) as second:
        for conn in (first, second):
            conn.execute("SET deadlock_timeout = '50ms'")
        first.execute("SELECT pg_advisory_xact_lock(1)")
        second.execute("SELECT pg_advisory_xact_lock(2)")
        waiting = threading.Thread(target=_waiting(first))
        waiting.start()
        _waiting(second, 1)()
        waiting.join(20)
    end = time.monotonic() + 20
    while (after := open_database(watched).look().deadlocks) == before and time.monotonic() < end:
        time.sleep(0.1)  # statistics arrive a little later
    assert before is not None
    assert after == before + 1


def _waiting(conn: psycopg.Connection[Any], lock: int = 2) -> Callable[[], None]:
    def run() -> None:
        with contextlib.suppress(psycopg.errors.DeadlockDetected):
            conn.execute(f"SELECT pg_advisory_xact_lock({lock})")
        conn.rollback()

    return run
