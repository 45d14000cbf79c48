"""Whom a ticket wants to be rung, from its state and terms alone. Pure.

Nothing remembers "a page was sent": a page is wanted as long as a critical ticket of an entitled customer has
nobody who answers for it, and every change of the ticket compares what is wanted with what is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import msgspec

from ticketing.lifecycle import State, Status, is_open
from ticketing.opening import page_decision

Audience = Literal["technician", "customer"]


class Ask(msgspec.Struct, frozen=True):
    """Whether somebody must be rung, and why (not)."""

    audience: Audience
    wanted: bool
    reason: str


def asked(terms: dict[str, Any], status: Status) -> Iterator[Ask]:
    """What is wanted of on-call, for each audience."""
    quiet = _settled(status)
    audiences: tuple[Audience, ...] = ("technician", "customer")
    for audience in audiences:
        if quiet is not None:
            yield Ask(audience, False, quiet)
        else:
            found = page_decision(terms, audience, status.priority, status.plan)
            yield Ask(audience, found.yes, "; ".join(reason.text for reason in found.reasons))


def rung(terms: dict[str, Any], status: Status) -> frozenset[Audience]:
    """Who is wanted to be rung."""
    return frozenset(ask.audience for ask in asked(terms, status) if ask.wanted)


def _settled(status: Status) -> str | None:
    """Why nobody needs to be rung (any more); None: somebody does, if the contract says so."""
    if status.state in (State.RESOLVED, State.CLOSED):
        return f"the ticket is {status.state}"
    if not is_open(status.state) or status.state is State.HELD:
        return "the ticket is held until a person releases it"
    if status.attended:
        return f"{status.taken_by or 'a person'} answers for it"
    if status.recovered_at is not None:
        return f"the problem recovered at {status.recovered_at:%Y-%m-%d %H:%M:%S} UTC before anybody answered"
    if status.parent is not None:
        return f"{status.parent} stands for it and rings"
    return None
