"""The SLA calculator: options of a command line, or a line of JSON, answered as one JSON object. Pure.

CalculatorError   the request is wrong; ``faults`` says of each option what would be right
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ticketing import clock, escalation, explain
from ticketing.history import ClockEvent, Timeline, timeline
from ticketing.policy import Priority, Release, priority_name, priority_of
from ticketing.question import EVENTS, CalculatorError, Request
from ticketing.reason import Reason
from ticketing.releases import release_for, release_named
from ticketing.terms import Terms, resolve, with_plan

CALCULATOR = "calculator"
"""The person of changes of priority, which need one."""


def answer(releases: Sequence[Release], request: Request) -> dict[str, Any]:
    """The answer as JSON types. Raises TicketingError."""
    release = _release(releases, request)
    terms, why = _terms(release, request)
    history = [*_history(release, request, terms)]
    now = request.now or history[-1].at
    line = timeline(history, now)
    state = clock.of_timeline(release, line)
    steps = escalation.of_timeline(release, line)
    return {
        "due_at": rfc3339(state.due_at),
        "state": state.state,
        "met": state.met,
        "consumed_s": state.consumed_s,
        "remaining_s": state.remaining_s,
        "target_s": state.target_s,
        "projected": state.projected,
        "sla": str(state.sla),
        "priority": priority_name(line.last.priority),
        "plan": line.last.terms.plan,
        "policy": release.release,
        "now": rfc3339(now),
        "taken_at": rfc3339(state.taken_at),
        "at_risk": [{"percent": m.percent, "at": rfc3339(m.at), "reached": m.reached} for m in state.marks],
        "escalations": [_step(s) for s in steps if s.current],
        "earlier_escalations": [_step(s) for s in steps if not s.current],
        "reasons": [str(r) for r in _reasons(release, line, state, why)],
    }


def _reasons(
    release: Release, line: Timeline, state: clock.ClockState, why: Sequence[Reason]
) -> Sequence[Reason]:
    plan, language = release.plans[line.last.terms.plan], line.last.terms.language_guaranteed
    extra = []
    if not plan.guaranteed:
        extra.append(Reason("plan-best-effort", {"plan": plan.name}, "§2"))
    if not language:
        extra.append(Reason("language-without-sla", {"language": line.last.terms.language}, "§5.3"))
    return [*why, *extra, *explain.of_state(release, line, state)]


def _release(releases: Sequence[Release], request: Request) -> Release:
    if request.release is not None:
        return release_named(releases, request.release)
    return release_for(releases, request.opened.date())


def _terms(
    release: Release, request: Request, country: str | None = None
) -> tuple[Terms, tuple[Reason, ...]]:
    return resolve(
        release,
        plan=request.plan,
        licence=request.licence,
        theatre=request.theatre,
        at=request.opened,
        country=country or request.country,
        region=None if country else request.region,
        zone=request.zone,
        closing_days=request.closing_days,
        asia_pacific=request.apac or None,
        channel=request.channel,
        languages=(request.language,) if request.language else (),
    )


def _step(step: escalation.Step) -> dict[str, Any]:
    return {
        "after_h": step.after_h,
        "role": step.role_name,
        "due_at": rfc3339(step.due_at),
        "status": step.status,
        "priority": priority_name(step.priority),
    }


def rfc3339(at: datetime | None) -> str | None:
    """UTC with Z; fractions only where there are any."""
    return None if at is None else at.astimezone(UTC).isoformat().replace("+00:00", "Z")


# --- events ------------------------------------------------------------------------------------------------


def _history(release: Release, request: Request, terms: Terms) -> list[ClockEvent]:
    history = [ClockEvent(at=request.opened, kind="opened", terms=terms, priority=request.priority)]
    for at, what in request.events:
        event = _event(release, request, terms, at, what)
        terms = event.terms or terms
        history.append(event)
    return history


def _event(release: Release, request: Request, terms: Terms, at: datetime, what: str) -> ClockEvent:
    verb, _, argument = what.partition(":")
    match verb, argument:
        case "pause", "customer":
            return ClockEvent(at=at, kind="paused", waiting_for="customer")
        case "pause", "third-party":
            return ClockEvent(at=at, kind="paused", waiting_for="third-party")
        case "resume", "":
            return ClockEvent(at=at, kind="resumed")
        case "taken", "":
            return ClockEvent(at=at, kind="taken")
        case "resolved", "":
            return ClockEvent(at=at, kind="resolved")
        case "reopened", "":
            return ClockEvent(at=at, kind="reopened")
        case "priority", _:
            return ClockEvent(
                at=at, kind="priority", priority=_priority(argument), person=CALCULATOR, reason=what
            )
        case "plan", _:
            return ClockEvent(at=at, kind="terms", terms=with_plan(release, terms, argument.lower()))
        case "country", _:
            moved, _ = _terms(release, request, argument.upper())
            return ClockEvent(at=at, kind="terms", terms=with_plan(release, moved, terms.plan))
    raise CalculatorError([f"event '{what}': is not known; write one of {EVENTS}"])


def _priority(text: str) -> Priority:
    try:
        return priority_of(text)
    except ValueError as error:
        raise CalculatorError([f"event 'priority:{text}': {error}"]) from None


def readable(answer: dict[str, Any]) -> str:
    """The answer for a terminal."""
    due = answer["due_at"] or "no deadline"
    if answer["projected"]:
        due += " (projected: as if it resumed now)"
    rows = [("due", due), ("state", answer["state"]), ("met", _yes_no(answer["met"]))]
    rows += [("consumed", f"{answer['consumed_s']} s"), ("remaining", _seconds(answer["remaining_s"]))]
    rows += [("SLA", answer["sla"]), ("as of", answer["now"])]
    lines = [f"{name:<10} {value}" for name, value in rows]
    lines += ["", "escalation", *(_escalation_line(step) for step in answer["escalations"])]
    lines += [] if answer["escalations"] else ["  none"]
    return "\n".join([*lines, "", "why", *(f"  - {reason}" for reason in answer["reasons"])])


def _yes_no(met: bool | None) -> str:
    return "not decided" if met is None else "yes" if met else "no"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value} s"


def _escalation_line(step: dict[str, Any]) -> str:
    return f"  {step['after_h']:>3} h  {step['due_at'] or '-':<24} {step['role']} ({step['status']})"
