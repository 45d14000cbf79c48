"""The embedded server's log: at most ``FILES`` files of at most 10 MB (the setting ``log_rotation_size``)."""

from __future__ import annotations

import threading
from pathlib import Path

FILES = 10
_EVERY_S = 60.0
_LAST_WORDS = 1500


class LogKeeper:
    """Thins out the log in ``folder`` now and then, on a thread of its own that ends with the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="postgresql-log", daemon=True).start()

    def end(self) -> None:
        """No more thinning; returns at once."""
        self._ended.set()

    def _run(self) -> None:
        thin_out(self._folder)
        while not self._ended.wait(_EVERY_S):
            thin_out(self._folder)


def thin_out(folder: Path, keep: int = FILES) -> None:
    """Removes all but the newest ``keep`` files (their names sort by time)."""
    for path in sorted(folder.glob("postgresql-*.log"))[:-keep]:
        path.unlink(missing_ok=True)


def last_words(folder: Path) -> str:
    """The end of the newest logs, for an error message."""
    newest = sorted(folder.glob("postgresql-*.log"))[-1:]
    existing = [path for path in (folder / "start.log", *newest) if path.exists()]
    texts = [path.read_text(errors="replace")[-_LAST_WORDS:].strip() for path in existing]
    return "\n".join(text for text in texts if text)
