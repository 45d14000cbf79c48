"""The database that a command works on: the one named by its URL, or our own in the data directory.

A running ``serve`` owns the directory; it leaves its database's URL in ``database.url`` (mode 0600), so that
other commands on the same machine can join it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from storage.embedded import EmbeddedServer
from storage.faults import DirectoryInUse

URL_FILE = "database.url"
Progress = Callable[[str], None]


def fault_of_url(url: str) -> str | None:
    """What is wrong with how a database is named, if anything; never the text: it may hold a password."""
    try:
        named = bool(conninfo_to_dict(url))
    except ProgrammingError:
        named = False
    return None if named else "is no database's URL: it looks like postgresql://user:password@host:5432/name"


@contextmanager
def own_server(data_dir: Path, progress: Progress) -> Iterator[EmbeddedServer]:
    """Our own PostgreSQL in ``data_dir``, running; stopped at the end. Raises EmbeddedError."""
    server = EmbeddedServer(data_dir, progress=progress)
    try:
        leave_note(data_dir, server.start())
        yield server
    finally:
        with suppress(NotADirectoryError):  # a data directory that is none: why it cannot be used was said
            (data_dir / URL_FILE).unlink(missing_ok=True)
        server.stop()


@contextmanager
def join(database_url: str | None, data_dir: Path, progress: Progress = lambda line: None) -> Iterator[str]:
    """The URL of the database to work on for one command: started for it when nobody runs it."""
    if database_url is not None:
        yield database_url
        return
    note = data_dir / URL_FILE
    try:
        with EmbeddedServer(data_dir, progress=progress) as server:
            yield server.url
    except DirectoryInUse:
        if not note.exists():
            raise
        yield note.read_text(encoding="utf-8").strip()


def leave_note(data_dir: Path, url: str) -> None:
    """Write the URL beside the data, readable by its owner alone, all at once."""
    scratch = data_dir / f"{URL_FILE}-new"
    scratch.unlink(missing_ok=True)
    fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(url + "\n")
    scratch.replace(data_dir / URL_FILE)
