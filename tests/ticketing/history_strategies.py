"""Histories of tickets as nobody would think of them, for properties of the clock and of what follows it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import available_timezones

import msgspec
from hypothesis import strategies as st

from ticketing.history import ClockEvent
from ticketing.terms import Terms, with_plan

from .facts import RELEASE, event, opened, paused, priority, terms

FIRST = datetime(2020, 1, 1, tzinfo=UTC)
MINUTES = st.integers(0, 20 * 365 * 1440)
ANY_ZONE = st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"}))
PLANS = st.sampled_from(["basic", "gold", "platinum"])
LEVELS = st.integers(1, 4)
LATER = st.integers(0, 5 * 86_400)
"""Seconds after the last event at which somebody looks."""


@st.composite
def any_terms(draw: st.DrawFn) -> Terms:
    """Any plan and theatre, moved to any zone."""
    theatre = draw(st.sampled_from(["americas", "europe", "me-sun-thu", "me-mon-fri"]))
    country = draw(st.sampled_from(["IT", "US", "AE", "DE", "BR", "JP"]))
    found = terms(draw(PLANS), theatre, country=country, asia_pacific=draw(st.booleans()))
    return msgspec.structs.replace(found, zone=draw(ANY_ZONE))


@st.composite
def histories(draw: st.DrawFn, *, taken: bool = False) -> list[ClockEvent]:
    """A valid history of an open ticket: pauses, resumptions, changes of priority and plan."""
    when = FIRST + timedelta(minutes=draw(MINUTES))
    binding = draw(any_terms())
    history, waiting = [opened(when, binding, draw(LEVELS))], False
    for _ in range(draw(st.integers(0, 7))):
        when += timedelta(seconds=draw(st.integers(0, 3 * 86_400)))
        match draw(st.sampled_from(["wait", "wait", "priority", "plan"])):
            case "wait":
                history.append(event(when, "resumed") if waiting else paused(when))
                waiting = not waiting
            case "priority":
                history.append(priority(when, draw(LEVELS)))
            case _:
                binding = with_plan(RELEASE, binding, draw(PLANS))
                history.append(event(when, "terms", terms=binding))
    if taken:
        history.append(event(when + timedelta(seconds=draw(st.integers(0, 86_400))), "taken"))
    return history


def moment(history: list[ClockEvent], seconds: int) -> datetime:
    """So long after the last event."""
    return history[-1].at + timedelta(seconds=seconds)
