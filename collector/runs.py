"""Two hosts, one identity: noticed by who speaks.

Each start of an agent's program has a random name, which its tokens carry. A host's programs follow each
other: A, then B, then C. When A speaks again after B, two programs run under one identity - a machine was
cloned, or restored beside itself. One return may be a request that was delayed on the way; more are not.

A copy of a *running* machine has the same name in both; but then both give the same numbers to their batches,
one of them is told to renumber, and with that it takes a new name (``agent.shipper``).
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

import msgspec

REMEMBERED = 8
"""Former runs that are remembered."""
CERTAIN = 2
"""Returns from which on it is told."""
TOGETHER = timedelta(hours=1)
"""Returns further apart have nothing to do with each other: two programs that run speak each minute."""


class Runs(msgspec.Struct, frozen=True):
    """Who spoke under one identity."""

    current: str
    former: tuple[str, ...] = ()
    """Newest first."""
    returns: int = 0
    """How often a former one spoke again, lately."""
    returned_at: datetime | None = None


class Heard(StrEnum):
    """What a run that speaks says about the identity."""

    SAME = "the one that spoke last"
    NEW = "a new start of the agent"
    RETURNED = "an earlier one speaks again"
    TWO = "two agents speak in turn under one identity"


def hear(known: Runs | None, run: str, now: datetime) -> tuple[Runs, Heard]:
    """Who spoke, after ``run`` has."""
    if known is None:
        return Runs(run), Heard.NEW
    if run == known.current:
        return known, Heard.SAME
    others = tuple(name for name in known.former if name != run)
    former = (known.current, *others)[:REMEMBERED]
    if run not in known.former:
        return Runs(run, former, known.returns, known.returned_at), Heard.NEW
    together = known.returned_at is not None and now - known.returned_at <= TOGETHER
    returns = known.returns + 1 if together else 1
    return Runs(run, former, returns, now), Heard.TWO if returns >= CERTAIN else Heard.RETURNED
