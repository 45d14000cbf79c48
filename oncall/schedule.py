"""Layered schedules: who is on call, from one rule.

At any instant a schedule has a stack of sources: its overrides (the one made last on top), below them its
layers (the last one on top). Each source names people: an override its person, a layer the crew of its
rotation's turn while one of its windows is open. Of these people,

1. those for whom a replacement (an override with ``replaces``, half a swap) is in force are replaced,
2. those who are absent are left out: **an absent person is never on call**.

**The first source from the top that is left with anybody decides; nobody else is on call.** If none is
left with anybody, there is a gap. A layer with ``cover`` asks, before it gives up, the crews of the turns
that follow in its order.

This is how layers of PagerDuty and priorities of Grafana OnCall work; as in Grafana a turn may hold several
people. Whoever wants a primary and a secondary makes two schedules and names both in the paging policy.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import msgspec

from oncall.rotation import Rotation, crew, turns
from oncall.wall import ALWAYS, EARLIEST, LATEST, Span, Window, merged, openings, within

OVERRIDE = "override"
"""Stands as the layer of a shift that an override made."""
FAR = timedelta(days=400)
"""How far ``who`` looks for the end of a shift."""


class Layer(msgspec.Struct, frozen=True):
    """A rotation and when it counts."""

    name: str
    rotation: Rotation
    windows: tuple[Window, ...] = ALWAYS
    """Open stretches of the week on the rotation's wall clock. They do not hold the turns: a turn ends at
    its hand-over also while the layer is closed."""
    since: datetime = EARLIEST
    """Not before (aware UTC)."""
    until: datetime = LATEST
    """Not from here on (aware UTC)."""
    cover: bool = False
    """When everybody of a turn is absent, the next crew in order that is not covers it."""


class Override(msgspec.Struct, frozen=True):
    """Somebody takes (part of) the schedule for a while."""

    override_id: str
    person_key: str
    start: datetime
    end: datetime
    replaces: str | None = None
    """Only instead of this person, wherever that one would be on call. None: instead of everybody."""
    reason: str = ""


class Absence(msgspec.Struct, frozen=True):
    """Somebody cannot be on call."""

    person_key: str
    start: datetime
    end: datetime
    reason: str = ""


class Schedule(msgspec.Struct, frozen=True):
    """Who is on call, when."""

    name: str
    zone: str
    """IANA zone in which it is written and shown."""
    layers: tuple[Layer, ...]
    """From the lowest to the highest."""
    overrides: tuple[Override, ...] = ()
    """In the order in which they were made."""
    absences: tuple[Absence, ...] = ()
    """Of whomever; only those of this schedule's people matter."""


class OnCall(msgspec.Struct, frozen=True):
    """A person who is on call at an instant."""

    person_key: str
    layer: str
    """The layer's name, or ``override``."""
    until: datetime | None
    """End of this person's shift (exclusive, UTC); None: further than ``FAR`` away."""


class Shift(msgspec.Struct, frozen=True):
    """A stretch of time in which one person is on call; hand-overs end it, also to oneself."""

    schedule: str
    layer: str
    person_key: str
    start: datetime
    end: datetime
    anchor: datetime
    """Where the undisturbed stretch (turn within window, or override) begins: with it a shift keeps its
    identity when an override or an absence cuts it."""
    override_id: str | None = None
    """The override that made it or put this person into it."""
    place: int = 0
    """Place in the turn's crew: who of several people is reached first."""


class _Piece(NamedTuple):
    start: datetime
    end: datetime
    number: int


class _Named(NamedTuple):
    """A person in a source, and the override that put them there."""

    person_key: str
    override_id: str | None
    place: int = 0


def who(schedule: Schedule, at: datetime) -> tuple[OnCall, ...]:
    """Who is on call at ``at``, in the order of the turn; empty: nobody."""
    reach = timedelta(days=2)
    while True:
        found = [shift for shift in shifts(schedule, at, at + reach) if shift.start == at]
        known = all(shift.end < at + reach for shift in found)
        if known or reach >= FAR:
            break
        reach = min(reach * 8, FAR)
    return tuple(
        OnCall(s.person_key, s.layer, s.end if s.end < at + reach else None) for s in in_order(found)
    )


def in_order(running: Iterable[Shift]) -> list[Shift]:
    """Shifts that run at the same time, in the order in which their people are reached."""
    return sorted(running, key=lambda shift: shift.place)


def shifts(schedule: Schedule, start: datetime, end: datetime) -> list[Shift]:
    """All shifts within [start, end), clipped to it, by start and then by place."""
    done: list[Shift] = []
    running: list[Shift] = []
    for a, b, current in _segments(schedule, start, end):
        alive = {_identity(shift): shift for shift in running if shift.end == a}
        begun = [alive.pop(_identity(shift), shift) for shift in current]
        done += [shift for shift in running if shift not in begun]
        running = [msgspec.structs.replace(shift, end=b) for shift in begun]
    return sorted(done + running, key=lambda shift: (shift.start, shift.place))


