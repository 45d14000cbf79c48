"""What the phone company really did: one JSON object per line, on disk before anything is answered.

A driver that kills the pager reads it as the truth about calls placed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from wire.clock import Clock


class Journal:
    """Append-only. Without a path it keeps nothing."""

    def __init__(self, path: Path | None, clock: Clock) -> None:
        self._clock = clock
        self._file = None if path is None else os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def write(self, kind: str, facts: Mapping[str, Any]) -> None:
        """One line, synced: ``{"at": ..., "kind": ..., ...}``."""
        if self._file is None:
            return
        line = msgspec.json.encode({"at": self._clock(), "kind": kind, **facts}) + b"\n"
        os.write(self._file, line)
        os.fsync(self._file)

    def close(self) -> None:
        """Further lines are not written."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
