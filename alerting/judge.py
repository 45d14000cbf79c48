"""Judging one host's frames: pure, ``(evaluator, state, inputs, received) -> outcome``.

Healthy frames do almost nothing: one comparison per gate and one dictionary entry for the frontier.
What is not plainly healthy has a track, and each track is looked at in every frame of its layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from alerting import condition as cond
from alerting.binding import Binding, Frame, Plan
from alerting.evaluator import Evaluator
from alerting.inputs import (
    AlertChange,
    Change,
    EventInput,
    FrameInput,
    HostScope,
    HostState,
    Outcome,
    from_ms,
    to_ms,
)
from alerting.machine import IDLE, LevelState, Phase, Reading, Standing, standing, step
from alerting.published import State
from alerting.rule import Level, Rule
from alerting.state import MAX_LAYOUTS, EventTrack, Key, Memory, Track
from alerting.units import show_duration

GAP_INTERVALS = 3
"""Longer without a known value than this many intervals: timers start again."""
STALE_INTERVALS = 10
"""A series gone from its host's layouts for this many intervals is stale..."""
STALE_MIN_MS = 300_000
"""...and for at least this long, in ms."""


def evaluate(
    evaluator: Evaluator,
    scope: HostScope,
    state: HostState,
    inputs: Sequence[FrameInput | EventInput],
    received_at: datetime,
) -> Outcome:
    """Judge a batch's frames (in time order) or events, received at ``received_at``."""
    judge = Judge(evaluator, scope, state, to_ms(received_at))
    for index, item in enumerate(inputs):
        if isinstance(item, FrameInput):
            judge.frame(index, item)
    return judge.outcome(received_at)


