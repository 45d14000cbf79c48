"""A release of the support policy for people to read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ticketing.policy import Plan, Release, Target, Theatre


def document_of(release: Release) -> dict[str, Any]:
    """JSON types, with the keys of the file."""
    document: dict[str, Any] = msgspec.to_builtins(release)
    return document


def readable(release: Release) -> str:
    """Tables: plans, escalation, theatres, licences."""
    return "\n".join(
        [
            f"{release.title} ({release.release}), valid from {release.valid_from}",
            "",
            *_plans(release),
            "",
            *_escalation(release),
            "",
            *_theatres(release),
            "",
            *_licences(release),
        ]
    )


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()


def _plans(release: Release) -> Iterator[str]:
    rows = []
    for name, meaning in release.priorities.items():
        targets = [_target(plan, plan.targets[name]) for plan in release.plans.values()]
        rows.append([f"{name} {meaning.name}", *targets])
    yield from _table(["time to take charge", *(p.name for p in release.plans.values())], rows)


def _target(plan: Plan, target: Target) -> str:
    if target.minutes is not None:
        return f"{'<' if plan.met == 'before' else '<='} {target.minutes} min"
    if target.working_days is not None:
        return f"{target.working_days} working day{'s' if target.working_days > 1 else ''}"
    return "best effort"


def _escalation(release: Release) -> Iterator[str]:
    hours = sorted({step.after_h for row in release.escalation.steps.values() for step in row})
    rows = []
    for name, steps in release.escalation.steps.items():
        roles = {step.after_h: release.escalation.roles[step.role] for step in steps}
        rows.append([name, *(roles.get(h, "-") for h in hours)])
    yield from _table(["escalation", *(f"{h} h" for h in hours)], rows)


def _theatres(release: Release) -> Iterator[str]:
    head = ["theatre", "zone", "holidays", "base hours", "Gold and Platinum also", "languages", "optional"]
    yield from _table(head, (_theatre(key, theatre) for key, theatre in release.theatres.items()))


def _theatre(key: str, theatre: Theatre) -> tuple[str, ...]:
    return (
        key,
        theatre.zone,
        theatre.country,
        f"{', '.join(theatre.working_days)} {theatre.hours}",
        _special(theatre.special_days, theatre.special_hours),
        ", ".join(theatre.languages),
        ", ".join(theatre.optional_languages) or "-",
    )


def _special(days: Iterable[str], hours: str) -> str:
    return f"{', '.join([*days, 'holidays'])} {hours}"


def _licences(release: Release) -> Iterator[str]:
    rows = []
    for key, rules in release.licences.items():
        plans = ", ".join(release.proactive.plans.get(key, ())) or "-"
        renewal = _renewal(rules.renewal_from, rules.grace_days)
        rows.append([key, f"{rules.minimum_years} y", renewal, _yes(rules.autorenew), plans])
    yield from _table(["licence", "minimum", "renewed from", "autorenew", "proactive on"], rows)


def _renewal(renewal_from: str, grace_days: int) -> str:
    return "the old expiry" if renewal_from == "expiry" else f"the old expiry within {grace_days} days"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
