"""Rotations: people taking turns, handing over at a wall time.

A rotation hands over at ``starts``, ``starts + every``, ``starts + 2 x every`` ... **on the wall clock** of
its zone, so a hand-over at Monday 09:00 stays at Monday 09:00 in summer and in winter: the shift across
the change is an hour (on Lord Howe: half an hour) shorter or longer. ``oncall.wall`` says what happens to
hand-overs that fall into a gap or a fold; an hourly turn whose whole hour is jumped over has no length and
is passed over, the turn after it stays whose it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, NamedTuple

import msgspec

from oncall.wall import instant, reading


class Rotation(msgspec.Struct, frozen=True):
    """Who takes turns, and when they hand over."""

    turns: tuple[tuple[str, ...], ...]
    """In order; each turn the keys of the people who are on call together in it. Not empty."""
    starts: datetime
    """First hand-over, naive, on ``zone``'s wall clock. Before it nobody is on call."""
    every_hours: Annotated[int, msgspec.Meta(gt=0)]
    """Hours on the wall between hand-overs: 24 is daily, 168 weekly."""
    zone: str
    """IANA zone."""


class Turn(NamedTuple):
    """One turn of a rotation."""

    number: int
    """Counted from 0 at the first hand-over, never reused."""
    start: datetime
    end: datetime


def turn_at(rotation: Rotation, at: datetime) -> Turn | None:
    """The turn that is running at ``at``; None before the first hand-over."""
    number = (reading(at, rotation.zone) - rotation.starts) // timedelta(hours=rotation.every_hours)
    while handover(rotation, number) > at:
        number -= 1
    while handover(rotation, number + 1) <= at:
        number += 1
    return turn(rotation, number) if number >= 0 else None


def turns(rotation: Rotation, start: datetime, end: datetime) -> Iterator[Turn]:
    """The turns that touch [start, end), whole, in order, without those that have no length."""
    first = turn_at(rotation, start)
    number = first.number if first else 0
    while (one := turn(rotation, number)).start < end:
        if one.start < one.end:
            yield one
        number += 1


def turn(rotation: Rotation, number: int) -> Turn:
    """The turn of that number."""
    return Turn(number, handover(rotation, number), handover(rotation, number + 1))


def handover(rotation: Rotation, number: int) -> datetime:
    """The instant at which turn ``number`` begins."""
    return instant(rotation.starts + number * timedelta(hours=rotation.every_hours), rotation.zone)


def crew(rotation: Rotation, number: int, ahead: int = 0) -> tuple[str, ...]:
    """Who has turn ``number``, or the turn ``ahead`` places after it in the order."""
    return rotation.turns[(number + ahead) % len(rotation.turns)]
