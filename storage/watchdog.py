"""Ends PostgreSQL when its owner is gone, in whatever way it went.

A tiny shell waits on a pipe whose other end the owner holds. A goodbye ends the shell; the end of the pipe
without one means that the owner was killed, and the shell asks the postmaster for a fast shutdown. POSIX
only: on Windows PostgreSQL outlives a killed owner and is stopped by the next one."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = 'read -r goodbye || kill -INT "$0"'


class Watchdog:
    """Guards one postmaster at a time."""

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = None

    def watch(self, pid: int) -> None:
        """Guards ``pid`` (instead of the one before)."""
        self.dismiss()
        if sys.platform == "win32":
            return
        self._shell = subprocess.Popen(  # noqa: S603 - our own argument list
            ["/bin/sh", "-c", _SCRIPT, str(pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in the owner's terminal is not for it
            cwd="/",
        )

    def dismiss(self) -> None:
        """Nothing to guard any more."""
        if self._shell is None:
            return
        try:
            self._shell.communicate(b"goodbye\n", timeout=10)
        except (subprocess.TimeoutExpired, OSError):
            self._shell.kill()
            self._shell.communicate()
        self._shell = None
