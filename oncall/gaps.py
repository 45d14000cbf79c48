"""Gaps: contracted time in which nobody can be reached, to the second.

A schedule has a gap where it has nobody on call who can be rung. A paging policy has a gap where none of
its steps rings anybody: that is asked of ``policy.decide``, the very decision the pager takes, at every
instant at which its answer can change; what a policy says about gates, language, R&D and phones is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

import msgspec

from oncall.policy import RINGS, Callee, Hours, PagingPolicy, WhoIsOn, decide, hours_open
from oncall.rota_file import Rota
from oncall.schedule import Schedule, Shift, in_order, shifts
from oncall.wall import Span, clipped, merged, within, without


class Gap(msgspec.Struct, frozen=True):
    """A stretch of contracted time without a person."""

    subject: str
    """``schedule NAME`` or ``policy NAME``."""
    start: datetime
    end: datetime
    reason: str

    @property
    def minutes(self) -> float:
        """Its length in minutes."""
        return (self.end - self.start).total_seconds() / 60


def coverage(hours: Hours | None, start: datetime, end: datetime) -> list[Span]:
    """The contracted time within [start, end). None: all of it (24x7)."""
    return [(start, end)] if hours is None else hours_open(hours, start, end)


def schedule_gaps(
    schedule: Schedule,
    contracted: Iterable[Span],
    start: datetime,
    end: datetime,
    people: Mapping[str, Callee] | None = None,
) -> list[Gap]:
    """Where, within ``contracted``, ``schedule`` has nobody on call.

    With ``people`` also where none of those on call can be rung (no longer active, no phone)."""
    wanted, found = clipped(merged(contracted), start, end), shifts(schedule, start, end)
    reached = [(s.start, s.end) for s in found if people is None or _rings(people.get(s.person_key))]
    edges = sorted({t for s in found for t in (s.start, s.end)})
    subject = f"schedule {schedule.name}"
    pieces = [piece for hole in without(wanted, reached) for piece in _split(hole, edges)]
    return list(_joined(Gap(subject, a, b, _absent(found, a)) for a, b in pieces))


def _rings(callee: Callee | None) -> bool:
    return callee is not None and bool(RINGS & callee.transports)


def _split(span: Span, edges: Sequence[datetime]) -> list[Span]:
    return list(pairwise([span[0], *(t for t in edges if span[0] < t < span[1]), span[1]]))


def _absent(found: Iterable[Shift], at: datetime) -> str:
    keys = [s.person_key for s in in_order(s for s in found if s.start <= at < s.end)]
    return f"on call but not to be rung: {', '.join(keys)}" if keys else "nobody is on call"


def policy_gaps(
    policy: PagingPolicy,
    schedules: Mapping[str, Schedule],
    people: Mapping[str, Callee],
    contracted: Iterable[Span],
    start: datetime,
    end: datetime,
) -> list[Gap]:
    """Where, within ``contracted``, no step of ``policy`` rings anybody."""
    spans = clipped(merged(contracted), start, end)
    worked_out = {name: shifts(schedules[name], start, end) for name in _used(policy) if name in schedules}
    cuts = _cuts(policy, worked_out, spans, start, end)
    holes = list(_holes(policy, worked_out, people, spans, cuts))
    return list(_joined(holes))


def _used(policy: PagingPolicy) -> frozenset[str]:
    return frozenset(s.name for step in policy.steps for s in step.who if s.kind == "schedule")


def _cuts(
    policy: PagingPolicy,
    worked_out: Mapping[str, Sequence[Shift]],
    spans: Sequence[Span],
    start: datetime,
    end: datetime,
) -> list[datetime]:
    """Every instant at which the answer can change."""
    edges = {t for span in [*spans, *coverage(policy.hours, start, end)] for t in span}
    edges |= {t for of_one in worked_out.values() for shift in of_one for t in (shift.start, shift.end)}
    return sorted({start, end} | {t for t in edges if start < t < end})


def _holes(
    policy: PagingPolicy,
    worked_out: Mapping[str, Sequence[Shift]],
    people: Mapping[str, Callee],
    spans: Sequence[Span],
    cuts: Sequence[datetime],
) -> Iterator[Gap]:
    on_call = {name: list(_running(found, cuts)) for name, found in worked_out.items()}
    for index, (a, b) in enumerate(pairwise(cuts)):
        if not within(spans, a):
            continue
        on = WhoIsOn({name: keys[index] for name, keys in on_call.items()}, people)
        reason = _unreachable(policy, on, a)
        if reason is not None:
            yield Gap(f"policy {policy.name}", a, b, reason)


def _running(found: Sequence[Shift], cuts: Sequence[datetime]) -> Iterator[tuple[str, ...]]:
    """At each cut, who is on call: one walk through ``found``, which is sorted by start."""
    running: list[Shift] = []
    coming = 0
    for at in cuts:
        running = [shift for shift in running if shift.end > at]
        while coming < len(found) and found[coming].start <= at:
            running += [found[coming]] if found[coming].end > at else []
            coming += 1
        yield tuple(shift.person_key for shift in in_order(running))


def _unreachable(policy: PagingPolicy, on: WhoIsOn, at: datetime) -> str | None:
    """Why no step rings anybody at ``at``; None when one does."""
    skipped = []
    for step in range(len(policy.steps)):
        decision = decide(policy, step, 1, on, at)
        if any(target.transport in RINGS for target in decision.targets):
            return None
        skipped += [f"{s.who}: {s.reason}" for s in decision.skipped]
        skipped += [f"{t.person_key}: {t.transport} does not ring" for t in decision.targets]
    return "; ".join(dict.fromkeys(skipped)) or "no step reaches anybody"


def rota_gaps(rota: Rota, start: datetime, end: datetime) -> list[Gap]:
    """All gaps of a rota: of the schedules that must cover something and of every paging policy, by time."""
    found = [
        gap
        for name, hours in rota.covers.items()
        for gap in schedule_gaps(rota.schedules[name], coverage(hours, start, end), start, end, rota.people)
    ]
    for policy in rota.policies.values():
        contracted = coverage(policy.covers, start, end)
        found += policy_gaps(policy, rota.schedules, rota.people, contracted, start, end)
    return sorted(found, key=lambda gap: (gap.start, gap.subject))


def _joined(gaps: Iterable[Gap]) -> Iterator[Gap]:
    """Gaps that touch and have one reason, as one."""
    last: Gap | None = None
    for gap in gaps:
        if last and last.end == gap.start and last.reason == gap.reason:
            last = msgspec.structs.replace(last, end=gap.end)
            continue
        if last:
            yield last
        last = gap
    if last:
        yield last
