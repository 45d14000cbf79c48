"""Rules on made-up or recorded input, without a database: what would have happened, and when.

The same judge as in the ingest commit runs here; only what the sweep does is repeated at every tick (events
that are over, silences), so that a story can be told to its end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain

import msgspec

from alerting import absence, ahead, calm
from alerting.compound import Remembered, judge
from alerting.evaluator import Evaluator
from alerting.forecast import foresee
from alerting.inputs import AlertChange, EventInput, FrameInput, HostScope, HostState, Outcome, from_ms, to_ms
from alerting.judge import evaluate, look, unheard
from alerting.past import Past
from alerting.published import ENDED, State
from alerting.rule import Measured
from alerting.state import Key, Told
from alerting.words import Node, Site, bound


class Happening(msgspec.Struct, frozen=True):
    """One transition of a simulated alert."""

    at: datetime
    host: str
    rule_id: str
    instance: str
    from_state: State | None
    to_state: State
    priority: int
    muted: str
    reason: str


def _happening(alert: AlertChange, host: str) -> Happening:
    c = alert.change
    place = (host, alert.rule_id, alert.instance)
    return Happening(from_ms(c.at_ms), *place, c.from_state, c.to_state, c.priority, alert.hidden, c.reason)


class SimulatedHost:
    """One host in memory."""

    def __init__(self, evaluator: Evaluator, scope: HostScope) -> None:
        self.evaluator = evaluator
        self.scope = scope
        self.state = HostState(scope.tenant_id, scope.host_id)
        self.open: dict[Key, Happening] = {}
        """Alerts that have not ended, by (rule id, instance), with their newest transition."""
        self.history: list[Happening] = []
        self.failing: dict[str, str] = {}
        self.valued: dict[Key, int] = {}
        """What rules on alerts look at -> the newest frame that had a value of it, ms."""
        self._past = Past(evaluator)

    def feed(self, inputs: Sequence[FrameInput | EventInput], received_at: datetime) -> None:
        """Inputs in time order, received together."""
        self._past.take(item for item in inputs if isinstance(item, FrameInput))
        for item in inputs if self.evaluator.looked_at else ():
            if isinstance(item, FrameInput):
                plan = self.evaluator.plan(self.scope, item.layout_digest, item.layout)
                self.valued |= dict.fromkeys(plan.valued(item.values), to_ms(item.at))
        self._take(evaluate(self.evaluator, self.scope, self.state, inputs, received_at))
        if self.state.memory.ahead:
            self._look_ahead(to_ms(received_at))

    def replay(self, frames: Sequence[FrameInput]) -> None:
        """Frames in time order, each received when it was taken: together where all of them are healthy."""
        if self.state.memory.calm:
            kept = calm.judged(self.evaluator, self.scope, self.state, frames, frames[-1].at)
            if kept is not None:
                self._past.take(frames)
                self.state = kept
                return
        for frame in frames:
            self.feed([frame], frame.at)

    def _look_ahead(self, now: int) -> None:
        """What the sweep does outside of the commit."""
        answers = {}
        for asked in ahead.due(self.state.memory, now):
            found = self.evaluator.rule(self.scope, asked.rule_id)
            source = found[0].source if found else None
            if isinstance(source, Measured):
                limit = dict(source.forecasts)[asked.term].reaches
                past = self._past.points((asked.metric, asked.attributes), limit, now / 1000)
                answers[asked.key] = foresee(past, limit)
        memory = ahead.answered(self.state.memory, answers, now)
        self.state = msgspec.structs.replace(self.state, memory=memory)

    def tick(self, now: datetime, *, quiet_since: datetime | None = None, nodes: int = 1) -> None:
        """What the sweep does; with ``quiet_since`` the host and ``nodes`` - 1 others are silent."""
        self._take(look(self.evaluator, self.scope, self.state, now))
        if quiet_since is None:
            return
        since = to_ms(quiet_since)
        self._whole(since, nodes, now)
        hidden = (
            "a consequence of the whole deployment's silence" if nodes > 1 and self._watches_whole() else ""
        )
        outcome = unheard(self.evaluator, self.scope, self.state, since, hidden, now)
        if outcome is not None:
            self._take(outcome)

    def _watches_whole(self) -> bool:
        return bool(self.evaluator.silent(self.scope, whole_deployment=True))

    def _whole(self, since: int, nodes: int, now: datetime) -> None:
        for rule, _, source in self.evaluator.silent(self.scope, whole_deployment=True):
            level = absence.whole(source, [since] * nodes, to_ms(now))
            known = self.open.get((rule.id, ""))
            if level is not None and (known is None or known.priority > level.priority):
                before = known.to_state if known else None
                reason = "Nothing received from any host."
                self._note(
                    Happening(now, "(cluster)", rule.id, "", before, State.FIRING, level.priority, "", reason)
                )

    def heard(self, now: datetime) -> None:
        """A host reports: a whole deployment's silence is over when its own is."""
        for rule, _, _ in self.evaluator.silent(self.scope, whole_deployment=True):
            known = self.open.get((rule.id, ""))
            if known is not None and not self.state.memory.silent:
                reason = "A host reports again."
                self._note(
                    Happening(
                        now, known.host, rule.id, "", State.FIRING, State.RESOLVED, known.priority, "", reason
                    )
                )

    def _take(self, outcome: Outcome) -> None:
        self.state = outcome.state
        self.failing |= outcome.failing
        for alert in outcome.alerts:
            self._note(_happening(alert, self.scope.host_name))

    def _note(self, happening: Happening) -> None:
        self.history.append(happening)
        key = (happening.rule_id, happening.instance)
        if happening.to_state in ENDED:
            self.open.pop(key, None)
        else:
            self.open[key] = happening


