"""What a page can become. Pure: no clock, no I/O.

A page is one attempt to reach one person. News of it comes from the provider's answer, from its callbacks
(late, twice, in any order) and from our own looks. Each state has a rank and news only ever raises it: the
state is the highest of all that was heard, so any order of the same news ends in the same state.

    claimed < in_doubt < placed < ringing < answered
            < failed < no_answer < voicemail < superseded < declined < acknowledged

From ``failed`` on the call is over for the pager; a keypress still counts (it is the highest of all).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec


class State(StrEnum):
    """State of a page, in rising order."""

    CLAIMED = "claimed"
    """Written before the provider is asked."""
    IN_DOUBT = "in_doubt"
    """Asked, no answer, not found in the provider's list: rung again as another page."""
    PLACED = "placed"
    """The provider took it. That is not delivery."""
    RINGING = "ringing"
    ANSWERED = "answered"
    """Somebody or something picked up. That is not an answer yet."""
    FAILED = "failed"
    """The provider could not reach the number, or never rang it."""
    NO_ANSWER = "no_answer"
    """Rang out, busy, rejected, or a person who pressed nothing."""
    VOICEMAIL = "voicemail"
    SUPERSEDED = "superseded"
    """Hung up by us: somebody else answered, or the need is over."""
    DECLINED = "declined"
    """Key 5: the next person, please."""
    ACKNOWLEDGED = "acknowledged"
    """Key 4: the person takes it."""


_RANK = {state: rank for rank, state in enumerate(State)}
OVER = frozenset(state for state in State if _RANK[state] >= _RANK[State.FAILED])
"""States in which the call is over for the pager."""
LIVE = frozenset({State.CLAIMED, State.PLACED, State.RINGING, State.ANSWERED})
"""States in which a phone may still be about to ring, or ringing."""


class Page(msgspec.Struct, frozen=True):
    """One attempt to reach one person for one ticket."""

    tenant_id: int
    page_id: UUID
    page_request_id: int
    person_id: int
    """A customer's contact: minus its contact_id."""
    person_name: str
    address: str
    """What is dialled, E.164 (or where it is sent)."""
    transport: str
    step: int
    attempt: int
    round: int
    fence: int
    """The claim under which it was created."""
    state: State
    provider: str
    provider_ref: str | None
    created_at: datetime
    placed_at: datetime | None = None
    ringing_at: datetime | None = None
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    hung_up_at: datetime | None = None
    bundle_id: UUID | None = None
    """The page whose call reads out this ticket too; None: this page has its own call."""
    language: str = ""
    """Of a customer's notice; '' = a technician's call."""

    @property
    def live(self) -> bool:
        return self.state in LIVE


class News(msgspec.Struct, frozen=True):
    """Something heard of a page."""

    state: State
    """What it means."""
    reason: str
    """Readable: stands in the timeline."""
    ref: str | None = None
    """The provider's id of the call, where the news names it."""


class Change(msgspec.Struct, frozen=True):
    """What news does to a page."""

    page: Page
    moved: bool
    """Whether the state rose (or the call's id became known)."""
    acknowledges: bool
    """Whether an acknowledgement is due. Writing it twice is prevented by its unique key."""

    @property
    def kind(self) -> str:
        """For the timeline: the new state, or ``heard`` when the news changed nothing."""
        return self.page.state.value if self.moved else "heard"


def hear(page: Page, news: News, now: datetime) -> Change:
    """The page after the news."""
    state = news.state if _RANK[news.state] > _RANK[page.state] else page.state
    # Our page id rides in the callback's URL, so a callback knows its call better than a listing does.
    ref = news.ref or page.provider_ref
    after = msgspec.structs.replace(page, state=state, provider_ref=ref, **_times(page, news.state, now))
    moved = (state, ref) != (page.state, page.provider_ref)
    return Change(after, moved, news.state is State.ACKNOWLEDGED)


def _times(page: Page, state: State, now: datetime) -> dict[str, datetime]:
    """First times only: a repeated callback moves none of them."""
    column = _COLUMN.get(state)
    if column is None or getattr(page, column) is not None:
        return {}
    return {column: now}


_COLUMN = {
    State.PLACED: "placed_at",
    State.RINGING: "ringing_at",
    State.ANSWERED: "answered_at",
} | dict.fromkeys(OVER, "ended_at")


# What a provider's words mean ---------------------------------------------------------------------------

_STATUS = {
    "queued": (State.PLACED, "the provider queued the call"),
    "initiated": (State.PLACED, "the provider started dialling"),
    "ringing": (State.RINGING, "the phone is ringing"),
    "in-progress": (State.ANSWERED, "the phone was picked up"),
    "busy": (State.NO_ANSWER, "busy"),
    "no-answer": (State.NO_ANSWER, "nobody picked up"),
    "failed": (State.FAILED, "the provider could not connect the call"),
    "canceled": (State.SUPERSEDED, "the call was cancelled before it was picked up"),
    "completed": (State.NO_ANSWER, "the call ended"),
}


def from_status(status: str, answered_by: str, ref: str | None) -> News | None:
    """News from a call's status and machine detection; None for a status that we do not know."""
    if is_machine(answered_by):
        return News(State.VOICEMAIL, f"a machine picked up ({answered_by}): not an answer", ref)
    if status not in _STATUS:
        return None
    state, reason = _STATUS[status]
    return News(state, reason, ref)


def is_machine(answered_by: str) -> bool:
    """Whether machine detection says that no person picked up (``unknown`` may be one)."""
    return answered_by.startswith("machine_") or answered_by == "fax"


class Key(StrEnum):
    """What the keys of the phone mean; the same as GoAlert's where they mean the same."""

    REPEAT = "1"
    ACKNOWLEDGE = "4"
    NEXT_PERSON = "5"


def from_key(digits: str, person: str, ref: str | None) -> News | None:
    """News from a keypress; None for keys that change nothing (repeat, wrong key)."""
    if digits == Key.ACKNOWLEDGE:
        return News(State.ACKNOWLEDGED, f"{person} pressed 4: acknowledged", ref)
    if digits == Key.NEXT_PERSON:
        return News(State.DECLINED, f"{person} pressed 5: the next person is called", ref)
    return None
