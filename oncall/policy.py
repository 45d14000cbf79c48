"""Paging policies: whom to ring, how, in which order, and when to go on to the next.

A policy is a ladder of steps. The pager stands on one ``(step, round)`` at a time: it reaches for the
step's ``targets``, waits the step's ``wait_s`` and goes to ``following``. The ladder has no end: after
the last step comes the first of the next round, and after ``rounds`` rounds every further one is taken
with an alarm. So a page nobody answers always has a next deadline.

A step that is written with ``attempts: 3`` is three steps here, so that ``(step, round)`` alone says
where the pager stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Literal

import msgspec

from oncall.wall import ALWAYS, Span, Window, instant, is_open, openings, reading, without

Transport = Literal["voice", "sms", "email", "webhook"]
TRANSPORTS: tuple[Transport, ...] = ("voice", "sms", "email", "webhook")
RINGS: frozenset[str] = frozenset({"voice"})
"""Transports that wake somebody; only these count where the contract says that a person is reached."""
ENGLISH = "en"
"""The on-call service's only language (contract, §6.1)."""
_DAY = timedelta(days=1)
RESEARCH = "rnd"
"""Role of the people whom on-call may not reach out of hours (contract, §6.1)."""


class Hours(msgspec.Struct, frozen=True):
    """Working hours that a step can be tied to."""

    zone: str
    """IANA zone on whose wall clock ``windows`` and ``closed_on`` are read."""
    windows: tuple[Window, ...] = ALWAYS
    """When the week is open."""
    closed_on: frozenset[date] = frozenset()
    """Local dates that are closed whatever the weekday (public holidays)."""

    def open_at(self, at: datetime) -> bool:
        """Whether these hours are open at ``at`` (aware)."""
        if any(a <= at < b for a, b in _closed_days(self, at, at)):
            return False
        return is_open(self.windows, self.zone, at)


def hours_open(hours: Hours, start: datetime, end: datetime) -> list[Span]:
    """When ``hours`` are open within [start, end): sorted, disjoint."""
    return without(openings(hours.windows, hours.zone, start, end), _closed_days(hours, start, end))


def _closed_days(hours: Hours, start: datetime, end: datetime) -> list[Span]:
    """The closed dates that can touch [start, end], from local midnight to local midnight."""
    first, last = (reading(at, hours.zone).date() for at in (start, end))
    near = (day for day in hours.closed_on if first - _DAY <= day <= last + _DAY)
    return [(_midnight(day, hours.zone), _midnight(day + _DAY, hours.zone)) for day in near]


def _midnight(day: date, zone: str) -> datetime:
    return instant(datetime.combine(day, time()), zone)


class Selector(msgspec.Struct, frozen=True):
    """Whom a step means."""

    kind: Literal["schedule", "person", "role"]
    name: str
    """The schedule's name, the person's key or the role."""
    theatre: str | None = None
    """For a role: only its holders for this theatre (and those who hold it for all). None: all holders."""


class When(StrEnum):
    """The gate of a step against the policy's working hours."""

    ALWAYS = "always"
    IN_HOURS = "in_hours"
    OUT_OF_HOURS = "out_of_hours"


class Step(msgspec.Struct, frozen=True):
    """One rung of the ladder."""

    who: tuple[Selector, ...]
    how: tuple[Transport, ...]
    """All of these at once, to each person."""
    wait_s: int
    """Seconds from the beginning of this step to the next one, when nobody acknowledges."""
    ring_s: int = 40
    """Seconds a phone rings before the call counts as not answered; at most ``wait_s``."""
    when: When = When.ALWAYS
    attempt: int = 1
    attempts: int = 1


class PagingPolicy(msgspec.Struct, frozen=True):
    """A ladder of steps, with the contract's gates."""

    name: str
    steps: tuple[Step, ...]
    rounds: int = 3
    """After so many rounds without an answer, each further round begins with an alarm."""
    hours: Hours | None = None
    """Working hours for the steps' gates and for R&D. None: it is always out of hours."""
    language: str | None = ENGLISH
    """Only people who speak it are reached. None: any language."""
    covers: Hours | None = None
    """When the contract wants somebody to be reachable. None: always (24x7)."""


class RoleHeld(msgspec.Struct, frozen=True):
    """A role that a person holds."""

    role: str
    theatre: str | None = None
    """None: for every theatre."""


class Callee(msgspec.Struct, frozen=True):
    """What paging must know about a person."""

    key: str
    zone: str = "UTC"
    languages: tuple[str, ...] = (ENGLISH,)
    roles: tuple[RoleHeld, ...] = ()
    transports: frozenset[Transport] = frozenset(TRANSPORTS)
    """How this person can be reached: voice and sms need a phone number, email an address."""
    quiet: tuple[Window, ...] = ()
    """Quiet hours on the person's own wall clock: then only what rings (voice) gets through."""


class WhoIsOn(msgspec.Struct, frozen=True):
    """The rota at one instant, as ``targets`` needs it."""

    schedules: Mapping[str, tuple[str, ...]]
    """Schedule name -> keys of the people who are on call, in order."""
    people: Mapping[str, Callee]
    """Person key -> callee; only active people."""


