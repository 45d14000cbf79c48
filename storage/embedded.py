"""A real PostgreSQL of our own in one directory: for trying the product, for small sites, for the tests.

The data directory (mode 0700) holds everything, and nothing outside it is touched::

    pgdata/        the cluster                     run/           the socket
    server.conf    our settings, per start         log/           PostgreSQL's log, bounded
    password       the superuser's (0600)          lock           held by the owning process
    programs-V/    a copy of the server programs, only if their home is closed to the account it runs as

- It listens on the socket in ``run/`` when that path is short enough for the kernel (``SOCKET_PATH_MAX``),
  else, and always on Windows, on a free port of 127.0.0.1. Both ask for the password (scram-sha-256).
- Started by root, it runs as an unprivileged account (storage/account.py).
- One owner: a second ``start`` on the directory by a live process is refused. The lock dies with its process.
- A killed owner takes PostgreSQL with it (``watchdog``); if it could not, the next owner stops it cleanly
  first.
- ``kill -9`` of PostgreSQL loses nothing that was committed: the next start recovers.
- initdb works beside and is renamed into place, so a kill during the first start leaves nothing half made.
"""

from __future__ import annotations

import atexit
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self
from urllib.parse import quote

import psycopg

from storage import account, binaries, leftovers, serverconf
from storage.account import Account
from storage.binaries import Binaries
from storage.dirlock import DirectoryLock
from storage.faults import ServerFailed, UnusableDirectory
from storage.serverlog import LogKeeper, last_words
from storage.watchdog import Watchdog

StopMode = Literal["smart", "fast", "immediate"]
Progress = Callable[[str], None]

USER = "ucx"
DATABASE = "ucx"
SOCKET_PORT = 5432
_LOOPBACK = "127.0.0.1"
SOCKET_PATH_MAX = 100
"""Bytes; the kernel's limit is 107 on Linux and 103 on macOS."""
START_TIMEOUT_S = 600
"""Long, because recovery after a crash may be: a short one would leave a server that nobody waits for."""
STOP_TIMEOUT_S = 60