def people_of(schedule: Schedule) -> frozenset[str]:
    """Everybody whom this schedule can ever name."""
    turned = {key for layer in schedule.layers for crew in layer.rotation.turns for key in crew}
    return frozenset(turned | {override.person_key for override in schedule.overrides})


def _identity(shift: Shift) -> tuple[str, str, datetime, str | None, int]:
    return shift.layer, shift.person_key, shift.anchor, shift.override_id, shift.place


def _segments(
    schedule: Schedule, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime, list[Shift]]]:
    """[start, end) cut wherever anything can change, with who is on call in each piece."""
    tracks = [_track(layer, start, end) for layer in schedule.layers]
    overrides = [o for o in schedule.overrides if o.start < end and o.end > start]
    away = _away(schedule.absences)
    spans = [
        *((p.start, p.end) for track in tracks for p in track),
        *((o.start, o.end) for o in overrides),
        *(span for of_one in away.values() for span in of_one),
    ]
    cuts = sorted({start, end, *(t for span in spans for t in span if start < t < end)})
    for a, b in pairwise(cuts):
        active = [o for o in overrides if o.start <= a < o.end]
        absent = frozenset(key for key, of_one in away.items() if within(of_one, a))
        yield a, b, _decide(schedule, tracks, active, absent, a, b)


def _track(layer: Layer, start: datetime, end: datetime) -> list[_Piece]:
    """The layer's turns within its windows that touch [start, end): sorted, disjoint, not clipped."""
    touching = list(turns(layer.rotation, start, end))
    if not touching:
        return []
    zone = layer.rotation.zone
    spans = openings(layer.windows, zone, touching[0].start, touching[-1].end)
    ends = [b for _, b in spans]
    pieces = []
    for turn in touching:
        low, high = max(turn.start, layer.since), min(turn.end, layer.until)
        for a, b in spans[bisect_right(ends, low) :]:
            if a >= high:
                break
            pieces.append(_Piece(max(a, low), min(b, high), turn.number))
    return pieces


def _away(absences: Iterable[Absence]) -> Mapping[str, list[Span]]:
    by_person: dict[str, list[Span]] = {}
    for absence in absences:
        by_person.setdefault(absence.person_key, []).append((absence.start, absence.end))
    return {key: merged(span for span in spans if span[0] < span[1]) for key, spans in by_person.items()}


def _decide(
    schedule: Schedule,
    tracks: Sequence[Sequence[_Piece]],
    active: Sequence[Override],
    absent: frozenset[str],
    a: datetime,
    b: datetime,
) -> list[Shift]:
    """The one rule (see the module): the first source from the top that is left with anybody."""
    for layer, anchor, named in _sources(schedule, tracks, active, absent, a):
        if named:
            unique = {one.person_key: one for one in reversed(named)}
            return [
                Shift(schedule.name, layer, one.person_key, a, b, anchor, one.override_id, one.place)
                for one in named
                if unique[one.person_key] is one
            ]
    return []


def _sources(
    schedule: Schedule,
    tracks: Sequence[Sequence[_Piece]],
    active: Sequence[Override],
    absent: frozenset[str],
    at: datetime,
) -> Iterator[tuple[str, datetime, list[_Named]]]:
    """(layer, anchor, people left) of each source, from the top."""
    for index in reversed(range(len(active))):
        override = active[index]
        if override.replaces is None:
            first = _Named(override.person_key, override.override_id)
            yield OVERRIDE, override.start, _present([first], active[index + 1 :], absent)
    for layer, track in zip(reversed(schedule.layers), reversed(tracks), strict=True):
        piece = _piece(track, at)
        if piece:
            yield layer.name, piece.start, _crew(layer, piece.number, active, absent)


def _piece(track: Sequence[_Piece], at: datetime) -> _Piece | None:
    index = bisect_right(track, at, key=lambda piece: piece.start) - 1
    return track[index] if index >= 0 and at < track[index].end else None


def _crew(layer: Layer, number: int, active: Sequence[Override], absent: frozenset[str]) -> list[_Named]:
    """Who is left of the turn's crew, or of the first crew after it that covers."""
    for ahead in range(len(layer.rotation.turns) if layer.cover else 1):
        named = [_Named(key, None, n) for n, key in enumerate(crew(layer.rotation, number, ahead))]
        left = _present(named, active, absent)
        if left:
            return left
    return []


def _present(named: list[_Named], active: Sequence[Override], absent: frozenset[str]) -> list[_Named]:
    """``named`` with replacements made, in their order, and without those who are absent.

    A replacement who is absent replaces nobody."""
    for override in active:
        if override.replaces is not None and override.person_key not in absent:
            stand_in = _Named(override.person_key, override.override_id)
            named = [
                stand_in._replace(place=n.place) if n.person_key == override.replaces else n for n in named
            ]
    return [one for one in named if one.person_key not in absent]
