"""What may happen to a ticket, and what its history says about it. Pure.

    held --release--> new --take--> taken --start--> in_progress
                       |              |                 |
                       +------ wait ---+------ wait -----+--> waiting_customer | waiting_third_party
                       |              |                 |            |
                       |              |                 |          resume (back to where it waited from)
                       +---resolve----+-----resolve-----+--resolve---+--> resolved --close--> closed
                                                                            |
                       back to new, taken or in progress  <----reopen-------+

History (``Entry``, ordered by time) is the truth; ``Status`` is derived by ``fold`` and by nothing else, so a
ticket's columns can be recomputed at any time. An acknowledgement may come late: its time is that of the
keypress, so it takes its place in the history, not at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

from ticketing.errors import NotAllowed, Unexplained


class State(StrEnum):
    """Where a ticket is in its life."""

    HELD = "held"
    """Opened for a customer who is unpaid or excluded; waits for a person to release it; no clock runs."""
    NEW = "new"
    TAKEN = "taken"
    """A technician answers for it: the SLA's question is settled."""
    IN_PROGRESS = "in_progress"
    WAITING_CUSTOMER = "waiting_customer"
    WAITING_THIRD_PARTY = "waiting_third_party"
    RESOLVED = "resolved"
    """Believed mended; reopens when it comes back within the window."""
    CLOSED = "closed"


class Kind(StrEnum):
    """What happened. The first group changes the state or the clock, the second is told only."""

    OPENED = "opened"
    RELEASED = "released"
    TAKEN = "taken"
    STARTED = "started"
    PAUSED = "paused"
    RESUMED = "resumed"
    PRIORITY = "priority"
    PLAN = "plan"
    RESOLVED = "resolved"
    REOPENED = "reopened"
    CLOSED = "closed"

    NOTE = "note"
    ACKNOWLEDGED = "acknowledged"
    UNATTENDED = "unattended"
    RECOVERED = "recovered"
    REFIRED = "refired"
    PAGING = "paging"
    PAGING_ENDED = "paging_ended"
    ESCALATED = "escalated"
    AT_RISK = "at_risk"
    BREACHED = "breached"
    MISSED = "missed"
    LINKED = "linked"
    UNLINKED = "unlinked"
    LANGUAGE = "language"


class Entry(msgspec.Struct, frozen=True):
    """One line of a ticket's history."""

    at: datetime
    """When it happened (for a keypress: then)."""
    kind: Kind
    actor: str
    """'desk', a person's key or name, 'on-call:<person>'."""
    detail: dict[str, Any] = {}
    reason: str = ""
    seq: int = 0
    """Number in the order of recording, from 1; 0 = not recorded yet."""
    origin: str = ""
    """From where it came: an address, a page."""
    step: str | None = None
    """Identity of something that may happen once in the ticket's life; None: may recur."""


class Status(msgspec.Struct, frozen=True):
    """What the history comes to."""

    state: State
    priority: int
    """1 (critical) .. 4 (low)."""
    opened_at: datetime
    running_since: datetime | None
    """When the clock may have started: at opening, or at the release of a held ticket; None: still held."""
    taken_at: datetime | None = None
    taken_by: str | None = None
    resolved_at: datetime | None = None
    closed_at: datetime | None = None
    recovered_at: datetime | None = None
    """Since when none of its alerts fires; None: one does, or it never had one."""
    monitored: bool = False
    """An alert stands behind it: it is not over before that has ended."""
    touched: bool = False
    """A person has done something with it."""
    attended: bool = False
    """A person answers for it as it is now: false again when it comes back, worsens or nobody acts."""
    answered_at: datetime | None = None
    """When somebody on call answered, as long as no person has acted since; None: somebody has, or nobody."""
    parent: str | None = None
    """Number of the ticket that stands for it (a whole site's outage)."""
    plan: str | None = None
    """The plan since an upgrade recorded with the ticket; None: as at opening."""
    back_to: State = State.NEW
    """Where it returns to after waiting or reopening."""
    reopened: int = 0
    """How often it was reopened."""


