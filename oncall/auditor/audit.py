"""What the auditor does about its findings. Pure: no clock, no I/O.

One call at a time reads out everything that is due, to one person after the other: a thousand findings are
one call. Between calls the pauses grow, and it goes on until key 4 or until the trouble is over. Key 4 covers
what was read out; a new trouble rings again. Past ``calls_per_hour`` only what no person has heard yet still
rings, each ``past_cap_s``, and the heartbeat stops: a cap may space calls, it must not hide a new trouble.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from oncall.auditor.finding import Finding
from oncall.auditor.settings import Settings

READ_OUT = 5
"""So many findings are read out in full, the others are counted."""


class Number(msgspec.Struct, frozen=True):
    """Somebody to ring."""

    name: str
    number: str
    """E.164."""


class Concern(msgspec.Struct, frozen=True):
    """A finding that lasts."""

    finding: Finding
    since: datetime
    heard_at: datetime | None = None
    """A person (not a machine) listened to it last."""
    acknowledged_at: datetime | None = None
    """Key 4."""


class Call(msgspec.Struct, frozen=True):
    """The call under way."""

    nonce: str
    """Stands in the address of its keys: only this call's keys count for it."""
    to: Number
    keys: tuple[str, ...]
    """The findings it reads out."""
    text: str
    placed_at: datetime
    sid: str | None = None
    """The provider's id; None: not known (yet)."""


class State(msgspec.Struct, frozen=True):
    """What the auditor remembers, on disk."""

    concerns: tuple[Concern, ...] = ()
    call: Call | None = None
    rings: int = 0
    """Calls since something new was found or somebody acknowledged: the pauses grow with it."""
    turn: int = 0
    """Whose turn it is among the people to ring."""
    next_at: datetime | None = None
    """Not before this; None: at once."""
    recent: tuple[datetime, ...] = ()
    """Times of the calls of the last hour."""
    blind_since: datetime | None = None


class Entry(msgspec.Struct, frozen=True):
    """A line of the journal."""

    kind: str
    text: str
    detail: dict[str, Any] = {}


class Ring(msgspec.Struct, frozen=True):
    """Call this person and say this."""

    to: Number
    keys: tuple[str, ...]
    text: str


class Verdict(msgspec.Struct, frozen=True):
    """The outcome of one audit."""

    state: State
    ring: Ring | None
    entries: tuple[Entry, ...]
    healthy: bool
    """The heartbeat may go out: nothing urgent is unknown to people."""
    reason: str


def audit(
    found: Sequence[Finding],
    people: Sequence[Number],
    state: State,
    s: Settings,
    now: datetime,
    *,
    blind: bool,
) -> Verdict:
    """One audit. ``blind``: nothing is known but that; what was wrong before is taken for wrong still."""
    concerns, entries = _merged(found, state.concerns, now, blind=blind)
    fresh = any(c.since == now and c.finding.urgent for c in concerns)
    recent = tuple(at for at in state.recent if now - at < timedelta(hours=1))
    state = msgspec.structs.replace(state, concerns=concerns, recent=recent)
    if fresh:
        state = _hurry(state, s)
    due = [c for c in concerns if is_due(c, s, now)]
    ring, why = _ring(due, people, state, s, now)
    unheard = _unheard(concerns, s, now) or _capped(due, state, s)
    healthy = not blind and not unheard
    reason = "the database is out of reach" if blind else unheard or why
    return Verdict(state, ring, entries, healthy, reason)


def _merged(
    found: Sequence[Finding], known: Sequence[Concern], now: datetime, *, blind: bool
) -> tuple[tuple[Concern, ...], tuple[Entry, ...]]:
    before = {c.finding.key: c for c in known}
    here = {f.key: msgspec.structs.replace(before.get(f.key, Concern(f, now)), finding=f) for f in found}
    kept = [c for c in known if blind and c.finding.key not in here]
    news = [_entry("finding", f) for f in found if f.key not in before]
    over = [] if blind else [_entry("cleared", c.finding) for c in known if c.finding.key not in here]
    return (*here.values(), *kept), (*news, *over)


def _entry(kind: str, finding: Finding) -> Entry:
    return Entry(kind, finding.reason, {"key": finding.key, "urgent": finding.urgent})


def _hurry(state: State, s: Settings) -> State:
    """Something new: ring soon, but not faster than a first repetition."""
    last = max(state.recent, default=None)
    soon = last + timedelta(seconds=s.first_pause_s) if last else None
    return msgspec.structs.replace(state, rings=0, next_at=soon)


def is_due(concern: Concern, s: Settings, now: datetime) -> bool:
    """Whether somebody is still to be rung for this."""
    if concern.finding.urgent:
        return _expired(concern.acknowledged_at, s.acknowledged_s, now)
    told = max((t for t in (concern.heard_at, concern.acknowledged_at) if t), default=None)
    return s.calm_from <= now.hour < s.calm_to and _expired(told, s.calm_again_s, now)


