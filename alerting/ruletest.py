"""Running rule tests: each case on simulated hosts of one deployment. What a case is: ``rulecase.py``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from alerting.evaluator import Evaluator
from alerting.inputs import EventInput, FrameInput, HostScope
from alerting.published import State
from alerting.rule import Rule
from alerting.rulecase import START, Case, Expected, Failure, Moment, Quiet, parse_cases
from alerting.simulation import SimulatedHost, SimulatedSite
from alerting.units import show_duration
from wire.batch import Event
from wire.layout import Layout, digest, encode

__all__ = ["Case", "Failure", "parse_cases", "run_case", "uncovered"]
FIRST = "host"
"""Name of the host that a case does not name."""


def run_case(case: Case, rules: Sequence[Rule]) -> list[Failure]:
    """What of a case did not come as expected; empty = it passes."""
    known = {rule.id for rule in rules}
    strange = {a.rule_id for m in case.expect for a in m.alerts} - known
    if strange:
        return [Failure(case.name, case.expect[0].line, f"there is no rule '{sorted(strange)[0]}'")]
    run = _Run(case, rules)
    failures = [f for moment in run.moments() for f in _compared(case, moment, run.found())]
    failing = [Failure(case.name, 0, f"rule '{rule}' raised {error}") for rule, error in run.failing()]
    return failures + failing


class _Run:
    """One case in progress."""

    def __init__(self, case: Case, rules: Sequence[Rule]) -> None:
        self.case = case
        scopes = [
            HostScope(1, "customer", 1, "site", number, name or FIRST)
            for number, name in enumerate(case.hosts, start=1)
        ]
        self.site = SimulatedSite(Evaluator(1, rules), scopes)
        self.hosts = [_Feed(case, name, host) for name, host in zip(case.hosts, self.site.hosts, strict=True)]

    def moments(self) -> Iterator[Moment]:
        """Runs the case; yields each moment when it has come."""
        case = self.case
        waiting = sorted(case.expect, key=lambda m: m.at_s)
        ticks = int(max((m.at_s for m in waiting), default=0.0) // case.interval_s)
        for tick in range(ticks + 1):
            all_silent = all(feed.quiet(tick) for feed in self.hosts)
            for feed in self.hosts:
                feed.tick(tick, len(self.hosts) if all_silent else 1)
            self.site.round(_time(tick * case.interval_s))
            while waiting and waiting[0].at_s < (tick + 1) * case.interval_s:
                yield waiting.pop(0)

    def found(self) -> set[Expected]:
        """The alerts that are open now."""
        return {
            Expected(h.rule_id, h.instance, h.priority, h.to_state.value, bool(h.muted), _host_name(h.host))
            for h in self.site.open()
        }

    def failing(self) -> list[tuple[str, str]]:
        return [item for host in self.site.hosts for item in host.failing.items()]


def _host_name(name: str) -> str:
    return "" if name in (FIRST, "(cluster)") else name


class _Feed:
    """What one host of a case sends."""

    def __init__(self, case: Case, name: str, host: SimulatedHost) -> None:
        self.host = host
        self.interval_s = case.interval_s
        self.series = [s for s in case.series if s.host == name]
        self.layout = Layout(1, case.interval_s, tuple(s.series for s in self.series))
        self.digest = digest(encode(self.layout))
        self.silences = [q for q in case.silences if q.host == name]
        mine = [(at, event) for at, host_name, event in case.events if host_name == name]
        self.events: list[tuple[float, Event]] = sorted(mine, key=lambda pair: pair[0])

    def quiet(self, tick: int) -> Quiet | None:
        """The silence that covers a tick."""
        at = tick * self.interval_s
        return next((q for q in self.silences if q.from_s <= at < q.to_s), None)

    def tick(self, tick: int, nodes: int) -> None:
        """One interval; ``nodes``: so many hosts are silent together, if this one is."""
        now_s, now = tick * self.interval_s, _time(tick * self.interval_s)
        due = [pair for pair in self.events if pair[0] <= now_s]
        self.events = self.events[len(due) :]
        quiet = self.quiet(tick)
        if quiet is not None:
            since = _time(max(quiet.from_s - self.interval_s, 0.0))
            self.host.tick(now, quiet_since=since, nodes=max(quiet.nodes, nodes))
            return
        values = [s.values[tick] if tick < len(s.values) else None for s in self.series]
        inputs: list[FrameInput | EventInput] = [EventInput(_time(at), event) for at, event in due]
        self.host.feed([*inputs, FrameInput(self.digest, self.layout, now, values)], now)
        self.host.tick(now)
        self.host.heard(now)


def _time(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _compared(case: Case, moment: Moment, open_now: set[Expected]) -> Iterator[Failure]:
    pending = any(a.state == State.PENDING for a in moment.alerts)
    found = sorted(a for a in open_now if pending or a.state != State.PENDING)
    if tuple(found) != moment.alerts:
        at = show_duration(moment.at_s)
        wanted = ", ".join(map(str, moment.alerts)) or "nothing"
        got = ", ".join(map(str, found)) or "nothing"
        yield Failure(case.name, moment.line, f"at {at}: expected {wanted}; found {got}")


def uncovered(cases: Sequence[Case], rules: Sequence[Rule]) -> list[str]:
    """``rule Pn`` of every level that no case expects to fire."""
    fired = {
        (a.rule_id, a.priority) for c in cases for m in c.expect for a in m.alerts if a.state == "firing"
    }
    return [
        f"{rule.id} P{level.priority}"
        for rule in rules
        for level in rule.source.levels
        if rule.enabled and (rule.id, level.priority) not in fired
    ]
