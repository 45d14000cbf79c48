"""What the pager does next for one page request. Pure: no clock, no I/O.

A paging walks positions: step (who), attempt (how often they were called in this round), round (how often
everybody was tried). ``decide`` looks at the pages of the present position and names one move:

    a target without a page                -> Place
    a page claimed by a pager that died    -> Resolve (find the call at the provider; in doubt ring again)
    a page that failed or is in doubt      -> Place through the next provider
    a live page past its deadline          -> Ask (callbacks may be lost: the provider knows)
    a live page                            -> Wait until its deadline
    all pages over                         -> Advance: again, next person, or from the first again (and alarm)

There is no move that gives up: an active paging always has a next look.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from oncall.line import Hold, Pass
from oncall.page import Page, State
from oncall.settings import Settings


class Position(NamedTuple):
    """Where a paging stands."""

    step: int
    """Index into the policy's steps, 0 = first."""
    attempt: int
    """1 = the first call of this step in this round."""
    round: int
    """1 = the first time through all steps."""


class Target(msgspec.Struct, frozen=True):
    """One person to reach, one way."""

    person_id: int
    name: str
    address: str
    """E.164 for voice and SMS."""
    transport: str = "voice"
    ring_s: int = 30
    language: str = ""
    """Of a customer's notice; '' = one of our people, in English."""


class Step(msgspec.Struct, frozen=True):
    """One step of a paging policy, resolved to persons at a moment."""

    targets: tuple[Target, ...]
    """Reached at the same time."""
    calls: int = 1
    """How often they are called before the next step."""
    wait_s: float | None = None
    """The step's time: from its first call to the next step, when nobody answers. None: as soon as all its
    calls are over."""
    why: str = ""
    """Readable: why these persons (shift, override, settings)."""


class Paging(msgspec.Struct, frozen=True):
    """The pager's progress on one page request."""

    tenant_id: int
    page_request_id: int
    ticket_id: int
    policy: str
    """Name of the paging policy that was asked for."""
    priority: int
    position: Position
    fence: int
    created_at: datetime
    waiting_for: int | None = None
    """The person whose phone was in use at the last look."""
    waiting_since: datetime | None = None
    audience: str = "technician"
    """``customer``: a notice to the customer's contacts; it does end when nobody answers."""


class Place(msgspec.Struct, frozen=True):
    """Call a target."""

    target: Target
    provider: str
    reason: str


class Resolve(msgspec.Struct, frozen=True):
    """Find out whether this page's call was placed."""

    page: Page


class Ask(msgspec.Struct, frozen=True):
    """Ask the provider what became of this page; if it knows nothing better, ``otherwise``."""

    page: Page
    otherwise: State
    reason: str


class Wait(msgspec.Struct, frozen=True):
    """Nothing to do before ``until``."""

    until: datetime
    reason: str
    peek: Page | None = None
    """A call to ask the provider after meanwhile: it may be over, and nobody told us."""


class Advance(msgspec.Struct, frozen=True):
    """Go on at another position, at ``at``."""

    position: Position
    at: datetime
    reason: str
    looped: bool = False
    """Everybody was tried and nobody answered: alarm."""


class End(msgspec.Struct, frozen=True):
    """A customer's notice that nobody took. (What wakes our own people never ends by itself.)"""

    reason: str


Move = Place | Resolve | Ask | Wait | Advance | End


Lines = Mapping[int, Hold | Pass]
"""Persons whose phones may not be rung at this look, and why."""


def decide(
    paging: Paging,
    pages: Sequence[Page],
    step: Step | None,
    settings: Settings,
    now: datetime,
    lines: Lines | None = None,
) -> Move:
    """The next move. ``step`` is the policy's at the present position, None past the last one."""
    here = [p for p in pages if (p.step, p.attempt, p.round) == paging.position]
    if step is None:
        if paging.audience == "customer" and paging.position.step == 0:
            return End("the customer has no contact who can be called at any hour")
        if paging.audience == "customer" and paging.position.round >= settings.customer_rounds:
            return End("no contact of the customer confirmed the notice")
        return _past_the_last(paging.position, settings, now)
    waits: list[Wait] = []
    for move in _per_target(here, step, settings, now):
        line = (lines or {}).get(move.target.person_id) if isinstance(move, Place) else None
        if isinstance(line, Hold):
            waits.append(Wait(line.until, line.reason))
            continue
        if isinstance(line, Pass):
            continue
        if not isinstance(move, Wait):
            return move
        waits.append(move)
    if waits and not _time_is_up(here, step, now):
        return min(waits, key=lambda wait: wait.until)
    return _advance(paging.position, here, step, settings, now)


def _time_is_up(here: list[Page], step: Step, now: datetime) -> bool:
    return step.wait_s is not None and now >= _began(here, now) + timedelta(seconds=step.wait_s)


def _began(here: list[Page], now: datetime) -> datetime:
    return min((page.created_at for page in here), default=now)


def _past_the_last(position: Position, settings: Settings, now: datetime) -> Move:
    if position.step == 0:
        until = now + timedelta(seconds=settings.nobody_pause_s)
        return Advance(position, until, "there is nobody to ring: no step names a person with a phone", True)
    at = now + timedelta(seconds=settings.loop_pause_s)
    again = Position(0, 1, position.round + 1)
    return Advance(again, at, "everybody was tried and nobody answered: from the first again", True)


