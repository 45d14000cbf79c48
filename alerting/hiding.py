"""Inhibition: a database that is down hides its database rules, a host that is down hides its services.

Hidden means muted, not unmeasured: the alert lives on as usual, resolves included. A cause that is only
pending hides already - its consequences usually cross their limits first - and shows them again if it
does not fire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from alerting import events
from alerting.inputs import Change
from alerting.published import State
from alerting.rule import Matched, Rule
from alerting.state import EventTrack, SilentTrack, Told, Track

OPEN = frozenset({State.FIRING.value, State.RECOVERING.value})
RECENT_MS = 15 * 60_000
"""A P1 is taken for a consequence only of what began at most so long before it: what has been known for days
(a retired instance that is down) must not keep a new outage from ringing."""


class Cause(NamedTuple):
    """A rule with something open."""

    name: str
    since_ms: int
    """When the newest of it began."""


def hidden_by(rule: Rule, told: Told, causes: Mapping[str, Cause]) -> str:
    """Why an alert of ``rule`` is a consequence now; empty: it is not. ``causes`` by rule id."""
    for rule_id in rule.hidden_by:
        cause = causes.get(rule_id)
        if cause is None or rule_id == rule.id:
            continue
        if told.priority != 1 or cause.since_ms >= told.since - RECENT_MS:
            return f"a consequence of '{cause.name}' ({rule_id})"
    return ""


def is_none(track: Track | EventTrack | SilentTrack, rule: Rule, now: int) -> bool:
    """Whether a track is no cause of anything: too few events, and long ago."""
    if not isinstance(track, EventTrack) or not isinstance(rule.source, Matched):
        return False
    return events.idle(track, rule.source, now)


def turned(told: Told, hidden: str, at: int) -> Change | None:
    """The transition that says so when an open alert becomes hidden or is hidden no longer."""
    if told.state not in OPEN or bool(told.hidden) == bool(hidden):
        return None
    reason = f"Now {hidden}." if hidden else f"No longer {told.hidden}, and it still holds."
    state = State(told.state)
    return Change(at, state, state, told.priority, None, reason)
