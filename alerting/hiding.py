"""Inhibition: a database that is down hides its database rules, a host that is down hides its services.

Hidden means muted, not unmeasured: the alert lives on as usual, resolves included. A cause that is only
pending hides already - its consequences usually cross their limits first - and shows them again if it
does not fire.
"""

from __future__ import annotations

from alerting.inputs import Change
from alerting.published import State
from alerting.rule import Rule
from alerting.state import Told

OPEN = frozenset({State.FIRING.value, State.RECOVERING.value})


def hidden_by(rule: Rule, causes: dict[str, str]) -> str:
    """Why alerts of ``rule`` are consequences now; empty: they are not. ``causes``: open rule ids, names."""
    for cause in rule.hidden_by:
        if cause in causes and cause != rule.id:
            return f"a consequence of '{causes[cause]}' ({cause})"
    return ""


def turned(told: Told, hidden: str, at: int) -> Change | None:
    """The transition that says so when an open alert becomes hidden or is hidden no longer."""
    if told.state not in OPEN or bool(told.hidden) == bool(hidden):
        return None
    reason = f"Now {hidden}." if hidden else f"No longer {told.hidden}, and it still holds."
    state = State(told.state)
    return Change(at, state, state, told.priority, None, reason)
