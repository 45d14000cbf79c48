"""Counts server errors (5xx) in the logs that IIS writes for each site: W3C extended, one folder per site.

    LogFiles/W3SVC1/u_ex261123.log     a new file each day (or hour, or size); names sort by time
    #Fields: date time s-ip cs-method cs-uri-stem ... sc-status sc-substatus ...

Nothing of a line is kept: it is counted and forgotten. The position is kept in memory only, for a count that
begins anew with the agent needs no more. IIS writes about once a minute, so errors come in little heaps.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.sharedfile import open_shared

log = logging.getLogger("ucx.iis")

_CHUNK = 1 << 20
_MOST_BYTES = 8 << 20
"""Per site and reading; the rest comes with the next."""
_HEAD = 8192
_MOST_SITES = 60


class Position(NamedTuple):
    """How far a site's log was counted."""

    file: str
    offset: int
    status: int
    """Place of sc-status in a line; -1 = the log does not have it, or has not said so yet."""
    errors: int


class SiteLogs:
    """All sites below one folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._positions: dict[str, Position] = {}
        self.fault = ""
        """Why logs that are there were not read."""

    def _say(self, fault: str) -> None:
        if fault != self.fault:
            log.warning("server errors of IIS are not counted: %s", fault)
        self.fault = fault

    def read(self) -> dict[str, float]:
        """Site id -> 5xx since the agent started; sites whose log cannot be read are left out, and ``fault``
        says why: the pools' values are not to suffer for it."""
        try:
            names = sorted(entry.name for entry in os.scandir(self._root) if is_site(entry.name))
        except FileNotFoundError:
            return {}
        except OSError as fault:
            self._say(f"{self._root}: {fault.strerror}")
            return {}
        found = {}
        for name in names[:_MOST_SITES]:
            position = self._advance(self._root / name, self._positions.get(name))
            if position is not None:
                self._positions[name] = position
                found[name[5:]] = float(position.errors)
        return found

    def _advance(self, folder: Path, position: Position | None) -> Position | None:
        try:
            files = sorted(entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(".log"))
            if not files:
                return position
            if position is None:
                return _at_end(folder, files[-1])
            return _count_on(folder, files, position)
        except OSError as fault:
            self._say(f"{folder}: {fault.strerror}")
            return None


def is_site(name: str) -> bool:
    """The folder of a web site."""
    return name.upper().startswith("W3SVC") and name[5:].isdecimal()


def _at_end(folder: Path, name: str) -> Position:
    """At first: from now on, but with the fields that the file's head names."""
    with open_shared(folder / name) as file:
        status = -1
        for line in file.read(_HEAD).splitlines():
            status = status_field(line) if line.startswith(b"#Fields:") else status
        end = file.seek(0, os.SEEK_END)
    return Position(name, end, status, 0)


def _count_on(folder: Path, files: list[str], position: Position) -> Position:
    """From the position to the end of the newest file, as far as one reading goes."""
    budget = _MOST_BYTES
    for name in (name for name in files if name >= position.file):
        if name != position.file:
            position = Position(name, 0, -1, position.errors)
        if (folder / name).stat().st_size < position.offset:
            position = position._replace(offset=0, status=-1)  # written anew
        while budget > 0 and (chunk := _whole_lines(folder / name, position.offset)):
            budget -= len(chunk)
            position = count(chunk, position)
    return position


def _whole_lines(path: Path, offset: int) -> bytes:
    with open_shared(path) as file:
        file.seek(offset)
        chunk = file.read(_CHUNK)
    end = chunk.rfind(b"\n") + 1
    # A line longer than a chunk is no line of IIS: it is passed over.
    return chunk[:end] if end or len(chunk) < _CHUNK else chunk


def count(chunk: bytes, position: Position) -> Position:
    """The position after whole lines: pure."""
    status, errors = position.status, position.errors
    for line in _lines(chunk):
        if line.startswith(b"#"):
            status = status_field(line) if line.startswith(b"#Fields:") else status
        elif status >= 0:
            errors += is_server_error(line, status)
    return Position(position.file, position.offset + len(chunk), status, errors)


def _lines(chunk: bytes) -> Iterator[bytes]:
    return iter(chunk.split(b"\n"))


def status_field(line: bytes) -> int:
    """Where ``sc-status`` stands in the lines that follow; -1 = nowhere."""
    names = line.split()[1:]
    return names.index(b"sc-status") if b"sc-status" in names else -1


def is_server_error(line: bytes, status: int) -> bool:
    """500 to 599 in its place."""
    values = line.split(b" ", status + 1)
    return len(values) > status and len(values[status]) == 3 and values[status].startswith(b"5")


def default_root() -> Path:
    """Where IIS writes unless it was told otherwise."""
    return Path(os.environ.get("SystemDrive", "C:") + "\\") / "inetpub" / "logs" / "LogFiles"  # noqa: SIM112 - its name there
