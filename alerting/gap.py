"""Gaps: what the newest frames jumped over, and what its replay is worth. Pure.

After an outage the newest data comes first and the backlog trickles in behind. Late frames are stored, not
judged; when none came for a while the gap counts as closed, and the same judge goes through its stored frames
from the state before it. It may add alerts of the past (told as over before we heard of them: nobody is
paged for what has recovered) and move the beginning of an open alert to where it really was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from alerting.inputs import AlertChange, Change
from alerting.machine import LevelState, Phase
from alerting.published import ENDED, State
from alerting.samples import GAP_INTERVALS
from alerting.state import Gap, Key, Track

SETTLE_MS = 600_000
"""Without a further late frame for this long, a gap counts as closed."""
MAX_GAPS = 4
"""Gaps of a host that are remembered; the oldest is forgotten first (then its late frames stay unjudged)."""
MUTED = "over before its frames arrived"
"""Why nobody is bothered with an alert of the past."""

_changed = msgspec.structs.replace


def noted(
    gaps: tuple[Gap, ...], layout: bytes, known: int, at: int, tracks: Mapping[Key, Track]
) -> tuple[Gap, ...]:
    """A layout jumped from ``known`` to ``at``: the same gap as its host's other layouts, or a new one."""
    newest = gaps[-1] if gaps else None
    same = newest is not None and newest.layouts.get(layout, (known, at))[0] == known
    if newest is not None and same and newest.start < at and known < newest.end:
        return (*gaps[:-1], _changed(newest, layouts=newest.layouts | {layout: (known, at)}))
    return (*gaps, Gap({layout: (known, at)}, list(tracks.values())))[-MAX_GAPS:]


def late(gaps: tuple[Gap, ...], layout: bytes, at: int, received: int) -> tuple[Gap, ...]:
    """A late frame arrived: the gap that it belongs to waits for the next one anew."""
    return tuple(
        _changed(gap, late=received, due=received + SETTLE_MS) if _within(gap, layout, at) else gap
        for gap in gaps
    )


def _within(gap: Gap, layout: bytes, at: int) -> bool:
    start, end = gap.layouts.get(layout, (0, 0))
    return start < at < end


def replayed(gaps: tuple[Gap, ...], now: int) -> tuple[Gap, ...]:
    """The gaps after all that are due were replayed: kept, in case that more arrives."""
    return tuple(_changed(gap, due=0) if 0 < gap.due <= now else gap for gap in gaps)


class Episode(msgspec.Struct, frozen=True):
    """One alert of the replay, from its first transition on."""

    key: Key
    alert: AlertChange
    """As it stands after its last transition."""
    changes: tuple[Change, ...]

    @property
    def fired(self) -> bool:
        return any(change.to_state is State.FIRING for change in self.changes)

    @property
    def ended(self) -> bool:
        return self.changes[-1].to_state in ENDED


def episodes(alerts: Iterable[AlertChange]) -> list[Episode]:
    """The replay's alerts that began within the gap and fired; what began before is the live alert's."""
    running: dict[Key, list[AlertChange]] = {}
    done: list[list[AlertChange]] = []
    for alert in alerts:
        key = (alert.rule_id, alert.instance)
        if alert.change.from_state is None:
            running[key] = []
            done.append(running[key])
        if key in running:
            running[key].append(alert)
    return [found for changes in done if (found := _episode(changes)).fired]


def _episode(alerts: Sequence[AlertChange]) -> Episode:
    last = alerts[-1]
    return Episode((last.rule_id, last.instance), last, tuple(alert.change for alert in alerts))


def closed(episode: Episode, end: int) -> Episode:
    """An episode that nothing after the gap continues: over with the first frame after it."""
    if episode.ended:
        return episode
    last = episode.changes[-1]
    reason = "The first frame after the gap no longer shows it: recovered."
    change = Change(end, last.to_state, State.RESOLVED, last.priority, None, reason)
    return Episode(episode.key, _changed(episode.alert, change=change), (*episode.changes, change))


def begun_earlier(
    found: Iterable[Episode], past: Mapping[Key, Track], tracks: Mapping[Key, Track], end: int
) -> dict[Key, Track]:
    """The tracks of now; where an episode goes on, their timers run from where the replay (``past``) saw them
    begin: what has held throughout does not wait anew, nor is it said to have begun after the gap."""
    now = dict(tracks)
    for episode in found:
        before, track = past.get(episode.key), now.get(episode.key)
        if before and track and before.rule == track.rule and continued(episode, track, end):
            apart = GAP_INTERVALS * track.interval_ms
            pairs = zip(track.levels, before.levels, strict=True)
            levels = tuple(_joined(*pair, before.last + apart) for pair in pairs)
            now[episode.key] = _changed(track, levels=levels)
    return now


def _joined(now: LevelState, before: LevelState, until: int) -> LevelState:
    """A timer of now that goes on from one of before, unless it began after ``until``: samples between them
    are missing."""
    held = before.phase in (Phase.PENDING, Phase.ACTIVE) and now.phase is Phase.PENDING
    if not held or not before.since < now.since <= until:
        return now
    return _changed(now, since=before.since, count=before.count + now.count)


def continued(episode: Episode, track: Track | None, end: int) -> bool:
    """Whether an alert that is open now is this episode going on: it began with the frames after the gap."""
    if episode.ended or track is None or not track.told.state:
        return False
    return episode.alert.since_ms < track.told.since <= end
