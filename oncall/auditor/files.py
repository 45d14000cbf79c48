"""What the auditor keeps on its own disk, readable by its owner alone (mode 0600).

    state.json     its memory; replaced as a whole, synced before it counts
    people.json    numbers of the people on call, for when the database is away; likewise
    journal.jsonl  one JSON object per line, appended and synced: every finding, call and answer
    lock           held while an auditor runs: two on one directory would ring twice

A file that cannot be read is put aside (``.broken``) and begun anew: an auditor must start.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import msgspec

from oncall.auditor.audit import Entry, Number, State
from oncall.errors import OncallError
from wire.clock import Clock

log = logging.getLogger(__name__)
T = TypeVar("T")
UNSENT = 1000
"""So many journal lines at most wait for the database to come back; the file keeps all."""


class AnotherAuditor(OncallError):
    """Another auditor runs on this directory."""


class Line(msgspec.Struct, frozen=True):
    """A line of the journal."""

    id: UUID
    at: str
    """RFC 3339, UTC."""
    kind: str
    text: str
    detail: dict[str, Any]


class Files:
    """The directory. Raises OSError when it cannot be written: then there is no successful audit."""

    def __init__(self, directory: Path, clock: Clock) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._clock = clock
        self._lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        self._hold()
        self._journal = os.open(directory / "journal.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.unsent: list[Line] = []

    def _hold(self) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise AnotherAuditor(f"another auditor runs in {self._directory}") from None

    def close(self) -> None:
        """Let the directory go."""
        os.close(self._journal)
        os.close(self._lock)

    def state(self) -> State:
        """The state as it was last kept."""
        return self._read("state.json", State) or State()

    def keep_state(self, state: State) -> None:
        """Replace the state; it is on disk when this returns."""
        self._replace("state.json", state)

    def people(self) -> list[Number]:
        """The numbers that were kept last."""
        return self._read("people.json", list[Number]) or []

    def keep_people(self, people: list[Number]) -> None:
        """Replace the numbers, if they changed."""
        if people != self.people():
            self._replace("people.json", people)

    def write(self, entry: Entry) -> None:
        """Append a line."""
        line = Line(uuid4(), self._clock().isoformat(), entry.kind, entry.text, entry.detail)
        os.write(self._journal, msgspec.json.encode(line) + b"\n")
        os.fsync(self._journal)
        self.unsent = [*self.unsent, line][-UNSENT:]

    def _read(self, name: str, kind: type[T]) -> T | None:
        path = self._directory / name
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            log.critical("%s cannot be read, it is put aside and begun anew: %s", path, error)
            path.replace(path.with_suffix(".broken"))
            return None

    def _replace(self, name: str, value: object) -> None:
        scratch = self._directory / f"{name}.new"
        fd = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, msgspec.json.encode(value))
            os.fsync(fd)
        finally:
            os.close(fd)
        scratch.replace(self._directory / name)
