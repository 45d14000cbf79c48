"""One SQLite file of batches that wait for their receipt.

Invariants:
- A batch's bytes never change, and (epoch, seq) is never given twice: seq comes from ``meta`` and is written
  in the same transaction as the batch; a new file has a new random epoch.
- Every write is on disk when the call returns (WAL, synchronous=FULL).
- A row whose bytes do not have the digest beside them is damaged: it is never sent.

Tables: ``batch`` (id in order of birth), ``layout`` (bodies by digest), ``meta`` (epoch, next_seq, counters).
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple

from wire import batch as wire_batch
from wire.batch import Batch, Event, EventBatch, Frame, FrameBatch
from wire.limits import MAX_INT
from wire.refusal import Refusal
from wire.validate import decode_batch, read_key

Kind = Literal["frames", "events"]

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS layout (
        digest BLOB PRIMARY KEY,
        body BLOB NOT NULL,
        used INTEGER NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS batch (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        digest TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        correction_ms INTEGER NOT NULL,
        items INTEGER NOT NULL,
        body BLOB NOT NULL,
        UNIQUE (epoch, seq)
    )""",
    "CREATE INDEX IF NOT EXISTS batch_kind ON batch (kind, id)",
)


MEMORY_IDS = 1 << 40
"""Ids from here on belong to a store in memory."""


class Stored(NamedTuple):
    """A batch in the store."""

    id: int
    kind: Kind
    epoch: int
    seq: int
    digest: str
    created_ms: int
    """Corrected time of its birth."""
    correction_ms: int
    """What was added in its stamps to the scale of ``agent.clock.Timekeeper``."""
    items: int
    """Frames or events in it."""
    body: bytes

    @property
    def agent(self) -> str:
        """Whose it is, as its bytes say; raises wire.refusal.Refusal when they are damaged."""
        return read_key(self.body).agent

    @property
    def intact(self) -> bool:
        """The bytes are the ones that were written, and the row says of them what they say themselves.

        A damaged file can give any type in any column."""
        numbers = (self.created_ms, self.correction_ms, self.items)
        if not isinstance(self.body, bytes) or not all(isinstance(number, int) for number in numbers):
            return False
        if wire_batch.digest(self.body) != self.digest:
            return False
        try:
            content = decode_batch(self.body)
        except Refusal:
            return False
        items = content.frames if isinstance(content, FrameBatch) else content.events
        said = (content.kind, content.epoch, content.seq, len(items))
        return said == (self.kind, self.epoch, self.seq, self.items)


class Total(NamedTuple):
    """What waits."""

    batches: int
    bytes: int