def _expired(at: datetime | None, seconds: float, now: datetime) -> bool:
    return at is None or now >= at + timedelta(seconds=seconds)


def _unheard(concerns: Sequence[Concern], s: Settings, now: datetime) -> str:
    limit = timedelta(seconds=s.unheard_s)
    for c in concerns:
        if c.finding.urgent and not (c.heard_at or c.acknowledged_at) and now - c.since >= limit:
            return f"nobody has heard of it since {c.since:%H:%M} UTC: {c.finding.reason}"
    return ""


def _capped(due: Sequence[Concern], state: State, s: Settings) -> str:
    """Why the watchdog outside must be told although we ring: the cap of calls holds a new trouble up."""
    if len(state.recent) < s.calls_per_hour or not (news := _unknown(due)):
        return ""
    return f"{s.calls_per_hour} calls in an hour, and nobody has heard of this yet: {news[0].finding.reason}"


def _unknown(due: Sequence[Concern]) -> list[Concern]:
    return [c for c in due if c.finding.urgent and not (c.heard_at or c.acknowledged_at)]


def _ring(
    due: Sequence[Concern], people: Sequence[Number], state: State, s: Settings, now: datetime
) -> tuple[Ring | None, str]:
    if not due:
        return None, "nothing to alarm"
    if state.call is not None:
        return None, "a call is under way"
    if state.next_at is not None and now < state.next_at:
        return None, f"the next call is at {state.next_at:%H:%M:%S} UTC"
    if len(state.recent) >= s.calls_per_hour:
        due = _unknown(due)
        if not due or now < max(state.recent) + timedelta(seconds=s.past_cap_s):
            return None, f"{s.calls_per_hour} calls in an hour are enough"
    if not people:
        return None, "there is nobody to ring: no number is known"
    to, found = people[state.turn % len(people)], [c.finding for c in due]
    return Ring(to, tuple(f.key for f in found), spoken(to, found)), f"{len(found)} findings"


def spoken(to: Number, due: Sequence[Finding]) -> str:
    """What the phone says."""
    lines = [f"{n}. {finding.reason}" for n, finding in enumerate(due[:READ_OUT], 1)]
    more = len(due) - READ_OUT
    rest = [f"And {more} more."] if more > 0 else []
    return " ".join(
        [f"Hello {to.name}. This is the U C X auditor. On-call does not work as promised.", *lines, *rest]
    )


def placing(state: State, ring: Ring, nonce: str, now: datetime) -> State:
    """Just before the provider is asked: a crash from here on counts as a call."""
    call = Call(nonce, ring.to, ring.keys, ring.text, now)
    return msgspec.structs.replace(state, call=call, recent=(*state.recent, now), rings=state.rings + 1)


def placed(state: State, sid: str) -> State:
    """The provider took the call."""
    return msgspec.structs.replace(state, call=state.call and msgspec.structs.replace(state.call, sid=sid))


def over(state: State, s: Settings, now: datetime, *, heard: bool, why: str) -> tuple[State, Entry]:
    """The call has ended (or never began). ``heard``: a person picked up and stayed to the end."""
    call = state.call
    assert call is not None, "no call is under way"
    concerns = tuple(_marked(state.concerns, call.keys, heard_at=now)) if heard else state.concerns
    pause = s.longest_pause_s if heard and not s.listen.public_url else pause_s(state.rings, s)
    entry = Entry(
        "heard" if heard else "unheard", f"{call.to.name} at {call.to.number}: {why}", {"sid": call.sid}
    )
    after = msgspec.structs.replace(
        state, concerns=concerns, call=None, turn=state.turn + 1, next_at=now + timedelta(seconds=pause)
    )
    return after, entry


def pause_s(rings: int, s: Settings) -> float:
    """Seconds between the n-th call and the next one."""
    return float(min(s.longest_pause_s, s.first_pause_s * 2 ** min(max(rings - 1, 0), 30)))


def key_pressed(state: State, nonce: str, digits: str, now: datetime) -> tuple[State, Entry | None]:
    """Key 4 acknowledges what this call reads out, key 5 asks for the next person. Others mean nothing."""
    call = state.call
    if call is None or call.nonce != nonce or digits not in ("4", "5"):
        return state, None
    name = call.to.name
    if digits == "5":
        after = msgspec.structs.replace(state, call=None, turn=state.turn + 1, next_at=None)
        return after, Entry("next", f"{name} asked for the next person", {"sid": call.sid})
    concerns = tuple(_marked(state.concerns, call.keys, heard_at=now, acknowledged_at=now))
    entry = Entry("acknowledged", f"{name} pressed 4", {"sid": call.sid, "keys": list(call.keys)})
    return msgspec.structs.replace(state, concerns=concerns, call=None, rings=0, next_at=None), entry


def _marked(concerns: Sequence[Concern], keys: Sequence[str], **times: datetime) -> Iterator[Concern]:
    for concern in concerns:
        read_out = concern.finding.key in keys
        yield msgspec.structs.replace(concern, **times) if read_out else concern