_WORKING = frozenset({State.NEW, State.TAKEN, State.IN_PROGRESS})
_WAITING = frozenset({State.WAITING_CUSTOMER, State.WAITING_THIRD_PARTY})
_OPEN = _WORKING | _WAITING
FOR_PEOPLE: frozenset[Kind] = frozenset({Kind.RELEASED, Kind.PRIORITY, Kind.PLAN, Kind.PAUSED, Kind.REOPENED})
"""Acts that a person does with a stated reason (the desk's own raises and reopenings carry a reason too)."""
_FROM: dict[Kind, frozenset[State]] = {
    Kind.RELEASED: frozenset({State.HELD}),
    Kind.TAKEN: _OPEN,
    Kind.STARTED: frozenset({State.TAKEN}),
    Kind.PAUSED: _WORKING,
    Kind.RESUMED: _WAITING,
    Kind.PRIORITY: _OPEN | {State.HELD},
    Kind.PLAN: _OPEN | {State.HELD},
    Kind.RESOLVED: _OPEN | {State.HELD},
    Kind.REOPENED: frozenset({State.RESOLVED}),
    Kind.CLOSED: _OPEN | {State.HELD, State.RESOLVED},
}
"""States from which each act is allowed; what is not listed is told only, and allowed always."""
_ATTENDING = frozenset({Kind.TAKEN, Kind.STARTED, Kind.PAUSED, Kind.RESUMED, Kind.ACKNOWLEDGED})
"""What a person does who answers for the ticket."""
_WORK = _ATTENDING | {Kind.RELEASED, Kind.PRIORITY, Kind.PLAN, Kind.RESOLVED, Kind.REOPENED, Kind.CLOSED}
"""What shows that somebody acts after a keypress. A note does not: the customer may write one, too."""
ON_CALL = "on-call:"
"""Begins the actor of a keypress."""
DESK = "desk"
"""The actor of what our own rules do."""


def allowed(state: State) -> tuple[Kind, ...]:
    """The acts that a ticket in this state allows."""
    return tuple(kind for kind, states in _FROM.items() if state in states)


def check(status: Status, entry: Entry) -> None:
    """Raise NotAllowed or Unexplained unless this may happen now."""
    if status.state not in _FROM.get(entry.kind, frozenset(State)):
        able = ", ".join(allowed(status.state)) or "nothing but notes"
        raise NotAllowed(f"A ticket that is {status.state} cannot be {entry.kind}; it allows: {able}.")
    if entry.kind is Kind.TAKEN and status.taken_at is not None:
        raise NotAllowed(f"The ticket was taken in charge by {status.taken_by} already.")
    if entry.kind in FOR_PEOPLE and not entry.reason.strip():
        raise Unexplained(f"'{entry.kind}' needs a reason.")
    if entry.kind is Kind.PRIORITY and entry.detail.get("to", 0) > status.priority and entry.actor == DESK:
        raise Unexplained("Only a person lowers a priority.")


def fold(history: Iterable[Entry]) -> Status:
    """The status that a history comes to. The first entry must be the opening."""
    entries = in_order(history)
    if not entries or entries[0].kind is not Kind.OPENED:
        raise NotAllowed("A history begins with the ticket's opening.")
    status = _opened(entries[0])
    for entry in entries[1:]:
        status = apply(status, entry)
    return status


def in_order(history: Iterable[Entry]) -> list[Entry]:
    """Ordered by the time it happened, then by the order of recording (0, not recorded yet, comes last)."""
    return sorted(history, key=lambda e: (e.at, e.seq or 1 << 62))


def apply(status: Status, entry: Entry) -> Status:
    """The status after one more entry. Does not judge: ``check`` does, before anything is recorded."""
    if entry.actor != DESK:
        attended = status.attended or entry.kind in _ATTENDING
        answered = status.answered_at
        if is_answer(entry):
            answered = entry.at
        elif entry.kind in _WORK:
            answered = None
        status = msgspec.structs.replace(status, touched=True, attended=attended, answered_at=answered)
    changes = _EFFECTS.get(entry.kind, _nothing)(status, entry)
    return msgspec.structs.replace(status, **changes)


def is_answer(entry: Entry) -> bool:
    """A keypress of somebody on call, not yet a person at work."""
    return entry.actor.startswith(ON_CALL) and entry.kind in (Kind.TAKEN, Kind.ACKNOWLEDGED)


