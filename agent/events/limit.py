"""How many events of one log may leave: a bucket that fills by the minute. Pure.

What is held back is counted and told in one event, kept in the same transaction as the bookmark: so the count
is exact, whatever is killed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from agent.events import Record


class Bucket(NamedTuple):
    """Events that may still pass."""

    tokens: float
    at_s: float
    """Monotonic time of the last look."""


class Passed(NamedTuple):
    """What a look let through."""

    bucket: Bucket
    records: list[Record]
    held: Counter[tuple[str, str]]
    """(source, event id) -> how many were held back."""


def refill(bucket: Bucket | None, per_minute: float, now_s: float) -> Bucket:
    """The bucket now: at first, and after a minute, it is full."""
    if bucket is None:
        return Bucket(per_minute, now_s)
    gained = max(0.0, now_s - bucket.at_s) * per_minute / 60
    return Bucket(min(per_minute, bucket.tokens + gained), now_s)


def admit(bucket: Bucket | None, records: Sequence[Record], per_minute: float, now_s: float) -> Passed:
    """The first that fit pass, the rest is counted."""
    full = refill(bucket, per_minute, now_s)
    room = int(full.tokens)
    held = Counter((record.source, record.event_id) for record in records[room:])
    passed = list(records[:room])
    return Passed(Bucket(full.tokens - len(passed), now_s), passed, held)


def describe(held: Counter[tuple[str, str]]) -> str:
    """In words, the most frequent first."""
    parts = [f"{count} x {' '.join(filter(None, kind))}" for kind, count in held.most_common(8)]
    rest = len(held) - len(parts)
    more = f", and {rest} other kinds" if rest > 0 else ""
    return f"{sum(held.values())} events were held back: {', '.join(parts)}{more}."