_PRAGMAS: tuple[str, ...] = (
    "auto_vacuum=INCREMENTAL",
    "journal_mode=WAL",
    "synchronous=FULL",
    "cache_size=-256",
    "journal_size_limit=1048576",
    "wal_autocheckpoint=250",
)
_LAYOUTS_KEPT = 1000
_INSERT = (
    "INSERT INTO batch (kind, epoch, seq, digest, created_ms, correction_ms, items, body)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_COLUMNS = "id, kind, epoch, seq, digest, created_ms, correction_ms, items, body"


class Store:
    """The file (or memory, for ``:memory:``). Not safe between threads; may raise sqlite3.Error anywhere."""

    def __init__(self, path: Path | None, agent: str, first_id: int = 1) -> None:
        self.path = path
        self._agent = agent
        self._db = _connect(path)
        self.total = Total(0, 0)
        try:
            self._prepare(first_id)
        except BaseException:
            self._db.close()
            raise

    def _prepare(self, first_id: int) -> None:
        # Not quick_check: that leaves the indexes out, and a row that an index has lost is never sent.
        check = self._db.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if check != "ok":
            raise sqlite3.DatabaseError(f"damaged: {check}")
        for statement in _SCHEMA:
            self._db.execute(statement)
        with self._transaction():
            self._default("epoch", str(new_epoch()))
            self._default("next_seq", "1")
            self._default("agent", self._agent)
            if first_id > 1:
                self._db.execute(
                    "INSERT INTO sqlite_sequence (name, seq) VALUES ('batch', ?)", (first_id - 1,)
                )
        self._number("epoch")
        self._number("next_seq")
        self.owner = self.get("agent")
        self.total = self._count()

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        before = self.total
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            self.total = before
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _count(self) -> Total:
        row = self._db.execute("SELECT count(*), coalesce(sum(length(body)), 0) FROM batch").fetchone()
        return Total(*row)

    # ---- meta

    def get(self, name: str) -> str:
        """A value of ``meta``; empty when it was never set."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return str(row[0]) if row else ""

    def _number(self, name: str) -> int:
        """A number of ``meta`` that a batch can carry; raises sqlite3.DatabaseError for a damaged one."""
        text = self.get(name)
        if not (text.isascii() and text.isdecimal() and 1 <= int(text[:20]) <= MAX_INT):
            raise sqlite3.DatabaseError(f"damaged: {name} is {text[:40]!r}")
        return int(text)

    def set(self, **values: str) -> bool:
        """Set values of ``meta`` in one transaction; True when it is on disk."""
        with self._transaction():
            for name, value in values.items():
                self._put_meta(name, value)
        return True

    def _put_meta(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", (name, value))

    def _default(self, name: str, value: str) -> None:
        self._db.execute("INSERT OR IGNORE INTO meta (name, value) VALUES (?, ?)", (name, value))

    # ---- writing

    def put_frames(self, frames: list[Frame], created_ms: int, correction_ms: int) -> Stored:
        """Number the frames, write them durably."""
        with self._transaction():
            return self._insert("frames", frames, created_ms, correction_ms)

    def put_events(self, events: list[Event], created_ms: int, correction_ms: int) -> Stored:
        """Number the events, write them durably."""
        with self._transaction():
            return self._insert("events", events, created_ms, correction_ms)

    def put_marked(
        self, events: list[Event], created_ms: int, correction_ms: int, mark: tuple[str, str]
    ) -> bool:
        """Number the events of a log and remember how far it was read: both or neither. True when done."""
        with self._transaction():
            if events:
                self._insert("events", events, created_ms, correction_ms)
            self._put_meta(*mark)
        return True

    def _insert(
        self, kind: Kind, items: list[Frame] | list[Event], created_ms: int, correction_ms: int
    ) -> Stored:
        epoch, seq = self._number("epoch"), self._number("next_seq")
        body = wire_batch.encode(build(kind, self._agent, epoch, seq, items))
        row = (kind, epoch, seq, wire_batch.digest(body), created_ms, correction_ms, len(items), body)
        cursor = self._db.execute(_INSERT, row)
        self._put_meta("next_seq", str(seq + 1))
        self.total = Total(self.total.batches + 1, self.total.bytes + len(body))
        assert cursor.lastrowid is not None
        return Stored(cursor.lastrowid, *row)

    def adopt(self, batch: Stored) -> None:
        """Take a batch saved from a damaged file, under its own number: the ledger knows if it is new."""
        with self._transaction():
            added = self._db.execute(_INSERT.replace("INSERT", "INSERT OR IGNORE", 1), batch[1:]).rowcount
            self.total = Total(self.total.batches + added, self.total.bytes + added * len(batch.body))

    def renumber(self, batch: Stored) -> Stored:
        """The same content under a number of a new epoch. One transaction: it is never there twice or gone.

        All later batches get numbers of the new epoch too: this machine was reverted or cloned, and the old
        epoch's next numbers are probably taken as well."""
        content = decoded(batch)
        with self._transaction():
            self._delete([batch.id])
            self._put_meta("epoch", str(new_epoch()))
            self._put_meta("next_seq", "1")
            items = content.frames if isinstance(content, FrameBatch) else content.events
            return self._insert(batch.kind, items, batch.created_ms, batch.correction_ms)

    def renew_epoch(self, agent: str) -> None:
        """Number what comes from 1 in a new epoch, under the name of ``agent``."""
        with self._transaction():
            self._put_meta("epoch", str(new_epoch()))
            self._put_meta("next_seq", "1")
            self._put_meta("agent", agent)
        self._agent = self.owner = agent

    def rewrite(self, batch: Stored, frames: list[Frame], **meta: str) -> None:
        """Other frames under a new number in the place of a batch that was never taken; none: it goes."""
        with self._transaction():
            self._delete([batch.id])
            for name, value in meta.items():
                self._put_meta(name, value)
            if frames:
                self._insert("frames", frames, batch.created_ms, batch.correction_ms)

    def remove(self, ids: Collection[int], **meta: str) -> None:
        """Forget batches that were acknowledged - or are given up: then ``meta`` carries the count of them,
        written in the same transaction."""
        with self._transaction():
            self._delete(ids)
            for name, value in meta.items():
                self._put_meta(name, value)
        self._give_space_back()

    def _delete(self, ids: Collection[int]) -> None:
        for key in ids:
            row = self._db.execute("SELECT length(body) FROM batch WHERE id = ?", (key,)).fetchone()
            if row is not None:
                self._db.execute("DELETE FROM batch WHERE id = ?", (key,))
                self.total = Total(self.total.batches - 1, self.total.bytes - row[0])

    def _give_space_back(self) -> None:
        """After a long outage the file is large and mostly free: shrink it, a little at a time."""
        free = self._db.execute("PRAGMA freelist_count").fetchone()[0]
        if free > 512:
            # As a script: it must be stepped to its end, and a plain execute steps it once (one page).
            self._db.executescript("PRAGMA incremental_vacuum(256)")

    # ---- reading

    def newest(self, kind: Kind, skip: Collection[int] = ()) -> Stored | None:
        """The batch born last."""
        return self._pick(kind, "DESC", skip)

    def oldest(self, kind: Kind, skip: Collection[int] = (), after: int = 0) -> Stored | None:
        """The batch born first, of those with an id above ``after``."""
        return self._pick(kind, "ASC", skip, after)

    def _pick(self, kind: Kind, order: str, skip: Collection[int], after: int = 0) -> Stored | None:
        # As one parameter: on a disk that cannot be written, tens of thousands may have to be passed over.
        row = self._db.execute(
            f"SELECT {_COLUMNS} FROM batch WHERE kind = ? AND id > ?"  # noqa: S608 - constants
            f" AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY id {order} LIMIT 1",
            (kind, after, json.dumps(list(skip))),
        ).fetchone()
        return None if row is None else Stored(*row)

    def born_before(self, created_ms: int, limit: int = 200) -> list[tuple[int, Kind, int]]:
        """(id, kind, items) of batches older than a time, as far as they stand at the head of the queue: a
        look at the first one is all that it costs while nothing is old."""
        rows = self._db.execute("SELECT id, kind, items, created_ms FROM batch ORDER BY id LIMIT ?", (limit,))
        old = []
        for key, kind, items, created in rows:
            if isinstance(created, int) and created >= created_ms:
                break
            old.append((key, kind, items))
        rows.close()
        return old

    def first(self, kind: Kind) -> tuple[int, int] | None:
        """(id, items) of the oldest batch of a kind."""
        row = self._db.execute(
            "SELECT id, items FROM batch WHERE kind = ? ORDER BY id LIMIT 1", (kind,)
        ).fetchone()
        return None if row is None else (row[0], row[1])

    def last_id(self) -> int:
        """The newest batch's id; 0 when none waits."""
        row = self._db.execute("SELECT coalesce(max(id), 0) FROM batch").fetchone()
        return int(row[0])

    def all(self) -> Iterator[Stored]:
        """Every batch, oldest first."""
        for row in self._db.execute(f"SELECT {_COLUMNS} FROM batch ORDER BY id"):  # noqa: S608 - a constant
            yield Stored(*row)

    # ---- layouts

    def put_layout(self, digest: bytes, body: bytes) -> bool:
        """Keep a layout for as long as batches may need it; True when it is on disk.

        The last ``_LAYOUTS_KEPT`` in use are kept, by order of use and not by time: clocks jump."""
        with self._transaction():
            self._db.execute(
                "INSERT INTO layout (digest, body, used)"
                " VALUES (?, ?, (SELECT coalesce(max(used), 0) + 1 FROM layout))"
                " ON CONFLICT (digest) DO UPDATE SET used = excluded.used",
                (digest, body),
            )
            self._db.execute(
                "DELETE FROM layout WHERE used <= (SELECT max(used) FROM layout) - ?", (_LAYOUTS_KEPT,)
            )
        return True

    def layout(self, digest: bytes) -> bytes | None:
        """A layout's body."""
        row = self._db.execute("SELECT body FROM layout WHERE digest = ?", (digest,)).fetchone()
        return row[0] if row is not None and isinstance(row[0], bytes) else None


class Connection(sqlite3.Connection):
    """SQLite quotes a damaged schema in its messages; Python then fails to read the message itself."""

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        try:
            return super().execute(sql, parameters)
        except UnicodeDecodeError:
            raise sqlite3.DatabaseError("damaged: its schema is not text") from None


def lenient_text(raw: bytes) -> str:
    """Damaged text must not raise: it is seen by its digest."""
    return raw.decode("utf-8", "replace")


def _connect(path: Path | None) -> sqlite3.Connection:
    db = sqlite3.connect(
        path or ":memory:", isolation_level=None, check_same_thread=False, timeout=5.0, factory=Connection
    )
    db.text_factory = lenient_text
    try:
        for pragma in _PRAGMAS:
            db.execute(f"PRAGMA {pragma}").fetchall()
    except BaseException:
        db.close()
        raise
    return db


def new_epoch() -> int:
    """63 random bits, never 0."""
    return max(1, int.from_bytes(os.urandom(8), "big") & MAX_INT)


def build(kind: Kind, agent: str, epoch: int, seq: int, items: list[Frame] | list[Event]) -> Batch:
    """The envelope around frames or events."""
    if kind == "frames":
        frames = [item for item in items if isinstance(item, Frame)]
        return FrameBatch(wire_batch.VERSION, "frames", agent, epoch, seq, frames)
    events = [item for item in items if isinstance(item, Event)]
    return EventBatch(wire_batch.VERSION, "events", agent, epoch, seq, events)


def decoded(batch: Stored) -> Batch:
    """A stored batch's content; raises wire.refusal.Refusal when its bytes are damaged."""
    return decode_batch(batch.body)
