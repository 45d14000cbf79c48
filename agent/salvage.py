"""Reading what is left of a damaged spool: everything whose digest still fits its bytes, nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from pathlib import Path

from agent.store import Connection, Stored, lenient_text
from wire import layout as wire_layout

_CIRCUMSTANCES = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_TOOBIG,
    sqlite3.SQLITE_MISUSE,
}
"""Troubles around the file, which may pass. All others speak of its content."""
_COLUMNS = "id, kind, epoch, seq, digest, created_ms, correction_ms, items, body"


def is_damage(fault: sqlite3.Error) -> bool:
    """True when the file's content is at fault, not the disk, its rights or our own use of it."""
    if isinstance(fault, sqlite3.ProgrammingError | sqlite3.InterfaceError):
        return False
    code = getattr(fault, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT)
    return (code & 0xFF) not in _CIRCUMSTANCES or code == sqlite3.SQLITE_IOERR_SHORT_READ


def read_batches(path: Path) -> Iterator[Stored]:
    """Every batch that is whole, oldest first."""
    with closing(_open(path)) as db:
        for key in sorted(_ids(db)):
            batch = _read(db, key)
            if batch is not None and batch.intact:
                yield batch


def read_layouts(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Every layout whose name fits its bytes: (digest, body), the one used last at the end."""
    with closing(_open(path)) as db, suppress(sqlite3.Error, TypeError):
        for digest, body in db.execute("SELECT digest, body FROM layout ORDER BY used"):
            if isinstance(body, bytes) and wire_layout.digest(body) == digest:
                yield digest, body


def read_counters(path: Path) -> Iterator[tuple[str, int]]:
    """Counters that can still be read."""
    with closing(_open(path)) as db:
        for name in ("frames_dropped", "events_dropped", "batches_refused", "samples_refused"):
            with suppress(sqlite3.Error, ValueError, TypeError):
                row = db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
                if row and 0 <= (value := int(row[0])) < 2**53:
                    yield name, value


def read_bookmarks(path: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """Positions in logs that can still be read: the logs go on from there."""
    with closing(_open(path)) as db, suppress(sqlite3.Error, TypeError):
        for name, value in db.execute("SELECT name, value FROM meta"):
            if isinstance(name, str) and isinstance(value, str) and name.startswith(prefix):
                yield name, value


def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, factory=Connection
    )
    db.text_factory = lenient_text
    return db


def _ids(db: sqlite3.Connection) -> set[int]:
    """Ids read from both ends, each up to the damage."""
    ids: set[int] = set()
    for query in ("SELECT id FROM batch ORDER BY id ASC", "SELECT id FROM batch ORDER BY id DESC"):
        with suppress(sqlite3.Error):
            rows: Iterable[tuple[object]] = db.execute(query)
            for (key,) in rows:
                if isinstance(key, int):
                    ids.add(key)
    return ids


def _read(db: sqlite3.Connection, key: int) -> Stored | None:
    try:
        row = db.execute(f"SELECT {_COLUMNS} FROM batch WHERE id = ?", (key,)).fetchone()  # noqa: S608
    except sqlite3.Error:
        return None
    return None if row is None else Stored(*row)
