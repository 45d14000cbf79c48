"""systemd's journal, read by ``journalctl -o json --after-cursor``: no library, no rights but to read it.

Bookmark: the journal's own cursor; before the first entry ``@SECONDS``, the time at which watching began.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from agent.events import Chunk, Record
from wire.batch import Severity

_DEADLINE_S = 6.0
_MAX_LINE = 1_048_576
_CURSOR = re.compile(r"[\w=;.:+/-]{1,500}")
_MESSAGE_ID = re.compile(r"[0-9a-f]{32}")
_PRIORITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
_SEVERITIES = (Severity.CRITICAL,) * 3 + (Severity.ERROR, Severity.WARNING) + (Severity.INFO,) * 3


class JournalConfig(NamedTuple):
    """Which entries matter."""

    units: tuple[str, ...] = ()
    """Unit names or globs; empty = all."""
    identifiers: tuple[str, ...] = ()
    """Syslog identifiers; empty = all."""
    priority: str = "warning"
    """This one and worse."""
    directory: Path | None = None
    """Of journal files; None = the system's own."""


class JournalFeed:
    """Asks journalctl anew at each look: nothing stays running in between."""

    name = "journal"

    def __init__(
        self,
        config: JournalConfig,
        now_s: Callable[[], float],
        command: Sequence[str] = ("journalctl",),
    ) -> None:
        where = [f"--directory={config.directory}"] if config.directory else []
        self._command = [*command, "--output=json", "--quiet", "--no-pager", *where, *_choices(config)]
        self._now_s = now_s

    def read(self, bookmark: str, most: int) -> Chunk:
        if not bookmark:
            return Chunk([], f"@{int(self._now_s())}")
        after = f"--since={bookmark}" if bookmark.startswith("@") else f"--after-cursor={bookmark}"
        lines, more = run([*self._command, after], most)
        entries = [entry for line in lines if (entry := _entry(line)) is not None]
        records = [record for entry in entries if (record := to_record(entry)) is not None]
        return Chunk(records, _cursor(entries) or bookmark, more)


def _choices(config: JournalConfig) -> list[str]:
    return [
        f"--priority={config.priority}",
        *(f"--unit={unit}" for unit in config.units),
        *(f"--identifier={name}" for name in config.identifiers),
    ]


def run(command: Sequence[str], most: int) -> tuple[list[bytes], bool]:
    """Up to ``most`` lines of a program's output, and if there were more; raises OSError when it fails or
    hangs. The program is ended when we have enough."""
    with subprocess.Popen(  # noqa: S603 - no shell; the program and its flags are ours
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        watchdog = _Watchdog(process)
        try:
            lines, more = _lines(process.stdout, most)
            if more:
                process.kill()
                return lines, True
            said = process.stderr.read(500).decode("utf-8", "replace").strip()
            code = process.wait(_DEADLINE_S)
        finally:
            watchdog.end()
            process.kill()
    if code:
        raise OSError(f"{command[0]}: {said or f'exit code {code}'}")
    return lines, False


class _Watchdog:
    """Ends a program that hangs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        import threading

        self._timer = threading.Timer(_DEADLINE_S, process.kill)
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        self._timer.cancel()


def _lines(stream: IO[bytes], most: int) -> tuple[list[bytes], bool]:
    lines: list[bytes] = []
    end = time.monotonic() + _DEADLINE_S
    while line := stream.readline(_MAX_LINE):
        if len(lines) == most:
            return lines, True
        if line.endswith(b"\n"):
            lines.append(line)
        if time.monotonic() > end:
            return lines, True
    return lines, False


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _cursor(entries: list[dict[str, Any]]) -> str:
    for entry in reversed(entries):
        cursor = entry.get("__CURSOR")
        if isinstance(cursor, str) and _CURSOR.fullmatch(cursor):
            return cursor
    return ""


def to_record(entry: dict[str, Any]) -> Record | None:
    """A journal entry as an event; None when it says nothing."""
    message = _text(entry.get("MESSAGE"))
    if not message:
        return None
    unit = _text(entry.get("_SYSTEMD_UNIT")) or _text(entry.get("UNIT"))
    source = _text(entry.get("SYSLOG_IDENTIFIER")) or unit or "journal"
    severity = _SEVERITIES[_number(entry.get("PRIORITY"), 6) & 7]
    stamp = _number(entry.get("__REALTIME_TIMESTAMP"), 0)
    return Record(
        stamp // 1000 if stamp else None,
        source,
        _message_id(entry),
        severity,
        message,
        {"systemd.unit": unit} if unit else {},
    )


def _message_id(entry: dict[str, Any]) -> str:
    """128 bits by convention; anything else is not taken for one."""
    text = _text(entry.get("MESSAGE_ID"))
    return text if _MESSAGE_ID.fullmatch(text) else ""


def _text(value: object) -> str:
    """Text; bytes that are no UTF-8 come as a list of numbers, a field given twice as a list of texts."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value and all(isinstance(n, int) and 0 <= n < 256 for n in value):
        return bytes(value).decode("utf-8", "replace")
    return _text(value[0]) if isinstance(value, list) and value else ""


def _number(value: object, default: int) -> int:
    text = _text(value)
    return int(text[:18]) if text.isascii() and text.isdecimal() else default


def is_priority(text: str) -> bool:
    return text in _PRIORITIES
