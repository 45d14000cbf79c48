"""PostgreSQL processes of one data directory: the live ones, and those a killed owner left behind.

They are told by their command lines, which anybody may read (working directories are closed even to root in
a container): the postmaster's names the data directory after ``-D``, and its children's titles begin with the
cluster name, which we derive from that directory. The pid file alone does not do: after a reboot (or in a
restarted container) its number may belong to anybody, and a killed postmaster that nobody has reaped still
answers to it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import psutil

_PATIENCE_S = 10.0


def cluster_name(pgdata: Path) -> str:
    """The name that PostgreSQL shows in the titles of ``pgdata``'s processes."""
    return f"ucx-{hashlib.sha256(os.fsencode(pgdata)).hexdigest()[:12]}"


def processes(pgdata: Path) -> list[psutil.Process]:
    """Every live PostgreSQL process of ``pgdata``."""
    return [process for process in psutil.process_iter() if _belongs(process, pgdata)]


def _belongs(process: psutil.Process, pgdata: Path) -> bool:
    try:
        if not process.name().startswith("postgres") or process.status() == psutil.STATUS_ZOMBIE:
            return False
        words = process.cmdline()
    except psutil.Error:
        return False
    return _names_folder(words, str(pgdata)) or f": {cluster_name(pgdata)}:" in " ".join(words)


def _names_folder(words: list[str], folder: str) -> bool:
    return any(words[at : at + 2] == ["-D", folder] for at in range(len(words)))


def postmaster(pgdata: Path) -> psutil.Process | None:
    """The live postmaster that ``postmaster.pid`` names, or None."""
    pid = _pid_in_file(pgdata)
    return next((process for process in processes(pgdata) if process.pid == pid), None)


def is_postmaster(pid: int, pgdata: Path) -> bool:
    """Whether ``pid`` is (still) a process of ``pgdata``; cheap enough to ask every second."""
    try:
        return _belongs(psutil.Process(pid), pgdata)
    except psutil.Error:
        return False


def _pid_in_file(pgdata: Path) -> int | None:
    try:
        first = (pgdata / "postmaster.pid").read_text().split("\n", 1)[0]
        return abs(int(first))
    except (OSError, ValueError):
        return None


def end_orphans(pgdata: Path, run_dir: Path) -> None:
    """Ends what is left of a server whose postmaster is gone, and removes its pid file and its socket's.

    Backends notice the death of their postmaster by themselves, one that is busy only later; it is killed
    then. Nothing is lost by that: recovery at the next start replays what was committed."""
    left = processes(pgdata)
    _, left = psutil.wait_procs(left, timeout=_PATIENCE_S if left else 0)
    for process in left:
        _kill(process)
    psutil.wait_procs(left, timeout=_PATIENCE_S)
    for stale in (pgdata / "postmaster.pid", *run_dir.glob(".s.PGSQL.*")):
        stale.unlink(missing_ok=True)


def kill_all(pgdata: Path) -> None:
    """SIGKILL to the postmaster and then to all its children: the crash that tests ask for."""
    first = postmaster(pgdata)
    for process in [*([first] if first else []), *processes(pgdata)]:
        _kill(process)
    psutil.wait_procs(processes(pgdata), timeout=_PATIENCE_S)


def _kill(process: psutil.Process) -> None:
    try:
        process.kill()
    except psutil.NoSuchProcess:
        return