def _opened(entry: Entry) -> Status:
    held = bool(entry.detail.get("held"))
    return Status(
        state=State.HELD if held else State.NEW,
        priority=int(entry.detail["priority"]),
        opened_at=entry.at,
        running_since=None if held else entry.at,
        monitored=entry.detail.get("alert") is not None,
        touched=entry.actor != DESK,
    )


Changes = dict[str, Any]


def _nothing(_status: Status, _entry: Entry) -> Changes:
    return {}


def _released(_status: Status, entry: Entry) -> Changes:
    return {"state": State.NEW, "running_since": entry.at}


def _taken(status: Status, entry: Entry) -> Changes:
    if status.taken_at is not None:
        return {}
    changes: Changes = {"taken_at": entry.at, "taken_by": entry.detail.get("by", entry.actor)}
    if status.state is State.NEW:
        changes["state"] = State.TAKEN
    return changes | {"back_to": State.TAKEN}


def _started(_status: Status, _entry: Entry) -> Changes:
    return {"state": State.IN_PROGRESS, "back_to": State.IN_PROGRESS}


def _paused(status: Status, entry: Entry) -> Changes:
    customer = entry.detail.get("waiting_for") == "customer"
    state = State.WAITING_CUSTOMER if customer else State.WAITING_THIRD_PARTY
    return {"state": state, "back_to": status.state}


def _resumed(status: Status, _entry: Entry) -> Changes:
    return {"state": status.back_to if status.state in _WAITING else status.state}


def _priority(status: Status, entry: Entry) -> Changes:
    to = int(entry.detail["to"])
    worse_by_itself = entry.actor == DESK and to < status.priority
    return {"priority": to, "attended": status.attended and not worse_by_itself}


def _resolved(status: Status, entry: Entry) -> Changes:
    back = status.state if status.state in _WORKING | {State.HELD} else status.back_to
    return {"state": State.RESOLVED, "resolved_at": entry.at, "back_to": back}


def _reopened(status: Status, entry: Entry) -> Changes:
    state = State.TAKEN if status.taken_at is not None and status.back_to is State.NEW else status.back_to
    return {
        "state": state,
        "resolved_at": None,
        "recovered_at": None,
        "reopened": status.reopened + 1,
        "attended": entry.actor != DESK and bool(entry.detail.get("staff", True)),
    }


def _closed(_status: Status, entry: Entry) -> Changes:
    return {"state": State.CLOSED, "closed_at": entry.at}


def _unattended(_status: Status, _entry: Entry) -> Changes:
    return {"attended": False, "answered_at": None}


def _linked(_status: Status, entry: Entry) -> Changes:
    return {"parent": str(entry.detail["parent"])}


def _unlinked(_status: Status, _entry: Entry) -> Changes:
    return {"parent": None}


def _recovered(status: Status, entry: Entry) -> Changes:
    return {"recovered_at": status.recovered_at or entry.at}


def _refired(_status: Status, entry: Entry) -> Changes:
    asked_anew: Changes = {"attended": False, "answered_at": None} if entry.detail.get("anew") else {}
    return {"recovered_at": None} | asked_anew


def _plan(_status: Status, entry: Entry) -> Changes:
    return {"plan": str(entry.detail["plan"])}


_EFFECTS = {
    Kind.PLAN: _plan,
    Kind.RELEASED: _released,
    Kind.TAKEN: _taken,
    Kind.STARTED: _started,
    Kind.PAUSED: _paused,
    Kind.RESUMED: _resumed,
    Kind.PRIORITY: _priority,
    Kind.RESOLVED: _resolved,
    Kind.REOPENED: _reopened,
    Kind.CLOSED: _closed,
    Kind.UNATTENDED: _unattended,
    Kind.LINKED: _linked,
    Kind.UNLINKED: _unlinked,
    Kind.RECOVERED: _recovered,
    Kind.REFIRED: _refired,
}


def is_open(state: State) -> bool:
    """Whether work is still to be done."""
    return state in _OPEN or state is State.HELD


def newest(history: Sequence[Entry]) -> int:
    """The highest number in a history: the next entry gets one more."""
    return max((entry.seq for entry in history), default=0)
