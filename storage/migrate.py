"""Migrations: numbered SQL files, each applied once, in order, under one lock.

- A file is ``NNNN_words.sql``; no number occurs twice. Applied in order of number.
- Each runs in its own transaction together with its record (name, SHA-256, time), so a kill at any point
  leaves it either applied and recorded or neither. A file whose first line is ``-- no-transaction`` (for
  ``CREATE INDEX CONCURRENTLY`` and the like) holds exactly one statement and must be harmless when run twice:
  a kill between the statement and its record runs it again.
- A recorded file whose text has changed is refused. A recorded name that we do not have comes from a newer
  program: allowed, because old code must run on a new schema (expand first, contract a release later).
- Hashes are taken over the text with ``\\n`` line ends, so a checkout on Windows agrees.

    MigrationError
    |- BadMigrationFolder   a name without a number, a number twice
    |- ChangedMigration     an applied file is not what it was
    |- FailedMigration      PostgreSQL refused a file's SQL; nothing of that file remains
    `- MigrationLockBusy    another process has been migrating for longer than we wait
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

FOLDER = Path(__file__).parent / "migrations"
_FILE = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_LOCK_KEY = 0x756378_6D6967  # "ucx" "mig": any constant of ours
_NO_TRANSACTION = "-- no-transaction"
_LOCK_WAIT_S = 600.0
_TABLE_LOCK_TIMEOUT = "5s"
_TABLE_LOCK_TRIES = 24

Connection = psycopg.Connection[tuple[Any, ...]]
Progress = Callable[[str], None]


class MigrationError(Exception):
    """Base of this module's errors."""


class BadMigrationFolder(MigrationError):
    """The folder of migrations breaks its naming rule."""


class ChangedMigration(MigrationError):
    """A file differs from what was applied."""


class FailedMigration(MigrationError):
    """A file's SQL failed."""


class MigrationLockBusy(MigrationError):
    """Another process holds the migration lock."""


@dataclass(frozen=True)
class Migration:
    """One numbered file."""

    name: str
    """File name, as in ``0001_registry.sql``."""
    sql: str
    """Its text with ``\\n`` line ends."""
    sha256: str
    """Hex digest of ``sql`` in UTF-8."""

    @property
    def in_transaction(self) -> bool:
        """False when the file's first line is ``-- no-transaction``."""
        return not self.sql.startswith(_NO_TRANSACTION)


@dataclass(frozen=True)
class Plan:
    """What a database still needs."""

    pending: tuple[Migration, ...]
    """To apply, in order."""
    applied: tuple[str, ...]
    """Names already recorded and unchanged."""
    newer: tuple[str, ...]
    """Names recorded by a newer program; we leave them alone and run."""

    def describe(self) -> str:
        """One line for people."""
        parts = [f"{len(self.applied)} applied", f"{len(self.pending)} to apply"]
        if self.newer:
            parts.append(f"{len(self.newer)} of a newer version (fine: this program runs on a newer schema)")
        return ", ".join(parts)


def load(folder: Path = FOLDER) -> tuple[Migration, ...]:
    """The migrations in ``folder``, in order. Raises ``BadMigrationFolder``."""
    paths = sorted(folder.glob("*.sql"))
    strays = [path.name for path in paths if not _FILE.fullmatch(path.name)]
    numbers = [path.name[:4] for path in paths]
    twice = [path.name for path in paths if numbers.count(path.name[:4]) > 1]
    if strays or twice:
        raise BadMigrationFolder(
            f"{folder}: name each file NNNN_words.sql with a number of its own; "
            f"at fault: {', '.join(strays + twice)}"
        )
    return tuple(_read(path) for path in paths)


def _read(path: Path) -> Migration:
    sql = path.read_bytes().decode().replace("\r\n", "\n")
    return Migration(path.name, sql, hashlib.sha256(sql.encode()).hexdigest())


