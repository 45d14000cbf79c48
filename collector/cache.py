"""A bounded cache whose entries are believed for a limited time.

The age counts from *before* the value was asked for, so that an entry never outlives a change by more than
``ttl_s``. Least recently used entries go first when it is full.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Entry(Generic[V]):
    """One value, and how old it is. Who holds on to it sees it renewed, dropped or grown old in place."""

    __slots__ = ("asked_at", "used_at", "value")

    def __init__(self, value: V, asked_at: float) -> None:
        self.value = value
        self.asked_at = asked_at
        self.used_at = asked_at


class TtlCache(Generic[K, V]):
    """``await cache.get(key, load)``: the cached value while it is young, else ``load()``'s."""

    def __init__(
        self, *, ttl_s: float, size: int = 10_000, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl_s = ttl_s
        self._size = size
        self._monotonic = monotonic
        self._entries: OrderedDict[K, Entry[V]] = OrderedDict()

    async def get(self, key: K, load: Callable[[K], Awaitable[V]]) -> V:
        """The value for ``key``, at most ``ttl_s`` seconds old."""
        asked_at = self._monotonic()
        entry = self._entries.get(key)
        if entry is not None and asked_at - entry.asked_at < self._ttl_s:
            entry.used_at = asked_at
            self._entries.move_to_end(key)
            return entry.value
        value = await load(key)
        self.put(key, value, asked_at)
        return value

    def entry(self, key: K) -> Entry[V] | None:
        """What is known, however old; ``young`` says what it is worth."""
        return self._entries.get(key)

    def young(self, entry: Entry[V]) -> V | None:
        """The entry's value while it may be believed; never asks."""
        now = self._monotonic()
        if now - entry.asked_at >= self._ttl_s:
            return None
        entry.used_at = now
        return entry.value

    def age_s(self, key: K) -> float:
        """How old the value is, in seconds; without one: infinitely."""
        entry = self._entries.get(key)
        return self._monotonic() - entry.asked_at if entry is not None else math.inf

    def ageing(self, *, past: float, used_within_s: float) -> list[K]:
        """Keys whose value is older than a part (0 .. 1) of its time, and was used a short time ago."""
        now = self._monotonic()
        asked_before, used_after = now - past * self._ttl_s, now - used_within_s
        return [
            key
            for key, entry in self._entries.items()
            if entry.asked_at <= asked_before and entry.used_at >= used_after and entry.value is not None
        ]

    def put(self, key: K, value: V, asked_at: float) -> None:
        """Remember ``value``, as it was at ``asked_at`` (monotonic seconds)."""
        entry = self._entries.get(key)
        if entry is None:
            self._entries[key] = Entry(value, asked_at)
        else:
            entry.value, entry.asked_at, entry.used_at = value, asked_at, max(entry.used_at, asked_at)
            self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def renew(self, key: K, value: V, asked_at: float) -> None:
        """``put`` without counting as a use; an entry dropped meanwhile stays dropped."""
        entry = self._entries.get(key)
        if entry is not None and entry.asked_at < asked_at:
            entry.value, entry.asked_at = value, asked_at

    def forget(self, key: K) -> None:
        """Drop one entry (its subject has just changed)."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.asked_at = -math.inf