class Judge:
    """One evaluation in progress: the host's memory, opened for change, and what came of it."""

    def __init__(self, evaluator: Evaluator, scope: HostScope, state: HostState, received: int) -> None:
        self.evaluator = evaluator
        self.scope = scope
        self.state = state
        self.received = received
        self.layouts = dict(state.memory.layouts)
        self.tracks: dict[Key, Track] = dict(state.memory.tracks)
        self.events: dict[Key, EventTrack] = dict(state.memory.events)
        self.frontier = to_ms(state.frontier) if state.frontier else 0
        self.alerts: list[AlertChange] = []
        self.late: list[int] = []
        self.failing: dict[str, str] = {}

    def frame(self, index: int, item: FrameInput) -> None:
        """One frame, unless a newer one of its layout has been judged."""
        plan = self.evaluator.plan(self.scope, item.layout_digest, item.layout)
        at = min(to_ms(item.at), self.received)
        if at < self._layout_frontier(plan) or len(item.values) != plan.width:
            self.late.append(index)
            return
        self.layouts[plan.name] = at
        self.frontier = max(self.frontier, at)
        found = plan.suspects(item.values)
        if found or self.tracks:
            self._judge(plan, found, item.values, at)

    def _layout_frontier(self, plan: Plan) -> int:
        """Newest judged frame of this layout; for one not seen before, a little before the host's frontier."""
        known = self.layouts.get(plan.name)
        return self.frontier - GAP_INTERVALS * plan.interval_ms if known is None else known

    def _judge(self, plan: Plan, found: list[int], frame: Frame, at: int) -> None:
        due = set(found)
        for key, track in list(self.tracks.items()):
            position = plan.by_key.get(key)
            if position is not None:
                due.add(position)
            else:
                self._absent(track, at)
        for position in sorted(due):
            self._guarded(plan.bindings[position], frame, at, plan.interval_ms)

    def _guarded(self, binding: Binding, frame: Frame, at: int, interval: int) -> None:
        """A rule that raises is shown as failing; the others, and ingest, go on."""
        try:
            self._sample(binding, binding.values(frame), at, interval)
        except Exception as error:  # noqa: BLE001 - whatever a rule does must not stop the commit
            self.failing[binding.rule.id] = f"{type(error).__name__}: {error}"

    def _sample(self, binding: Binding, values: dict[str, float | None], at: int, interval: int) -> None:
        levels = binding.source.levels
        track = self._current(binding, at, interval)
        known = any(value is not None for value in values.values())
        gap = at - track.last > GAP_INTERVALS * interval
        after = tuple(
            step(level, before, _read(level, values), at, gap=gap)
            for level, before in zip(levels, track.levels, strict=True)
        )
        moved = _with(track, levels=after, last=at if known else track.last, present=at, interval_ms=interval)
        self._settle(binding, moved, track, values, at)

    def _current(self, binding: Binding, at: int, interval: int) -> Track:
        """The track under this very rule: a new one, the stored one, or the stored one carried over."""
        track = self.tracks.get(binding.key)
        levels = binding.source.levels
        if track is not None and track.rule == binding.fingerprint:
            return track
        fresh = tuple(IDLE for _ in levels)
        priorities = tuple(level.priority for level in levels)
        if track is None:
            return Track(
                binding.rule.id, binding.instance, binding.fingerprint, fresh, priorities, "", 0, 0, 0, at, at, interval
            )
        return _with(
            track, rule=binding.fingerprint, priorities=priorities, levels=_carried(track, priorities)
        )

    def _settle(
        self, binding: Binding, track: Track, before: Track, values: dict[str, float | None], at: int
    ) -> None:
        """Compare what the levels say with what the alert's row says; record the difference."""
        now = standing(track.levels)
        if now.state is State.RESOLVED:
            self._end(binding, track, before, values, at)
        elif now.state is State.PENDING:
            self._pend(binding, track, now, values, at)
        else:
            self._fire(binding, track, before, now, values, at)

    def _end(
        self, binding: Binding, track: Track, before: Track, values: dict[str, float | None], at: int
    ) -> None:
        self.tracks.pop(binding.key, None)
        if track.recorded:
            level = binding.source.levels[standing(before.levels).level]
            reason = _reason_end(level, before, values, binding)
            self._record(binding.rule, track, State.RESOLVED, track.priority, _value(level.clear, values), reason, at)

    def _pend(
        self, binding: Binding, track: Track, now: Standing, values: dict[str, float | None], at: int
    ) -> None:
        level, state = binding.source.levels[now.level], track.levels[now.level]
        track = _with(track, since=min(s.since for s in track.levels if s.phase is Phase.PENDING))
        if not track.recorded and state.count >= 2:
            reason = f"{_explain(level.when, values, binding)}, not yet for {_held_for(level)}"
            track = self._record(
                binding.rule, track, State.PENDING, level.priority, _value(level.when, values), reason, at
            )
        self.tracks[binding.key] = track

    def _fire(
        self,
        binding: Binding,
        track: Track,
        before: Track,
        now: Standing,
        values: dict[str, float | None],
        at: int,
    ) -> None:
        level = binding.source.levels[now.level]
        if not track.fired_at:
            held = [s.since for s in track.levels if s.phase in (Phase.PENDING, Phase.ACTIVE)]
            track = _with(track, fired_at=at, since=min(held))
        if (now.state, level.priority) != (track.recorded, track.priority):
            recovering = now.state is State.RECOVERING
            read = level.clear if recovering else level.when
            reason = _reason_fire(level, track, now, values, binding)
            track = self._record(
                binding.rule, track, now.state, level.priority, _value(read, values), reason, at
            )
        self.tracks[binding.key] = track

    def _absent(self, track: Track, at: int) -> None:
        """A frame without this series: after a while nobody knows how it is, and the alert says so."""
        limit = max(STALE_INTERVALS * track.interval_ms, STALE_MIN_MS)
        found = self.evaluator.rule(self.scope, track.rule_id)
        if found is None or not found[0].enabled:
            self._stale(track, None, "The rule is no longer in force; nobody checks this any more.", at)
        elif at - track.present > limit:
            gone = f"Its series left the host's layout {show_duration((at - track.present) // 1000)} ago"
            self._stale(track, found[0], f"{gone}; whether the problem persists is unknown.", at)

    def _stale(self, track: Track, rule: Rule | None, reason: str, at: int) -> None:
        self.tracks.pop((track.rule_id, track.instance), None)
        if track.recorded:
            self._record(rule, track, State.STALE, track.priority, None, reason, at)

    def _record(
        self,
        rule: Rule | None,
        track: Track,
        to: State,
        priority: int,
        value: float | None,
        reason: str,
        at: int,
    ) -> Track:
        """Note a transition; the track then knows what the row will say."""
        before = State(track.recorded) if track.recorded else None
        change = Change(at, before, to, priority, value, reason)
        self.alerts.append(describe(self.scope, rule, track, change))
        return _with(track, recorded=to.value, priority=priority)

    def outcome(self, received_at: datetime) -> Outcome:
        """The host's state afterwards, and what to write."""
        if len(self.layouts) > MAX_LAYOUTS:
            newest = sorted(self.layouts, key=self.layouts.__getitem__)[-MAX_LAYOUTS:]
            self.layouts = {name: self.layouts[name] for name in newest}
        seen = self.state.last_seen
        state = HostState(
            self.state.tenant_id,
            self.state.host_id,
            self.state.version,
            from_ms(self.frontier) if self.frontier else None,
            self.evaluator.version,
            received_at if seen is None or received_at > seen else seen,
            Memory(self.layouts, self.tracks, self.events),
        )
        return Outcome(self.scope, state, tuple(self.alerts), tuple(self.late), self.failing)


