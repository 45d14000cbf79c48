"""A text log: followed over rotation and truncation, in its own encoding, records of several lines.

Bookmark: JSON ``{"file": "device:inode", "at": byte offset, "head": digest of the file's first bytes}``.
- Renamed (logrotate's usual way): the rest of the old file is read first, found by its inode among its
  neighbours ``NAME*``, then the new one from its beginning.
- Truncated or replaced in place (copytruncate): the size or the head tells; read from the beginning.
- An unfinished last line waits for its end; a record of several lines waits until the next one begins, or
  until nothing was added between two looks.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from agent.events import Chunk, Record
from agent.sharedfile import open_shared
from wire.batch import Severity

_BLOCK = 262_144
"""Bytes read at once."""
_MAX_RECORD = 32_768
"""Bytes of one record; what is longer is cut into several."""
_HEAD = 64
_WITHOUT_MARK = {"utf-16": "utf-16-le", "utf-8-sig": "utf-8"}
"""These put a mark before everything that they encode."""
_MAX_LINE_CHARS = 4_096
"""Characters of a record that the configured expressions look at."""


class LineRule(NamedTuple):
    """Which records matter, and what they are called."""

    match: re.Pattern[str]
    event_id: str
    severity: Severity


class LogFile(NamedTuple):
    """One configured log."""

    name: str
    """Source of its events."""
    path: Path
    rules: tuple[LineRule, ...]
    """The first that matches a record names it; a record that none matches stays here."""
    encoding: str = "utf-8"
    start: re.Pattern[str] | None = None
    """How the first line of a record begins; None = each line is a record."""


class Mark(msgspec.Struct, frozen=True):
    """Where a file was read to."""

    file: str = ""
    at: int = 0
    head: str = ""


class Part(NamedTuple):
    """Raw records of one look: (bytes, offset after it)."""

    records: list[tuple[bytes, int]]
    complete: bool
    """Everything that is there was read."""


class FileFeed:
    """Follows one file."""

    def __init__(self, config: LogFile) -> None:
        self.name = f"file:{config.name}"
        self._config = config
        self._newline = "\n".encode(_WITHOUT_MARK.get(config.encoding, config.encoding))
        self._size_before = -1

    def read(self, bookmark: str, most: int) -> Chunk:
        mark = read_mark(bookmark)
        try:
            file = open_shared(self._config.path)
        except FileNotFoundError:  # between two rotations, or not made yet
            return Chunk([], bookmark or write_mark(Mark("none")))
        with file:
            if mark is None:
                return Chunk([], write_mark(self._at_end(file)))
            if mark.file not in ("none", _identity(file)):
                return self._over_rotation(file, mark, most)
            lost = "" if mark.file == "none" or _same(file, mark) else f"{self._config.path} was truncated"
            if lost or mark.file == "none":
                mark = Mark(_identity(file))
            return self._onwards(file, mark, most, lost=lost)

    def _at_end(self, file: BinaryIO) -> Mark:
        """After the last whole line: what is being written now is not missed."""
        size = os.fstat(file.fileno()).st_size
        begin = max(0, size - _MAX_RECORD)
        begin -= begin % len(self._newline)
        file.seek(begin)
        tail = file.read(size - begin)
        end = _last_newline(tail, self._newline)
        return self._mark(file, begin + end if end else begin if size > _MAX_RECORD else 0)

    def _mark(self, file: BinaryIO, at: int) -> Mark:
        file.seek(0)
        return Mark(_identity(file), at, _digest(file.read(min(_HEAD, at))))

    def _over_rotation(self, file: BinaryIO, mark: Mark, most: int) -> Chunk:
        """First what is left of the old file, then the new one from its beginning."""
        old = self._renamed(mark)
        if old is None:
            lost = f"{self._config.path} was rotated; the rest of the old file cannot be found"
            return self._onwards(file, Mark(_identity(file)), most, lost=lost)
        with old:
            chunk = self._onwards(old, mark, most, final=True)
        if chunk.more or chunk.records:
            return chunk._replace(more=True)
        return self._onwards(file, Mark(_identity(file)), most)

    def _renamed(self, mark: Mark) -> BinaryIO | None:
        for path in sorted(self._config.path.parent.glob(f"{_glob_safe(self._config.path.name)}*")):
            try:
                file = open_shared(path)
            except OSError:
                continue
            if _identity(file) == mark.file and _same(file, mark):
                return file
            file.close()
        return None

    def _onwards(
        self, file: BinaryIO, mark: Mark, most: int, *, final: bool = False, lost: str = ""
    ) -> Chunk:
        size = os.fstat(file.fileno()).st_size
        quiet, self._size_before = final or size == self._size_before, size
        file.seek(mark.at)
        data = file.read(_BLOCK)
        whole = mark.at + len(data) >= size
        part = self._split(data, mark.at, quiet=quiet and whole, final=final and whole)
        records: list[Record] = []
        at = mark.at
        for body, end in part.records:
            record = self._record(body)
            if record is not None and len(records) == most:
                break
            records += [record] if record is not None else []
            at = end
        # Inside the block there may be more than `most`; after it, more to read.
        more = at < (part.records[-1][1] if part.records else mark.at) or (at > mark.at and not whole)
        return Chunk(records, write_mark(self._mark(file, at)), more, lost)

    # ---- records

    def _split(self, data: bytes, at: int, *, quiet: bool, final: bool) -> Part:
        """Whole records in the block; offsets count from the file's beginning."""
        lines: list[tuple[bytes, int]] = []
        begin = 0
        while (end := _next_newline(data, self._newline, begin)) is not None:
            lines.append((data[begin:end], at + end))
            begin = end
        rest = data[begin:]
        if rest and (final or len(rest) >= _MAX_RECORD):
            cut = rest if final else rest[: _MAX_RECORD - _MAX_RECORD % len(self._newline)]
            lines.append((cut, at + begin + len(cut)))
        if self._config.start is None:
            return Part(lines, not rest)
        return Part(self._joined(lines, self._config.start, quiet=quiet), not rest)

    def _joined(
        self, lines: list[tuple[bytes, int]], start: re.Pattern[str], *, quiet: bool
    ) -> list[tuple[bytes, int]]:
        """Lines that belong together; the last record only when nothing was added for a while."""
        joined: list[tuple[bytes, int]] = []
        open_ = False
        for line, end in lines:
            if open_ and len(joined[-1][0]) < _MAX_RECORD and not start.search(self._text(line)):
                joined[-1] = (joined[-1][0] + line, end)
            else:
                joined.append((line, end))
            open_ = True
        return joined if quiet or not joined or len(joined[-1][0]) >= _MAX_RECORD else joined[:-1]

    def _text(self, raw: bytes) -> str:
        return raw.decode(self._config.encoding, "replace").lstrip("\ufeff").rstrip("\r\n")

    def _record(self, raw: bytes) -> Record | None:
        """What the first matching rule makes of it; None = it stays here."""
        text = self._text(raw)
        for rule in self._config.rules:
            if rule.match.search(text[:_MAX_LINE_CHARS]):
                return Record(None, self._config.name, rule.event_id, rule.severity, text)
        return None


