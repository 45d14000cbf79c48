"""Can a paging policy keep the contract? The worst case, with the arithmetic written out.

The contract counts from the ticket's opening to a person taking charge (60 minutes for a critical ticket of
a Platinum customer; the number is the support policy's and comes as an argument). The worst case is that
everybody lets it ring but the last one the ladder names, who takes the call at its last ring:

    until the first call + the waits of all steps before + one failover + the ring + the keypress  <  limit

worked out for every state of the gates (in hours, out of hours). Only steps that ring count; a policy that in
some state rings nobody reaches nobody. Steps after the first round are repetitions and not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from oncall.policy import RESEARCH, RINGS, PagingPolicy, Selector, Step, When, gate


class Allowances(msgspec.Struct, frozen=True):
    """What a call costs beside its ringing, in seconds: assumptions of the worst case."""

    first_call_s: int = 60
    """From the ticket's opening to the first call leaving us."""
    failover_s: int = 30
    """A provider fails and the next one places the call."""
    keypress_s: int = 60
    """From picking up, through the message, to the key."""


class Reach(msgspec.Struct, frozen=True):
    """The worst case of a policy in one state of its gates."""

    state: str
    """``in hours`` or ``out of hours``."""
    lines: tuple[str, ...]
    """The arithmetic, line by line."""
    worst_s: int | None
    """Seconds from the ticket's opening to the last person's keypress; None: nobody is rung."""
    fault: str | None
    """Why the policy is refused; None: it keeps the limit."""


def reaches(policy: PagingPolicy, limit_s: int, allowances: Allowances | None = None) -> tuple[Reach, ...]:
    """The worst case in each state of the gates; the policy is refused when any has a fault."""
    assumed = allowances or Allowances()
    states = (False, True) if policy.hours is not None else (False,)
    return tuple(_reach(policy, in_hours, limit_s, assumed) for in_hours in states)


def refusals(policy: PagingPolicy, limit_s: int, allowances: Allowances | None = None) -> list[str]:
    """Each refusal with its arithmetic, as text of several lines; empty: the policy is good."""
    bad = [one for one in reaches(policy, limit_s, allowances) if one.fault]
    return ["\n".join((f"policy {policy.name}, {r.state}: {r.fault}", *r.lines)) for r in bad]


def contract_faults(policy: PagingPolicy) -> list[tuple[int, str]]:
    """Steps (index, message) that break the on-call contract whatever their times."""
    found = []
    for index, step in enumerate(policy.steps):
        if step.when is not When.IN_HOURS and any(_is_research(one) for one in step.who):
            found.append((index, "R&D is not available out of hours: this step needs 'when: in_hours'"))
    return found


def _is_research(selector: Selector) -> bool:
    return selector.kind == "role" and selector.name == RESEARCH


def _reach(policy: PagingPolicy, in_hours: bool, limit_s: int, assumed: Allowances) -> Reach:
    state = "in hours" if in_hours else "out of hours"
    lines = [f"  {clock(assumed.first_call_s)}  until the first call leaves"]
    at = assumed.first_call_s
    worst: int | None = None
    for number, step in enumerate(policy.steps, start=1):
        closed = gate(step.when, in_hours)
        if closed:
            lines.append(f"  {clock(at)}  step {number}: passed over, {closed}")
            continue
        if RINGS.intersection(step.how):
            worst = max(worst or 0, at + assumed.failover_s + step.ring_s + assumed.keypress_s)
        lines.append(f"  {clock(at)}  step {number}: {_words(step)}")
        at += step.wait_s
    return Reach(state, (*lines, *_last(policy, assumed, worst)), worst, _verdict(worst, limit_s))


def _last(policy: PagingPolicy, assumed: Allowances, worst: int | None) -> Iterable[str]:
    if worst is not None:
        yield (
            f"  {clock(worst)}  the last one picks up at the last ring, after a failover "
            f"({assumed.failover_s} s), and presses the key ({assumed.keypress_s} s)"
        )


def _verdict(worst: int | None, limit_s: int) -> str | None:
    if worst is None:
        return "no step rings anybody, so nobody is reached"
    if worst < limit_s:
        return None
    return (
        f"the worst case is {clock(worst)} and must be less than {clock(limit_s)}: "
        f"{clock(worst - limit_s + 1)} too long; shorten waits, or drop steps"
    )


def _words(step: Step) -> str:
    whom = ", ".join(f"{one.kind} {one.name}" for one in step.who)
    nth = f" (attempt {step.attempt} of {step.attempts})" if step.attempts > 1 else ""
    ring = f", rings {step.ring_s} s" if RINGS.intersection(step.how) else ", does not ring"
    return f"{whom} by {'+'.join(step.how)}{nth}{ring}, then waits until {step.wait_s} s are over"


def clock(seconds: int) -> str:
    """Seconds as minutes and seconds, ``61:10``."""
    return f"{seconds // 60:02d}:{seconds % 60:02d}"
