"""What has been measured and not yet acknowledged.

On disk in one SQLite file (``agent.store``). When that cannot be written - disk full, read-only - batches go
into a small store in memory, so that "disk full" itself still reaches the collector. Bounded in bytes and in
age: the oldest frames go first, events are kept longest; what goes is counted and reported. A damaged file is
set aside, what can be read of it is saved into a new one under the same numbers (the collector's ledger knows
which of them it has), and that is reported too.

    A batch leaves the spool only by ``delivered``, ``refused`` (a receipt said so) or ``_give_up`` (counted);
    ``renumber`` and ``narrow`` put another one in its place in the same transaction.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from agent import aside
from agent.lock import Locked, StateLock
from agent.salvage import is_damage, read_batches, read_bookmarks, read_counters, read_layouts
from agent.store import MEMORY_IDS, Kind, Store, Stored, Total, decoded
from agent.trim import Trims, cut_all, trim_of
from wire.batch import Event, Frame, FrameBatch

log = logging.getLogger("ucx.spool")
_T = TypeVar("_T")

FILE = "spool.db"
_MEMORY_BYTES = 4 << 20
BOOKMARK = "bookmark:"
"""Prefix of the names under which the positions in logs are remembered."""
_COUNTERS = ("frames_dropped", "events_dropped", "batches_refused", "samples_refused")


_REMEMBERED = ("correction_ms", "stepped_ms", "boot_id", "renumbered")
"""What is remembered beside batches and bookmarks; saved from a damaged file, too."""


class Incident(NamedTuple):
    """Something that the collector should know, to be sent as an event."""

    event_id: str
    message: str


class Spool:
    """Safe between threads. No method raises for trouble with the disk."""

    def __init__(
        self,
        directory: Path,
        agent: str,
        *,
        max_bytes: int,
        max_age_s: float,
        now_ms: Callable[[], int],
        predecessors: Collection[str] = (),
    ) -> None:
        self._path = directory / FILE
        self._agent = agent
        self._predecessors = predecessors
        self._max_bytes = max_bytes
        self._max_age_ms = int(max_age_s * 1000)
        self._now_ms = now_ms
        self._mutex = threading.RLock()
        self._lock = StateLock(directory / "spool.lock")
        self._incidents: list[Incident] = []
        self._gone: set[int] = set()
        """Batches that are to be forgotten as soon as the disk can be written again."""
        self.counters = dict.fromkeys(_COUNTERS, 0)
        """Since this spool was made; they survive restarts and damaged files where they can be read."""
        self.renumbered = 0
        """Batches whose number was taken by other content, since this spool was made."""
        self._trims = Trims()
        self.generation = 0
        """How often the file was replaced: ids of batches count from 1 in each."""
        self._memory: Store | None = None
        self._closed = False
        self._disk = self._open()

    # ---- opening and closing

    def _open(self) -> Store | None:
        """Raises agent.lock.Locked when another agent runs here; any other trouble means memory only."""
        try:
            self._lock.acquire()
            store = self._open_file()
        except (OSError, sqlite3.Error) as fault:
            self._report(
                "spool.dropped", f"The spool cannot be used ({fault}); readings are kept in memory only."
            )
            return None
        for name in _COUNTERS:
            self.counters[name] = max(self.counters[name], _count(store.get(name)))
        self.renumbered = _count(store.get("renumbered"))
        return store

    def _open_file(self) -> Store:
        aside.finish(self._path)
        try:
            store = Store(self._path, self._agent)
        except sqlite3.DatabaseError as fault:
            if not is_damage(fault):
                raise
            return self._replace(fault)
        if aside.half_saved(self._path):
            self._save_into(store, "its saving was cut short")
        if store.owner == self._agent:
            return store
        if store.owner in self._predecessors:
            return self._take_over(store)
        return self._replace_foreign(store)

    def _take_over(self, store: Store) -> Store:
        """This host was enrolled anew: what waits keeps its name and number, by which the collector knows
        what it has already; what comes is counted from 1 in a new epoch."""
        total = store.total
        store.renew_epoch(agent=self._agent)
        if total.batches:
            log.info("%d batches of this host's earlier identity wait and will be delivered", total.batches)
        return store

    def _replace_foreign(self, store: Store) -> Store:
        """Another host's, or another customer's: what it measured must not go out under this identity."""
        total = store.total
        store.close()
        aside.set_aside(self._path, "other-agent", self._now_ms())
        if total.batches:
            what = f"{total.batches} batches of the host's earlier identity were set aside."
            self._report("spool.dropped", what)
        return Store(self._path, self._agent)

    def _replace(self, fault: sqlite3.Error) -> Store:
        """Set the damaged file aside, start a new one, save what can be read."""
        aside.set_aside(self._path, aside.SAVING, self._now_ms())
        store = Store(self._path, self._agent)
        self._save_into(store, str(fault))
        return store

    def _save_into(self, store: Store, why: str) -> None:
        """Save what can be read of damaged files. They are named as being saved until all of it is on disk:
        killed before, the next start does it again, and finds under their numbers what is there already."""
        for damaged in aside.half_saved(self._path):
            saved = _save(damaged, store, self.counters)
            kept = aside.saved(self._path, damaged)
            self._report(
                "spool.corrupt",
                f"The spool was damaged ({why}). {saved} batches could be saved; an unknown number may be"
                f" lost. The damaged file is kept as {kept.name}.",
            )

    @property
    def in_memory_only(self) -> bool:
        """The file cannot be used."""
        return self._disk is None

    def may_return(self) -> bool:
        """The file could not be used when the agent started, and now it can: who opens the spool anew has it
        back, and what it holds. False while anything waits in memory, which would be lost."""
        with self._mutex:
            if self._disk is not None or self._closed or self.total().batches:
                return False
            try:
                self._lock.acquire()
                if aside.half_saved(self._path):
                    return False  # it is not sure that there is room for all of it
                store = Store(self._path, self._agent)
            except (Locked, OSError, sqlite3.Error):
                return False
            try:
                return store.set(tried=str(self._now_ms()))
            except sqlite3.Error:
                return False
            finally:
                store.close()

    def close(self) -> None:
        """Give file and lock back. What is in memory only is lost, and counted where it can be."""
        with self._mutex:
            if self._memory is not None:
                self._count_lost_memory(self._memory)
                self._memory.close()
            if self._disk is not None:
                self._disk.close()
            # A thread that comes late must find nothing, not a closed file that looks damaged.
            self._disk = self._memory = None
            self._closed = True
            self._lock.release()

    def _count_lost_memory(self, memory: Store) -> None:
        for batch in memory.all():
            self.counters[_counter(batch.kind)] += batch.items
        if self._disk is not None:
            with suppress(sqlite3.Error):
                self._disk.set(**{name: str(value) for name, value in self.counters.items()})

    # ---- taking in

    def put_frames(self, frames: list[Frame], correction_ms: int) -> None:
        """Number and keep frames; on return they are on disk, in memory, or counted as dropped."""
        with self._mutex:
            kept, lost = self._trims.apply(frames, time.monotonic())
            self.counters["samples_refused"] += lost
        if kept:
            self._put(lambda store, now: store.put_frames(kept, now + correction_ms, correction_ms))

    def put_events(self, events: list[Event], correction_ms: int) -> None:
        """Number and keep events; on return they are on disk, in memory, or counted as dropped."""
        self._put(lambda store, now: store.put_events(events, now + correction_ms, correction_ms))

    def put_marked(self, events: list[Event], correction_ms: int, feed: str, bookmark: str) -> bool:
        """Keep what was read of a log, and how far, in one transaction; False = nothing was kept."""
        with self._mutex:
            created, mark = self._now_ms() + correction_ms, (BOOKMARK + feed, bookmark)
            done = self._try_disk(lambda disk: disk.put_marked(events, created, correction_ms, mark))
            if done and self._disk is not None:
                self._keep_within(self._disk)
            return bool(done)

    def bookmark(self, feed: str) -> str:
        """How far a log was read; empty when it never was."""
        return self.get(BOOKMARK + feed)

    def _put(self, write: Callable[[Store, int], Stored]) -> None:
        with self._mutex:
            now = self._now_ms()
            if self._disk is not None and self._try_disk(lambda disk: write(disk, now)) is not None:
                self._keep_within(self._disk)
                return
            if self._closed:
                return
            store = self._in_memory()
            write(store, now)
            self._keep_within(store)

    def put_layout(self, digest: bytes, body: bytes) -> None:
        """Keep a layout for the collector to ask for; called again now and then while it is in use."""
        with self._mutex:
            if not self._try_disk(lambda disk: disk.put_layout(digest, body)) and not self._closed:
                self._in_memory().put_layout(digest, body)

    def _in_memory(self) -> Store:
        if self._memory is None:
            log.warning("the spool's disk cannot be written; new readings are kept in memory")
            self._memory = Store(None, self._agent, first_id=MEMORY_IDS)
        return self._memory

    def _keep_within(self, store: Store) -> None:
        limit = self._max_bytes if store is self._disk else _MEMORY_BYTES
        while store.total.bytes > limit:
            kind: Kind = "frames"
            first = store.first(kind)
            if first is None:
                kind, first = "events", store.first("events")
            if first is None or not self._give_up(store, [(first[0], kind, first[1])], "it is full"):
                return

    def expire(self, now_ms: int) -> None:
        """Give up what is older than the collector would take. ``now_ms`` is a time that can be believed: a
        host whose clock jumps ahead for a moment must not lose its backlog."""
        with self._mutex:
            before = now_ms - self._max_age_ms
            for store in (self._disk, self._memory):
                if store is not None:
                    with suppress(sqlite3.Error):
                        self._expire(store, before)

    def _expire(self, store: Store, before_ms: int) -> None:
        while old := store.born_before(before_ms):
            if not self._give_up(store, old, "it is too old"):
                return

    def _give_up(self, store: Store, batches: Collection[tuple[int, Kind, int]], why: str) -> bool:
        """Drop batches and count them in one transaction; False when the disk does not let us."""
        counters = dict(self.counters)
        for _, kind, items in batches:
            counters[_counter(kind)] += items if isinstance(items, int) else 0  # damaged rows hold anything
        try:
            store.remove([key for key, _, _ in batches], **{n: str(v) for n, v in counters.items()})
        except sqlite3.Error:
            return False
        given_up = _sum(counters) - _sum(self.counters)
        self.counters = counters
        self._report("spool.dropped", f"The spool gave up {given_up} readings: {why}.")
        return True

    # ---- giving out

    def newest(self, kind: Kind, skip: Collection[int] = ()) -> Stored | None:
        """The batch born last, bytes checked; ``skip`` holds ids to pass over."""
        return self._intact(lambda store, avoid: store.newest(kind, avoid), skip, memory_first=True)

    def oldest(self, kind: Kind, skip: Collection[int] = (), after: int = 0) -> Stored | None:
        """The batch born first (of those with an id above ``after``), bytes checked."""
        return self._intact(lambda store, avoid: store.oldest(kind, avoid, after), skip, memory_first=False)

    def last_id(self) -> int:
        """The id of the newest batch on disk: what is born later has a higher one."""
        with self._mutex:
            return self._try_disk(lambda disk: disk.last_id()) or 0

    def _intact(
        self,
        pick: Callable[[Store, set[int]], Stored | None],
        skip: Collection[int],
        *,
        memory_first: bool,
    ) -> Stored | None:
        with self._mutex:
            avoid = {*skip, *self._gone}
            while True:
                on_disk = self._try_disk(lambda disk: pick(disk, avoid))
                in_memory = None if self._memory is None else pick(self._memory, avoid)
                batch = (in_memory or on_disk) if memory_first else (on_disk or in_memory)
                if batch is None or batch.intact:
                    return batch
                self._drop_damaged(batch)
                avoid.add(batch.id)

    def _drop_damaged(self, batch: Stored) -> None:
        store = self._store_of(batch.id)
        row = [(batch.id, batch.kind, batch.items)]
        if store is None or not self._give_up(store, row, "its bytes changed"):
            self._gone.add(batch.id)

    def layout(self, digest: bytes) -> bytes | None:
        """A layout's canonical bytes."""
        with self._mutex:
            found = self._try_disk(lambda disk: disk.layout(digest))
            if found is None and self._memory is not None:
                found = self._memory.layout(digest)
            return found

    def delivered(self, batch: Stored) -> None:
        """A receipt says that the collector has it."""
        with self._mutex:
            self._forget(batch)

    def refused(self, batch: Stored, reason: str) -> None:
        """A receipt says that it will never be taken."""
        with self._mutex:
            self.counters["batches_refused"] += 1
            what = f"The collector refused a batch of {batch.items} {batch.kind}: {reason}"
            self._report("batch.refused", what)
            self._forget(batch, batches_refused=str(self.counters["batches_refused"]))

    def renumber(self, batch: Stored, reason: str) -> bool:
        """Its number is taken by other bytes: the same content gets a new one. False: not now."""
        with self._mutex:
            store = self._store_of(batch.id)
            if store is None:
                return False
            try:
                store.renumber(batch)
            except sqlite3.Error as fault:
                log.warning("cannot renumber a batch now: %s", fault)
                return False
            self.renumbered += 1
            self.remember(renumbered=str(self.renumbered))
            self._report("batch.renumbered", f"{reason} This machine was probably reverted or cloned.")
            return True

    def narrow(self, batch: Stored, digest: bytes, over: Collection[int], reason: str) -> bool:
        """The collector has no room for some series of a layout: the batch goes on without them, under a new
        number, and so does what comes later. False: ``over`` names none of them, or the disk is at fault."""
        with self._mutex:
            body, store, content = self.layout(digest), self._store_of(batch.id), decoded(batch)
            trim = trim_of(body, over) if body else None
            if trim is None or store is None or not isinstance(content, FrameBatch):
                return False
            frames, lost = cut_all(content.frames, {digest: trim})
            counters = self.counters | {"samples_refused": self.counters["samples_refused"] + lost}
            try:
                if trim.keep:
                    store.put_layout(trim.digest, trim.body)
                store.rewrite(batch, frames, **{name: str(value) for name, value in counters.items()})
            except sqlite3.Error as fault:
                log.warning("cannot narrow a batch now: %s", fault)
                return False
            self.counters = counters
            if self._trims.note(digest, trim, time.monotonic()):
                self._report("series.refused", f"{trim.dropped} series are left out: {reason}")
            return True

    def _forget(self, batch: Stored, **meta: str) -> None:
        store = self._store_of(batch.id)
        if store is None:
            return
        try:
            store.remove([batch.id], **meta)
            if store is self._disk and self._gone:
                store.remove(self._gone)
                self._gone.clear()
        except sqlite3.Error as fault:
            log.warning("cannot forget a delivered batch now: %s", fault)
            self._gone.add(batch.id)

    def _store_of(self, key: int) -> Store | None:
        return self._memory if key >= MEMORY_IDS else self._disk

    # ---- state

    def total(self) -> Total:
        """What waits, on disk and in memory."""
        with self._mutex:
            stores = [store.total for store in (self._disk, self._memory) if store is not None]
            return Total(sum(t.batches for t in stores) - len(self._gone), sum(t.bytes for t in stores))

    def get(self, name: str) -> str:
        """A remembered value (clock correction, boot id); empty when unknown."""
        with self._mutex:
            return self._try_disk(lambda disk: disk.get(name)) or ""

    def remember(self, **values: str) -> None:
        """Remember values over restarts, if the disk lets us."""
        with self._mutex:
            self._try_disk(lambda disk: disk.set(**values))

    def take_incidents(self) -> list[Incident]:
        """What has happened since the last call."""
        with self._mutex:
            taken, self._incidents = self._incidents, []
            return taken

    def _report(self, event_id: str, message: str) -> None:
        """At most one waiting incident per kind and wording of its end: a full spool drops at each tick."""
        log.warning("%s: %s", event_id, message)
        self._incidents = [i for i in self._incidents if i.event_id != event_id][-20:]
        self._incidents.append(Incident(event_id, message))

    def _try_disk(self, act: Callable[[Store], _T | None]) -> _T | None:
        """What ``act`` gives on the file; a damaged file is replaced and asked once more; None when the disk
        cannot be used now."""
        if self._disk is None:
            return None
        try:
            return act(self._disk)
        except sqlite3.DatabaseError as fault:
            if not is_damage(fault):
                log.debug("spool: %s", fault)
                return None
            return self._after_damage(act, fault)

    def _after_damage(self, act: Callable[[Store], _T | None], fault: sqlite3.Error) -> _T | None:
        assert self._disk is not None
        self._disk.close()
        try:
            self.generation += 1
            self._disk = self._replace(fault)
            return act(self._disk)
        except (OSError, sqlite3.Error) as second:
            self._report("spool.dropped", f"The spool cannot be made anew ({second}); memory only.")
            self._disk = None
            return None


def _save(damaged: Path, store: Store, counters: dict[str, int]) -> int:
    """Everything that can be read of a damaged file, into ``store``; how many batches that are."""
    for counter, value in read_counters(damaged):
        counters[counter] = max(counters[counter], value)
    store.set(**{name: str(value) for name, value in counters.items()})
    for name in (BOOKMARK, *_REMEMBERED):
        store.set(**dict(read_bookmarks(damaged, name)))
    for digest, body in read_layouts(damaged):
        store.put_layout(digest, body)
    saved = 0
    for batch in read_batches(damaged):
        store.adopt(batch)
        saved += 1
    return saved


def _count(text: str) -> int:
    """A stored counter; 0 when it was never written or is damaged."""
    return int(text[:15]) if text.isascii() and text.isdecimal() else 0


def _sum(counters: dict[str, int]) -> int:
    return counters["frames_dropped"] + counters["events_dropped"]


def _counter(kind: Kind) -> str:
    return "frames_dropped" if kind == "frames" else "events_dropped"