def _identity(file: BinaryIO) -> str:
    status = os.fstat(file.fileno())
    return f"{status.st_dev}:{status.st_ino}"


def _same(file: BinaryIO, mark: Mark) -> bool:
    """It still holds what was read: long enough, and the same beginning."""
    if os.fstat(file.fileno()).st_size < mark.at:
        return False
    file.seek(0)
    return _digest(file.read(min(_HEAD, mark.at))) == mark.head


def _digest(head: bytes) -> str:
    return hashlib.sha256(head).hexdigest()[:16]


def _next_newline(data: bytes, newline: bytes, begin: int) -> int | None:
    """Offset after the next newline, at a character's boundary."""
    found = data.find(newline, begin)
    while found >= 0 and (found - begin) % len(newline):
        found = data.find(newline, found + 1)
    return None if found < 0 else found + len(newline)


def _last_newline(data: bytes, newline: bytes) -> int:
    """Offset after the last newline; 0 when there is none."""
    found = data.rfind(newline)
    while found >= 0 and found % len(newline):
        found = data.rfind(newline, 0, found + len(newline) - 1)
    return found + len(newline) if found >= 0 else 0


def _glob_safe(name: str) -> str:
    return re.sub(r"([\[\]*?])", r"[\1]", name)


def read_mark(bookmark: str) -> Mark | None:
    """A bookmark; None when there is none, or it cannot be read."""
    try:
        return msgspec.json.decode(bookmark, type=Mark) if bookmark else None
    except msgspec.DecodeError:
        return None


def write_mark(mark: Mark) -> str:
    return msgspec.json.encode(mark).decode()
