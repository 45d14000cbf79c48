"""One person's phone: at most one call at a time, and a storm bundled into few. Pure.

A phone that is in use gives the busy tone to everybody else, so a page for a person who is on a call waits
for that call - but not for long: then the next person is rung. After a few calls in a short time whatever
comes is collected and read out in one summary call. Nothing here ever drops a page: every verdict but
``Ring`` says until when, or that somebody else is to be rung.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from oncall.settings import Settings


class Line(msgspec.Struct, frozen=True):
    """What is known of a person's phone when it is to be rung."""

    name: str
    live: bool
    """A call of ours to it is under way."""
    recent: int
    """Calls to it within ``person_window_s``."""
    last_at: datetime | None
    """When the last call to it ended (or began, if its end is not known)."""
    waiting_since: datetime
    """When this page first found the phone in use; now, if it did not yet."""
    spent: int
    """Calls to anybody within the last hour."""
    last_any_at: datetime | None
    """When the last call to anybody was placed."""


class Ring(msgspec.Struct, frozen=True):
    """Call now. ``bundle`` = how many further tickets this call may read out."""

    bundle: int


class Hold(msgspec.Struct, frozen=True):
    """Not before ``until``."""

    until: datetime
    reason: str


class Pass(msgspec.Struct, frozen=True):
    """This person's phone stays in use: take the next person."""

    reason: str


Verdict = Ring | Hold | Pass


def may_ring(line: Line, s: Settings, now: datetime) -> Verdict:
    """Whether the phone may be rung now."""
    if line.live:
        if now - line.waiting_since >= timedelta(seconds=s.busy_wait_s):
            return Pass(f"{line.name} is still on another call: the next person")
        return Hold(now + timedelta(seconds=s.busy_look_s), f"{line.name} is on another call of ours")
    free_at, reason = _free_at(line, s)
    if free_at is not None and now < free_at:
        return Hold(free_at, reason)
    return Ring(s.bundle_max - 1)


def _free_at(line: Line, s: Settings) -> tuple[datetime | None, str]:
    """When the phone is free again after its last call, or the spending allows the next call."""
    if line.spent >= s.calls_per_hour and line.last_any_at:
        at = line.last_any_at + timedelta(seconds=s.spend_gap_s)
        return (
            at,
            f"{line.spent} calls in an hour: what comes is bundled into one call each {s.spend_gap_s:g} s",
        )
    if line.last_at is None:
        return None, ""
    if line.recent >= s.person_calls:
        at = line.last_at + timedelta(seconds=s.bundle_wait_s)
        window = f"{s.person_window_s / 60:g} min"
        return (
            at,
            f"{line.name} was called {line.recent} times in {window}: what comes is bundled into one call",
        )
    return line.last_at + timedelta(seconds=s.line_gap_s), f"{line.name} has just put the phone down"
