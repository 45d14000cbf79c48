"""The demo's own processes: started with their output kept in a file each, stopped by their process id."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path


class DemoFailed(Exception):
    """The demo cannot go on; the message says what to do."""


class Process:
    """One child process with a log file."""

    def __init__(
        self, name: str, argv: Sequence[str], log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - our own programs
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                start_new_session=True,  # Ctrl-C reaches the demo alone, which then stops us in order
            )
        self._leash = _leash(self._popen.pid)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._popen.poll()

    def require_running(self) -> None:
        """Raise DemoFailed with the last lines of the log when the process has ended."""
        if not self.running:
            raise DemoFailed(f"{self.name} ended with {self._popen.returncode}:\n{self.last_words()}")

    def last_words(self, lines: int = 15) -> str:
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in text[-lines:])

    def stop(self, timeout_s: float = 15.0) -> None:
        """Ask it to end; insist when it does not."""
        _let_go(self._leash)
        if not self.running:
            return
        with contextlib.suppress(ProcessLookupError):
            self._popen.send_signal(signal.SIGCONT)  # it may be frozen by the agent-silent fault
            self._popen.terminate()
        try:
            self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


def _leash(pid: int) -> subprocess.Popen[bytes]:
    """A tiny shell that ends ``pid`` when this process is gone without having let go, killed for instance."""
    return subprocess.Popen(  # noqa: S603 - our own argument list
        ["/bin/sh", "-c", 'read -r goodbye || { kill -CONT "$0"; kill "$0"; }', str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )


def _let_go(leash: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired, OSError, ValueError):
        leash.communicate(b"goodbye\n", timeout=5)


def free_port() -> int:
    """A TCP port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(what: str, ready: Callable[[], bool], watched: Process, timeout_s: float = 90.0) -> None:
    """Until ``ready()``; raises DemoFailed when the watched process ends first or time is up."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        watched.require_running()
        if time.monotonic() > deadline:
            raise DemoFailed(f"{what} took longer than {timeout_s:.0f} s:\n{watched.last_words()}")
        time.sleep(0.1)