class EmbeddedServer:
    """One server in ``data_dir``; ``with EmbeddedServer(path) as server: connect(server.url)``.

    ``settings`` overrides entries of server.conf. ``progress`` gets a line for people whenever something
    takes longer than they expect. ``watchdog=False`` lets PostgreSQL outlive a killed owner."""

    def __init__(
        self,
        data_dir: Path | str,
        *,
        settings: Mapping[str, str] | None = None,
        progress: Progress = lambda line: None,
        watchdog: bool = True,
    ) -> None:
        self.data_dir = Path(data_dir).resolve()
        self.pgdata = self.data_dir / "pgdata"
        self._settings = dict(settings or {})
        self._progress = progress
        self._lock = DirectoryLock(self.data_dir / "lock")
        self._owned = False
        self._watchdog = Watchdog() if watchdog else None
        self._account: Account | None = None
        self._programs: Binaries | None = None
        self._port = 0
        self._postmaster_pid: int | None = None
        self._log_keeper: LogKeeper | None = None

    def start(self) -> str:
        """Starts (first makes) the server and returns its URL; returns at once when it is running.

        Raises ``DirectoryInUse``, ``UnusableDirectory``, ``NoServerBinaries`` or ``ServerFailed``.
        """
        if self.running:
            return self.url
        self._own()
        try:
            self._launch()
            _ensure_database(self._url("postgres"))
        except BaseException:
            self.stop("immediate")
            raise
        return self.url

    def stop(self, mode: StopMode = "fast") -> None:
        """Stops the server and gives the directory back. ``immediate`` is a crash: the next start
        recovers."""
        if not self._owned:
            return
        if leftovers.postmaster(self.pgdata):  # also one whose start we did not see the end of
            self._stop_postmaster(mode)
        if self._watchdog:
            self._watchdog.dismiss()
        self._postmaster_pid = None
        self._disown()

    def kill(self) -> None:
        """SIGKILL to every PostgreSQL process, as a power cut would. For tests; ``start`` recovers."""
        leftovers.kill_all(self.pgdata)

    @property
    def running(self) -> bool:
        """Whether the postmaster that this object started is alive."""
        pid = self._postmaster_pid
        return pid is not None and leftovers.is_postmaster(pid, self.pgdata)

    @property
    def url(self) -> str:
        """``postgresql://`` URL for psycopg, with the password in it: never log it."""
        return self._url(DATABASE)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- owning the directory ---------------------------------------------------------------------

    def _own(self) -> None:
        if self._owned:
            return
        self._account = account.choose(self.data_dir)
        account.require_reachable(self.data_dir, self._account)
        _prepare(self.data_dir, self._account)
        self._lock.take()
        self._owned = True
        self._log_keeper = LogKeeper(self.data_dir / "log")
        atexit.register(self.stop)

    def _disown(self) -> None:
        if self._log_keeper:
            self._log_keeper.end()
        self._lock.release()
        self._owned = False
        atexit.unregister(self.stop)

    # -- starting ---------------------------------------------------------------------------------

    def _launch(self) -> None:
        self._programs = self._find_programs()
        self._remove_scratch()
        if self.pgdata.exists():
            self._settle()
        else:
            self._create()
        self._configure()
        self._start_postmaster()

    def _find_programs(self) -> Binaries:
        version_file = self.pgdata / "PG_VERSION"
        major = int(version_file.read_text()) if version_file.exists() else None
        return binaries.reachable(binaries.find(major), self._account, self.data_dir)

    def _remove_scratch(self) -> None:
        for scratch in [*self.data_dir.glob("pgdata-new-*"), *self.data_dir.glob("programs-new-*")]:
            shutil.rmtree(scratch, ignore_errors=True)

    def _settle(self) -> None:
        """Makes sure that no PostgreSQL runs here, whatever became of the last owner."""
        if leftovers.postmaster(self.pgdata):
            self._progress("PostgreSQL was left running by a killed process; stopping it first")
            self._stop_postmaster("fast")
        leftovers.end_orphans(self.pgdata, self.data_dir / "run")

    def _create(self) -> None:
        self._progress("First start: making the database (a few seconds)")
        password = self.data_dir / "password"
        _write_private(password, secrets.token_urlsafe(32), self._account)
        scratch = Path(tempfile.mkdtemp(prefix="pgdata-new-", dir=self.data_dir))
        _give(scratch, self._account)
        self._run("initdb", *_initdb_options(scratch, password, self._binaries.major, self._durable))
        with (scratch / "postgresql.conf").open("a") as conf:
            conf.write("\ninclude '../server.conf'\n")
        scratch.rename(self.pgdata)

    def _configure(self) -> None:
        run_dir = self.data_dir / "run"
        socket_path = os.fsencode(run_dir / f".s.PGSQL.{SOCKET_PORT}")
        by_socket = sys.platform != "win32" and len(socket_path) <= SOCKET_PATH_MAX
        self._port = SOCKET_PORT if by_socket else _free_port(self._port)
        where = serverconf.endpoint(str(run_dir) if by_socket else None, self._port)
        where["cluster_name"] = leftovers.cluster_name(self.pgdata)
        _write_private(self.data_dir / "server.conf", serverconf.render(where, self._settings), self._account)

    def _start_postmaster(self) -> None:
        start_log = self.data_dir / "log" / "start.log"
        _write_private(start_log, "", self._account)
        self._run("pg_ctl", "start", "-D", self.pgdata, "-w", "-t", START_TIMEOUT_S, "-s", "-l", start_log)
        process = leftovers.postmaster(self.pgdata)
        if process is None:
            raise ServerFailed(f"PostgreSQL ended right after its start; see {self.data_dir / 'log'}")
        self._postmaster_pid = process.pid
        if self._watchdog:
            self._watchdog.watch(process.pid)

    def _stop_postmaster(self, mode: StopMode) -> None:
        """In ``mode``; a server that does not obey in time is stopped at once (nothing committed is lost)."""
        try:
            self._run("pg_ctl", "stop", "-D", self.pgdata, "-w", "-t", STOP_TIMEOUT_S, "-s", "-m", mode)
        except ServerFailed:
            leftovers.kill_all(self.pgdata)

    def _run(self, program: str, *arguments: object) -> None:
        """Output goes to a file: a pipe would be inherited by the postmaster and never end."""
        with tempfile.TemporaryFile("w+") as output:
            done = account.run(
                [self._binaries.program(program), *(str(argument) for argument in arguments)],
                self._account,
                cwd=self.data_dir,
                env=_environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            if done.returncode == 0:
                return
            output.seek(0)
            said = output.read().strip()
        raise ServerFailed(
            f"{program} failed ({done.returncode}): {said}\n{last_words(self.data_dir / 'log')}"
        )

    @property
    def _binaries(self) -> Binaries:
        assert self._programs is not None, "set at the beginning of _launch"
        return self._programs

    @property
    def _durable(self) -> bool:
        return self._settings.get("fsync", "on") == "on"

    def _url(self, database: str) -> str:
        password = (self.data_dir / "password").read_text().strip()
        conf = (self.data_dir / "server.conf").read_text()
        if "listen_addresses = ''" in conf:
            host = quote(str(self.data_dir / "run"), safe="")
            return f"postgresql://{USER}:{password}@/{database}?host={host}&port={self._port}"
        return f"postgresql://{USER}:{password}@{_LOOPBACK}:{self._port}/{database}"


def _prepare(data_dir: Path, owner: Account | None) -> None:
    """Makes or checks the directory. Raises ``UnusableDirectory``."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        inside = {path.name for path in data_dir.iterdir()}
    except (FileExistsError, NotADirectoryError):
        raise UnusableDirectory(f"{data_dir} is not a folder; choose another data directory") from None
    except PermissionError as error:
        raise UnusableDirectory(
            f"{data_dir}: {error.strerror}; start as its owner or choose another"
        ) from None
    if inside and "lock" not in inside:
        raise UnusableDirectory(f"{data_dir} holds files that are not ours; choose a new or an empty folder")
    _give(data_dir, owner)
    for name in ("run", "log"):
        (data_dir / name).mkdir(mode=0o700, exist_ok=True)
        _give(data_dir / name, owner)


def _give(path: Path, owner: Account | None) -> None:
    """Makes ``path`` private to ``owner`` (None: to us)."""
    path.chmod(0o700 if path.is_dir() else 0o600)
    if owner is not None:
        os.chown(path, owner.uid, owner.gid, follow_symlinks=False)


def _write_private(path: Path, text: str, owner: Account | None) -> None:
    """Writes beside and renames: never half a file, never readable by others, never through a link."""
    fd, scratch = tempfile.mkstemp(prefix=f"{path.name}-", dir=path.parent)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    _give(Path(scratch), owner)
    Path(scratch).replace(path)


def _initdb_options(pgdata: Path, password: Path, major: int, durable: bool) -> list[object]:
    options: list[object] = [
        "-D",
        pgdata,
        "-U",
        USER,
        f"--pwfile={password}",
        "--encoding=UTF8",
        "--locale=C",
    ]
    options += ["--auth-local=scram-sha-256", "--auth-host=scram-sha-256", "--data-checksums"]
    if major >= 17:  # sorts like C, knows letters of all scripts, and never changes with the system's libc
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return options if durable else [*options, "--no-sync"]


def _environment() -> dict[str, str]:
    """Ours without what would lead PostgreSQL elsewhere (PGDATA, PGPORT ...) or need installed locales."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C", "TZ": "UTC"}


def _free_port(wanted: int) -> int:
    """``wanted`` if nobody has it, so that a restarted server keeps its URL; else any. 0: any."""
    with socket.socket() as probe:
        if sys.platform != "win32":  # old connections in TIME_WAIT do not count; on Windows it means to steal
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_LOOPBACK, wanted))
        except OSError:
            return _free_port(0)
        port: int = probe.getsockname()[1]
        return port


def _ensure_database(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as conn:
        if not conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
            conn.execute(f"CREATE DATABASE {DATABASE}")
