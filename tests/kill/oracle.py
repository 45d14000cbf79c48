"""An append-only journal of JSON lines that survives a kill at any instant.

``append`` returns only after the line is on disk. A torn last line (killed while writing) is ignored by
``read``: what it would have said was never relied upon.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class Journal:
    """One writer, one file."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        if os.fstat(self._file).st_size and not _ends_with_newline(path):
            os.write(self._file, b"\n")  # the writer before us was killed within a line

    def append(self, **record: Any) -> None:
        """Write one record and force it to disk."""
        os.write(self._file, json.dumps(record, separators=(",", ":")).encode() + b"\n")
        os.fsync(self._file)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read(path: Path) -> Iterator[dict[str, Any]]:
    """All whole records of a journal, in order; nothing when the file does not exist."""
    if not path.exists():
        return
    for line in path.read_bytes().split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue  # a torn line
        if isinstance(record, dict):
            yield record