def _per_target(here: list[Page], step: Step, settings: Settings, now: datetime) -> Iterator[Move]:
    """One move for each target that is not over yet. Who asked for the next person is done with, in writing
    too."""
    tried: dict[tuple[int, str], list[Page]] = {}
    declined = {page.person_id for page in here if page.state is State.DECLINED}
    for page in sorted(here, key=lambda p: (p.created_at, p.page_id)):
        if page.person_id not in declined:
            tried.setdefault((page.person_id, page.transport), []).append(page)
    for target in step.targets:
        if target.person_id in declined:
            continue
        pages = tried.pop((target.person_id, target.transport), [])
        if not pages:
            yield Place(target, _provider(settings, pages), step.why or f"step {here_text(step)}")
        else:
            yield from _go_on(pages, step, target, settings, now)
    # Persons whose shift ended while they were being rung: their calls still run out.
    for pages in tried.values():
        yield from _go_on(pages, step, None, settings, now)


def here_text(step: Step) -> str:
    """The step's persons by name."""
    return " and ".join(dict.fromkeys(target.name for target in step.targets)) or "nobody"


def _go_on(
    pages: list[Page], step: Step, target: Target | None, settings: Settings, now: datetime
) -> Iterator[Move]:
    last = pages[-1]
    if not last.live:
        # A call that was in doubt may be the one that was picked up; the one after it found the phone busy.
        last = next((page for page in reversed(pages) if page.state is State.ANSWERED), last)
    if last.state is State.CLAIMED:
        yield Resolve(last)
    elif last.state in (State.FAILED, State.IN_DOUBT):
        if target is not None and len(pages) < max(2, len(settings.providers)):
            yield Place(target, _provider(settings, pages), f"the call through {last.provider} failed")
    elif last.live or last.state is State.VOICEMAIL:
        yield from _deadline(last, step, target, settings, now)


def _provider(settings: Settings, pages: list[Page]) -> str:
    """The first provider, then each time the one after the one that failed."""
    names = [provider.name for provider in settings.providers]
    if not names:
        return "none"
    if not pages or pages[-1].provider not in names:
        return names[0]
    return names[(names.index(pages[-1].provider) + 1) % len(names)]


def _deadline(
    page: Page, step: Step, target: Target | None, settings: Settings, now: datetime
) -> Iterator[Move]:
    if page.transport != "voice":
        # A message has no end of its own: the step's time decides.
        wait_s = step.wait_s or settings.message_wait_s
        if now < (until := _after(page.created_at, wait_s)):
            yield Wait(until, f"{page.person_name} was sent a message ({page.transport})")
        return
    until, otherwise, reason = _limit(page, target, settings)
    if now < until:
        yield _meanwhile(page, until, reason, settings, now)
    elif otherwise is not None:
        yield Ask(page, otherwise, reason)


def _meanwhile(page: Page, until: datetime, reason: str, settings: Settings, now: datetime) -> Wait:
    """Somebody who listens presses a key or hangs up long before the time is up: looked after now and then.
    One question per call, whatever it reads out."""
    if page.state is not State.ANSWERED or page.bundle_id is not None:
        return Wait(until, reason)
    every = timedelta(seconds=settings.talk_look_s)
    listening = now - (page.answered_at or page.created_at)
    return Wait(min(until, now + every), reason, page if listening >= every else None)


def _limit(page: Page, target: Target | None, s: Settings) -> tuple[datetime, State | None, str]:
    """Until when a live page may go on, what it is taken for then, and why."""
    ring_s = target.ring_s if target else s.ring_s
    name = page.person_name
    if page.state is State.VOICEMAIL:
        start, limit = page.ended_at, s.voicemail_grace_s
        return _after(start or page.created_at, limit), None, f"{name}'s voicemail picked up"
    if page.state is State.ANSWERED:
        start, reason = page.answered_at, f"{name} picked up and is listening"
        return _after(start or page.created_at, s.talk_s), State.NO_ANSWER, reason
    if page.state is State.RINGING:
        start, reason = page.ringing_at, f"{name}'s phone is ringing"
        return _after(start or page.created_at, ring_s + s.ring_grace_s), State.NO_ANSWER, reason
    start, reason = page.placed_at, f"the provider has the call to {name}, it does not ring yet"
    return _after(start or page.created_at, s.never_rang_s), State.FAILED, reason


def _after(start: datetime, seconds: float) -> datetime:
    return start + timedelta(seconds=seconds)


def _advance(position: Position, here: list[Page], step: Step, settings: Settings, now: datetime) -> Advance:
    states = {page.state for page in here}
    names = here_text(step)
    following = Position(position.step + 1, 1, position.round)
    again = Position(position.step, position.attempt + 1, position.round)
    if not here:
        reason = f"{names} could not be rung: the next person" if step.targets else "this step names nobody"
        return Advance(following, now, reason)
    if State.DECLINED in states:
        return Advance(following, now, f"{names} asked for the next person")
    if states <= {State.FAILED, State.IN_DOUBT}:
        at = _after(now, settings.failed_pause_s)
        to = again if position.attempt < step.calls else following
        return Advance(to, at, f"no call to {names} could be placed")
    if position.attempt < step.calls:
        return Advance(again, _after(now, settings.again_after_s), f"{names} did not answer: called again")
    due = _after(_began(here, now), step.wait_s or 0.0)
    return Advance(following, max(now, due), f"{names} did not answer: the next person")