def _with(track: Track, **fields: object) -> Track:
    """A copy with other fields: the hot path's, without the checks of ``msgspec.structs.replace``."""
    values = {name: getattr(track, name) for name in track.__struct_fields__}
    return Track(**(values | fields))  # type: ignore[arg-type]


def _read(level: Level, values: dict[str, float | None]) -> Reading:
    return Reading(cond.holds(level.when, values), cond.holds(level.clear, values))


def _carried(track: Track, priorities: tuple[int, ...]) -> tuple[LevelState, ...]:
    """A changed rule keeps what fires, by priority, and starts every other timer again."""
    old = dict(zip(track.priorities, track.levels, strict=True))
    kept = [old.get(priority, IDLE) for priority in priorities]
    return tuple(s if s.phase in (Phase.ACTIVE, Phase.CLEARING) else IDLE for s in kept)


def _explain(condition: cond.Condition, values: dict[str, float | None], binding: Binding) -> str:
    return cond.explain(condition, values, binding.names)


def _value(condition: cond.Condition, values: dict[str, float | None]) -> float | None:
    return cond.leading_value(condition, values)


def _held_for(level: Level) -> str:
    return f"{level.for_samples} samples" if level.for_samples > 1 else show_duration(level.for_s)


def _reason_fire(
    level: Level, track: Track, now: Standing, values: dict[str, float | None], binding: Binding
) -> str:
    state = track.levels[now.level]
    if now.state is State.RECOVERING:
        held = f"{level.clear_samples} samples" if level.clear_samples > 1 else show_duration(level.clear_for_s)
        return f"{_explain(level.clear, values, binding)}: recovering, must hold for {held}"
    since = f"since {from_ms(state.since):%H:%M:%SZ}"
    timed = level.for_s > 0 or level.for_samples > 1
    text = f"{_explain(level.when, values, binding)}{f' for {_held_for(level)}' if timed else ''} {since}"
    if track.recorded == State.FIRING and track.priority:
        return f"{text}; {'worse' if level.priority < track.priority else 'better'}: P{track.priority} -> P{level.priority}"
    return text


def _reason_end(level: Level, before: Track, values: dict[str, float | None], binding: Binding) -> str:
    if not before.fired_at:
        return f"{_explain(level.when, values, binding)}: no longer holds; it never fired"
    held = f" for {show_duration(level.clear_for_s)}" if level.clear_for_s else ""
    return f"{_explain(level.clear, values, binding)}{held}: recovered"


def describe(scope: HostScope, rule: Rule | None, track: Track | EventTrack, change: Change) -> AlertChange:
    """The alert's row after a change, with its problem key: the one place that makes it."""
    return AlertChange(
        scope.deployment_id,
        scope.host_id,
        track.rule_id,
        track.instance,
        problem_key(scope, rule.problem if rule else track.rule_id, track.instance),
        track.since,
        track.fired_at or None,
        _summary(scope, rule, track.instance) if rule else None,
        _labels(scope, rule, track.instance) if rule else None,
        change,
    )


def _labels(scope: HostScope, rule: Rule, instance: str) -> dict[str, str]:
    labels = dict(rule.labels) | {
        "tenant": scope.tenant_key,
        "deployment": scope.deployment_key,
        "host": scope.host_name,
        "rule": rule.id,
        "component": rule.component,
    }
    return labels | {"instance": instance} if instance else labels


def _summary(scope: HostScope, rule: Rule, instance: str) -> str:
    """The rule's template with its names filled in."""
    names = {"{host}": scope.host_name, "{deployment}": scope.deployment_key, "{instance}": instance}
    text = rule.summary
    for name, value in names.items():
        text = text.replace(name, value)
    return text


def problem_key(scope: HostScope, problem: str, instance: str) -> str:
    """tenant/deployment/host/problem/instance: what a ticket is about."""
    return f"{scope.tenant_key}/{scope.deployment_key}/{scope.host_name}/{problem}/{instance}"
