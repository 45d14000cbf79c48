"""Frozen migrations: once shipped, a migration's text never changes again.

``migrations/frozen.txt`` holds one line ``<sha256>  <file name>`` per shipped migration. A test compares it
with the files; ``python -m storage.frozen`` (``./dev freeze``), run when a release ships, adds those that
are new and refuses to touch what is there."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from storage.migrate import FOLDER, Migration, load

FILE_NAME = "frozen.txt"


def read(folder: Path = FOLDER) -> dict[str, str]:
    """Name -> SHA-256 of the shipped migrations; empty before the first release."""
    path = folder / FILE_NAME
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    pairs = (line.split() for line in lines if line.strip() and not line.startswith("#"))
    return {name: sha256 for sha256, name in pairs}


def faults(frozen: Mapping[str, str], ours: Sequence[Migration]) -> list[str]:
    """What breaks the promise: shipped files that are gone or changed, and unshipped ones numbered before
    them."""
    hashes = {migration.name: migration.sha256 for migration in ours}
    gone = [f"{name} was shipped and is gone; restore it" for name in frozen if name not in hashes]
    changed = [
        f"{name} was shipped and has changed; restore it and write a new migration"
        for name, sha256 in frozen.items()
        if hashes.get(name, sha256) != sha256
    ]
    newest = max(frozen, default="")
    late = [
        f"{name} is new, but numbered before the shipped {newest}; give it a later number"
        for name in hashes
        if name not in frozen and name < newest
    ]
    return gone + changed + late


def freeze(folder: Path = FOLDER) -> list[str]:
    """Adds all migrations to the frozen ones and returns the names added. Raises ``ValueError`` with the
    faults."""
    ours, frozen = load(folder), read(folder)
    problems = faults(frozen, ours)
    if problems:
        raise ValueError("\n".join(problems))
    lines = [f"{migration.sha256}  {migration.name}\n" for migration in ours]
    (folder / FILE_NAME).write_text("".join(lines), encoding="utf-8", newline="\n")
    return [migration.name for migration in ours if migration.name not in frozen]


if __name__ == "__main__":
    try:
        print("\n".join(f"frozen: {name}" for name in freeze()) or "nothing new to freeze")
    except ValueError as error:
        sys.exit(str(error))
