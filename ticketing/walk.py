"""What an alert's unhandled transitions come to, as far as one alert alone can say. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import msgspec

from alerting.published import ENDED, Alert, State, Transition


class Progress(msgspec.Struct):
    """How far the desk has come with one alert."""

    handled_seq: int
    firing: bool
    priority: int | None
    """What it was when last handled; None: it does not fire, or has been muted all along."""
    look_again_at: datetime | None
    """It fires without a ticket: decide again then."""


class Walk(msgspec.Struct, frozen=True):
    """Where an alert stands after its unhandled transitions, and what they ask for."""

    progress: Progress
    acts: int | None
    """The most severe priority with which it asks for a ticket; None: it does not."""
    reason: str
    """Of the transition that asks."""
    ended: str | None
    """The reason of its end, if it has ended; None: it has not."""
    muted: tuple[int, str] | None
    """Number and reason of the first transition that fires muted, where nothing was acted on before."""


def walk(before: Progress, alert: Alert, steps: Sequence[Transition], now: datetime) -> Walk:
    """One alert's way through ``steps``, in order."""
    firing, priority = before.firing, before.priority
    acts: tuple[int, str] | None = None
    muted, ended = None, None
    for step in steps:
        if step.to_state is State.FIRING:
            firing, ended = True, None
            if step.muted is not None:
                muted = muted or (None if priority else (step.seq, step.muted))
                continue
            if priority is None or step.priority < priority:
                acts = min(acts or (step.priority, step.reason), (step.priority, step.reason))
            priority = step.priority
        elif step.to_state in ENDED:
            firing, priority, ended = False, None, step.reason
    due = before.look_again_at is not None and before.look_again_at <= now
    if acts is None and firing and due and alert.muted is None:
        acts = (priority or alert.priority, "it still fires")
    seq = steps[-1].seq if steps else before.handled_seq
    kept = before.look_again_at if firing and acts is None else None
    progress = Progress(seq, firing, priority, kept)
    return Walk(progress, acts[0] if acts else None, acts[1] if acts else "", ended, muted)
