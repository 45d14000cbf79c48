"""A bounded cache whose entries are believed for a limited time.

The age counts from *before* the value was asked for, so that an entry never outlives a change by more than
``ttl_s``. Least recently used entries go first when it is full.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class TtlCache(Generic[K, V]):
    """``await cache.get(key, load)``: the cached value while it is young, else ``load()``'s."""

    def __init__(
        self, *, ttl_s: float, size: int = 10_000, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._ttl_s = ttl_s
        self._size = size
        self._monotonic = monotonic
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()

    async def get(self, key: K, load: Callable[[K], Awaitable[V]]) -> V:
        """The value for ``key``, at most ``ttl_s`` seconds old."""
        asked_at = self._monotonic()
        entry = self._entries.get(key)
        if entry is not None and asked_at - entry[0] < self._ttl_s:
            self._entries.move_to_end(key)
            return entry[1]
        value = await load(key)
        self.put(key, value, asked_at)
        return value

    def young(self, key: K) -> V | None:
        """The value when it is known and young enough; never asks."""
        entry = self._entries.get(key)
        return entry[1] if entry is not None and self._monotonic() - entry[0] < self._ttl_s else None

    def age_s(self, key: K) -> float:
        """How old the value is, in seconds; without one: infinitely."""
        entry = self._entries.get(key)
        return self._monotonic() - entry[0] if entry is not None else float("inf")

    def put(self, key: K, value: V, asked_at: float) -> None:
        """Remember ``value``, as it was at ``asked_at`` (monotonic seconds)."""
        self._entries[key] = (asked_at, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._size:
            self._entries.popitem(last=False)

    def forget(self, key: K) -> None:
        """Drop one entry (its subject has just changed)."""
        self._entries.pop(key, None)

    def clear(self) -> None:
        """Drop all entries."""
        self._entries.clear()