class SimulatedSite:
    """The hosts of one deployment in memory, and the rules on their alerts. Our own door is always open."""

    def __init__(self, evaluator: Evaluator, scopes: Sequence[HostScope]) -> None:
        self.evaluator = evaluator
        self.hosts = [SimulatedHost(evaluator, scope) for scope in scopes]
        self.scope = msgspec.structs.replace(scopes[0], host_id=0, host_name="(cluster)")
        self.memory = Remembered()
        self.history: list[Happening] = []
        """What rules on alerts did."""
        self._open: dict[tuple[str, str], Happening] = {}

    def open(self) -> Iterator[Happening]:
        """Every alert that has not ended, with its newest transition."""
        yield from chain(*(host.open.values() for host in self.hosts), self._open.values())

    def round(self, now: datetime) -> None:
        """What the sweep does about rules on alerts."""
        if not self.evaluator.compounds:
            return
        self.memory, alerts = judge(self.evaluator, self._site(to_ms(now)), self.memory)
        names = {host.scope.host_id: host.scope.host_name for host in self.hosts}
        for alert in alerts:
            happening = _happening(alert, names.get(alert.host_id or 0, self.scope.host_name))
            self.history.append(happening)
            self._open.pop((happening.host, happening.rule_id), None)
            if happening.to_state not in ENDED:
                self._open[happening.host, happening.rule_id] = happening

    def _site(self, now: int) -> Site:
        heard = [host for host in self.hosts if host.state.last_seen is not None]
        failing = frozenset(rule for host in self.hosts for rule in host.failing)
        return Site(self.scope, tuple(map(self._node, heard)), now, 0, failing, self._silent())

    def _node(self, host: SimulatedHost) -> Node:
        layouts = host.state.memory.layouts
        plans = [plan for name in layouts if (plan := self.evaluator.plan_named(host.scope, name))]
        known = bound(plans, layouts, self.evaluator.looked_at)
        fresh = self.evaluator.longest_fresh_s * 1000
        blind = frozenset(key for key, at in known.items() if at - host.valued.get(key, 0) > fresh)
        return Node(host.scope, host.state, known, blind)

    def _silent(self) -> dict[str, Told]:
        open_now = [happening for host in self.hosts for happening in host.open.values()]
        return {
            h.rule_id: Told(h.to_state.value, h.priority, to_ms(h.at), to_ms(h.at))
            for h in open_now
            if h.host == self.scope.host_name
        }
