"""One process per state directory: a lock that the system releases when the process dies."""

from __future__ import annotations

import os
import sys
from pathlib import Path


class Locked(Exception):
    """Another agent uses this state directory."""


class StateLock:
    """Held from ``acquire`` to the end of the process (or ``release``)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Raises Locked when another process holds it, OSError when the directory cannot be used. Once held,
        it is held."""
        if self._descriptor is not None:
            return
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _lock(descriptor)
        except OSError as fault:
            os.close(descriptor)
            raise Locked(f"another ucx-agent runs on {self._path.parent}; stop it first") from fault
        self._descriptor = descriptor

    def release(self) -> None:
        """Closing the file gives the lock back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
