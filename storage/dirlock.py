"""The lock of a data directory: held by the process that runs the server there, released by the kernel when
that process ends in whatever way."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from storage.faults import DirectoryInUse

_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)


class DirectoryLock:
    """An exclusive lock on ``path`` (a file that stays; only the lock on it comes and goes)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd: int | None = None

    def take(self) -> None:
        """Raises ``DirectoryInUse`` when a live process holds it."""
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | _NO_FOLLOW, 0o600)
        try:
            _lock(fd)
        except OSError:
            owner = os.pread(fd, 32, 1).decode(errors="replace").strip() if sys.platform != "win32" else ""
            os.close(fd)
            raise DirectoryInUse(
                f"{self._path.parent} is in use by a running process{f' (pid {owner})' if owner else ''}. "
                "Stop that one first, connect to its database instead, or choose another data directory."
            ) from None
        os.ftruncate(fd, 0)
        os.write(fd, f" {os.getpid()}\n".encode())  # byte 0 is the one that Windows locks
        self._fd = fd

    def release(self) -> None:
        """Gives the lock back; harmless when not held."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _lock(fd: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
