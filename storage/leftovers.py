"""PostgreSQL processes of one data directory: the live ones, and those a killed owner left behind.

A PostgreSQL process is told by its working directory, which is the data directory for all of them. The pid
file alone does not do: after a reboot (or in a restarted container) its number may belong to anybody, and a
killed postmaster that nobody has reaped still answers to it."""

from __future__ import annotations

from pathlib import Path

import psutil

_PATIENCE_S = 10.0


def processes(pgdata: Path) -> list[psutil.Process]:
    """Every live PostgreSQL process of ``pgdata``."""
    return [process for process in psutil.process_iter(["name"]) if _belongs(process, pgdata)]


def _belongs(process: psutil.Process, pgdata: Path) -> bool:
    try:
        if not (process.info["name"] or "").startswith("postgres"):
            return False
        return process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(pgdata)
    except psutil.Error:
        return False


def postmaster(pgdata: Path) -> psutil.Process | None:
    """The live postmaster that ``postmaster.pid`` names, or None."""
    pid = _pid_in_file(pgdata)
    return next((process for process in processes(pgdata) if process.pid == pid), None)


def is_postmaster(pid: int, pgdata: Path) -> bool:
    """Whether ``pid`` is (still) a process of ``pgdata``; cheap enough to ask every second."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and process.cwd() == str(pgdata)
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
