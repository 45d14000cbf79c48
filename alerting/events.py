"""Event rules: how often something was said within a window, and for how long no longer. Pure.

Counts live in at most ``MAX_BUCKETS`` counters over a window, ``KEPT_BUCKETS`` in all, whatever the number of
events. They depend neither on the order in which events arrive nor on how late they come: what counts is that
so many happened within some window, and the counters are kept for as long as an event may still arrive that
belongs to theirs (after an outage the newest comes first).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from alerting import plain, wording
from alerting.inputs import Change
from alerting.published import State
from alerting.rule import CountLevel, Matched
from alerting.state import KEPT_BUCKETS, MAX_BUCKETS, EventTrack, Key, Told
from alerting.texts import COUNT
from wire.batch import Event

_changed = msgspec.structs.replace


class EventStep(NamedTuple):
    """What an event, or the passing of time, made of a track. As ``samples.Step``."""

    track: EventTrack | None
    told: Told
    change: Change | None


def instance_of(source: Matched, event: Event) -> str:
    """The instance that an event speaks of."""
    return plain.instance(event.attributes.get(name, "") for name in source.instance)


def happened(
    key: Key, mark: bytes, source: Matched, track: EventTrack | None, event: Event, at: int
) -> EventStep:
    """One more event for a rule's instance."""
    track = track or EventTrack(*key, mark, Told(since=at), (), at, at)
    newest = max(track.last, at)
    buckets = _counted(track.buckets, source, at, newest)
    count, since = _most(buckets, source, at, newest) if source.window_s else (1, at)
    level = next((level for level in source.levels if count >= level.count), None)
    told = track.told if track.told.state else _changed(track.told, since=since)
    track = _changed(track, rule=mark, told=told, buckets=buckets, last=newest)
    if level is None and not told.state:
        return _waiting(track, round((source.window_s + source.quiet_s) * 1000))
    return _firing(track, source, level, event, count, at)


def _counted(
    buckets: tuple[tuple[int, int], ...], source: Matched, at: int, newest: int
) -> tuple[tuple[int, int], ...]:
    """The counters with one more event, without those that no event can join any more."""
    if not source.window_s:
        return ()
    counts = dict(buckets)
    start = at - at % _width(source)
    counts[start] = counts.get(start, 0) + 1
    oldest = newest - round((source.window_s + source.quiet_s) * 1000)
    return tuple(sorted((s, n) for s, n in counts.items() if s > oldest))[-KEPT_BUCKETS:]


def _width(source: Matched) -> int:
    return max(round(source.window_s * 1000) // MAX_BUCKETS, 1)


def _most(buckets: tuple[tuple[int, int], ...], source: Matched, at: int, newest: int) -> tuple[int, int]:
    """Of all windows with the event in it, the most events in one, and when the first of them happened."""
    window, start = round(source.window_s * 1000), at - at % _width(source)
    ends = {at} | {s for s, _ in buckets if at < s < newest} | {newest}
    within = [[(s, n) for s, n in buckets if end - window < s <= end] for end in ends if end - window < start]
    most = max(within, key=lambda found: sum(n for _, n in found), default=[])
    first = most[0][0] if most else start
    return sum(n for _, n in most), first if first < start else at


def _waiting(track: EventTrack, ms: int) -> EventStep:
    """Not enough yet: forgotten when no event can come any more that would count together with these."""
    return EventStep(_changed(track, due=track.last + ms), track.told, None)


def idle(track: EventTrack, source: Matched, now: int) -> bool:
    """Whether it never fired and its window is over: it is only kept for what may come late."""
    return not track.told.state and track.last + round(source.window_s * 1000) <= now


def _firing(
    track: EventTrack, source: Matched, level: CountLevel | None, event: Event, count: int, at: int
) -> EventStep:
    """Fires, worsens, or goes on as it is: an event alert never improves before it is quiet."""
    told, due = track.told, track.last + round(source.quiet_s * 1000)
    if level is None or (told.state and told.priority <= level.priority):
        return EventStep(_changed(track, due=due), told, None)
    reason = wording.event(event, count, source.window_s)
    before = State(told.state) if told.state else None
    told = _changed(told, state=State.FIRING.value, priority=level.priority, fired_at=told.fired_at or at)
    change = Change(at, before, State.FIRING, level.priority, float(count), reason, COUNT)
    return EventStep(_changed(track, told=told, due=due), told, change)


def expired(track: EventTrack, source: Matched | None, now: int) -> EventStep | None:
    """Time passed: over when quiet for long enough, or when the rule is gone. None: not yet."""
    if source is not None and track.due > now:
        return None
    told = track.told
    if not told.state:
        return EventStep(None, told, None)
    to = State.RESOLVED if source else State.STALE
    reason = wording.quiet(source.quiet_s) if source else wording.RULE_GONE
    at = track.due if source else now
    change = Change(at, State(told.state), to, told.priority, None, reason)
    return EventStep(None, _changed(told, state=to.value), change)