def make_plan(ours: Sequence[Migration], recorded: Mapping[str, str]) -> Plan:
    """Compares our files with the database's records (name -> SHA-256). Raises ``ChangedMigration``."""
    changed = [m.name for m in ours if recorded.get(m.name, m.sha256) != m.sha256]
    if changed:
        raise ChangedMigration(
            f"already applied, but changed since: {', '.join(changed)}. "
            "Restore the file and put the change into a new migration. "
            "(A database without valuable data may instead be removed and made anew.)"
        )
    known = {m.name for m in ours}
    return Plan(
        pending=tuple(m for m in ours if m.name not in recorded),
        applied=tuple(m.name for m in ours if m.name in recorded),
        newer=tuple(sorted(set(recorded) - known)),
    )


def plan(url: str, folder: Path = FOLDER) -> Plan:
    """What ``migrate`` would do, without doing it."""
    with psycopg.connect(url, autocommit=True) as conn:
        return make_plan(load(folder), _recorded(conn))


def migrate(url: str, *, folder: Path = FOLDER, progress: Progress = lambda line: None) -> Plan:
    """Brings the database at ``url`` up to date and returns the plan that was carried out.

    Safe to call from any number of processes at once: one applies, the others wait and find
    nothing left. ``progress`` gets one line per step.
    """
    ours = load(folder)
    with psycopg.connect(url, autocommit=True) as conn:
        _take_lock(conn, progress)
        conn.execute(
            "CREATE TABLE IF NOT EXISTS schema_migration ("
            " name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )
        todo = make_plan(ours, _recorded(conn))
        progress(todo.describe())
        for migration in todo.pending:
            progress(f"applying {migration.name}")
            _apply(conn, migration)
        return todo


async def migrate_async(url: str, *, folder: Path = FOLDER, progress: Progress = lambda line: None) -> Plan:
    """``migrate`` for a caller on an event loop: runs it on a thread (``progress`` is called there)."""
    return await asyncio.to_thread(migrate, url, folder=folder, progress=progress)


def _recorded(conn: Connection) -> dict[str, str]:
    if conn.execute("SELECT to_regclass('schema_migration') IS NULL").fetchone() == (True,):
        return {}
    rows = conn.execute("SELECT name, sha256 FROM schema_migration").fetchall()
    return dict(rows)


def _take_lock(conn: Connection, progress: Progress) -> None:
    """Polls instead of waiting inside PostgreSQL: a waiting statement holds a snapshot, and a ``CREATE INDEX
    CONCURRENTLY`` of the process that holds the lock would wait for that snapshot for ever."""
    give_up = time.monotonic() + _LOCK_WAIT_S
    waiting = False
    while conn.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK_KEY,)).fetchone() != (True,):
        if not waiting:
            progress("another process is migrating this database; waiting for it")
            waiting = True
        if time.monotonic() > give_up:
            raise MigrationLockBusy(
                f"another process has been migrating for {_LOCK_WAIT_S:.0f} s; see pg_locks"
            )
        time.sleep(0.1)


def _apply(conn: Connection, migration: Migration) -> None:
    """A statement that waits for a table lock makes every later query on that table wait behind it, so we
    wait only briefly, let them through, and try again."""
    conn.execute(f"SET lock_timeout TO '{_TABLE_LOCK_TIMEOUT}'")
    for attempt in range(1, _TABLE_LOCK_TRIES + 1):
        try:
            _run(conn, migration)
        except psycopg.errors.LockNotAvailable as error:
            if attempt == _TABLE_LOCK_TRIES:
                raise FailedMigration(f"{migration.name}: a table stayed locked: {error}") from error
        except psycopg.Error as error:
            raise FailedMigration(f"{migration.name}: {error}") from error
        else:
            return


def _run(conn: Connection, migration: Migration) -> None:
    record = "INSERT INTO schema_migration (name, sha256) VALUES (%s, %s)"
    row = (migration.name, migration.sha256)
    if migration.in_transaction:
        with conn.transaction():
            conn.execute(migration.sql.encode())
            conn.execute(record, row)
    else:
        conn.execute(migration.sql.encode())
        conn.execute(record, row)