class Target(msgspec.Struct, frozen=True):
    """One person to reach over one transport."""

    person_key: str
    transport: Transport
    ring_s: int


class Skipped(msgspec.Struct, frozen=True):
    """Somebody (or a whole step) that is not reached for, and why: part of "why was I not woken"."""

    who: str
    transport: Transport | None
    reason: str


class StepDecision(msgspec.Struct, frozen=True):
    """What a step comes to at one instant."""

    targets: tuple[Target, ...]
    skipped: tuple[Skipped, ...]


class Place(msgspec.Struct, frozen=True):
    """Where on the ladder the pager stands next."""

    step: int
    round: int
    """Counted from 1."""
    wait_s: int
    """Seconds to wait at the step just taken before going here; 0 when that step reached for nobody."""
    alarm: bool
    """The policy's rounds are exhausted: go on, and raise an alarm."""


def targets(
    policy: PagingPolicy, step: int, round: int, who_is_on: WhoIsOn, now: datetime
) -> tuple[Target, ...]:
    """Whom to reach at this step, in order; empty: go on to ``following`` at once."""
    return decide(policy, step, round, who_is_on, now).targets


def decide(policy: PagingPolicy, step: int, round: int, who_is_on: WhoIsOn, now: datetime) -> StepDecision:
    """``targets`` with the reasons for everybody who is left out. ``round`` changes nothing today."""
    rung = policy.steps[step]
    in_hours = policy.hours is not None and policy.hours.open_at(now)
    closed = gate(rung.when, in_hours)
    if closed:
        return StepDecision((), (Skipped(f"step {step + 1}", None, closed),))
    outcomes = list(_reach(policy, rung, who_is_on, now, in_hours))
    return StepDecision(
        tuple(dict.fromkeys(o for o in outcomes if isinstance(o, Target))),
        tuple(dict.fromkeys(o for o in outcomes if isinstance(o, Skipped))),
    )


def gate(when: When, in_hours: bool) -> str | None:
    """Why a step with this gate is passed over, or None when it is open."""
    if when is When.IN_HOURS and not in_hours:
        return "this step is for working hours and it is out of hours"
    if when is When.OUT_OF_HOURS and in_hours:
        return "this step is for out of hours and working hours are open"
    return None


def following(policy: PagingPolicy, step: int, round: int, *, reached: bool = True) -> Place:
    """Where to go after ``(step, round)``. ``reached``: whether that step had any target."""
    wait_s = policy.steps[step].wait_s if reached else 0
    if step + 1 < len(policy.steps):
        return Place(step + 1, round, wait_s, False)
    # A round in which nobody could be reached at all must not spin: it still takes its last wait.
    return Place(0, round + 1, policy.steps[step].wait_s, round >= policy.rounds)


def selected(selector: Selector, who_is_on: WhoIsOn) -> tuple[str, ...]:
    """Keys of the people a selector means, in order; may name people who are not active."""
    if selector.kind == "person":
        return (selector.name,)
    if selector.kind == "schedule":
        return tuple(who_is_on.schedules.get(selector.name, ()))
    return tuple(sorted(key for key, callee in who_is_on.people.items() if _holds(callee, selector)))


def _holds(callee: Callee, selector: Selector) -> bool:
    return any(
        held.role == selector.name and selector.theatre in (None, held.theatre or selector.theatre)
        for held in callee.roles
    )


def _reach(
    policy: PagingPolicy, rung: Step, who_is_on: WhoIsOn, now: datetime, in_hours: bool
) -> Iterator[Target | Skipped]:
    for selector in rung.who:
        keys = selected(selector, who_is_on)
        if not keys:
            yield Skipped(f"{selector.kind} {selector.name}", None, "nobody is on call for it")
        for key in keys:
            yield from _person(policy, rung, key, who_is_on.people.get(key), now, in_hours)


def _person(
    policy: PagingPolicy, rung: Step, key: str, callee: Callee | None, now: datetime, in_hours: bool
) -> Iterator[Target | Skipped]:
    refusal = _barred(policy, callee, in_hours)
    if callee is None or refusal:
        yield Skipped(key, None, refusal or "")
        return
    for transport in rung.how:
        silent = _silent(callee, transport, now)
        yield Skipped(key, transport, silent) if silent else Target(key, transport, rung.ring_s)


def _barred(policy: PagingPolicy, callee: Callee | None, in_hours: bool) -> str | None:
    """Why this person is not reached at all."""
    if callee is None:
        return "not an active person"
    if policy.language is not None and policy.language not in callee.languages:
        return f"does not speak '{policy.language}', the language of on-call"
    if not in_hours and any(held.role == RESEARCH for held in callee.roles):
        return "R&D is not available out of hours"
    return None


def _silent(callee: Callee, transport: Transport, now: datetime) -> str | None:
    """Why this person is not reached over this transport."""
    if transport not in callee.transports:
        return f"has no address for {transport}"
    if transport not in RINGS and is_open(callee.quiet, callee.zone, now):
        return f"{transport} is held back in this person's quiet hours"
    return None
