"""Judging one host's frames and events: pure, ``(evaluator, state, inputs, received) -> outcome``.

Healthy frames do almost nothing: one comparison per gate and one dictionary entry for the frontier.
What is not plainly healthy has a track, and each track is looked at in every frame of its layout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from itertools import chain
from typing import ParamSpec, TypeVar

import msgspec

from alerting import absence, ahead, calm, events, flapping, gap, hiding, samples, wording
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
from alerting.plain import clean
from alerting.rule import Matched, Rule, Silent
from alerting.state import MAX_LAYOUTS, EventTrack, Key, Memory, SilentTrack, Told, Track

_changed = msgspec.structs.replace
K = TypeVar("K")
V = TypeVar("V")
P = ParamSpec("P")


def evaluate(
    evaluator: Evaluator,
    scope: HostScope,
    state: HostState,
    inputs: Sequence[FrameInput | EventInput],
    received_at: datetime,
) -> Outcome:
    """Judge what one host sent: frames and events in time order, received at ``received_at``."""
    if state.memory.calm and (kept := calm.judged(evaluator, scope, state, inputs, received_at)) is not None:
        return Outcome(scope, kept)
    return judged_singly(evaluator, scope, state, inputs, received_at)


def judged_singly(
    evaluator: Evaluator,
    scope: HostScope,
    state: HostState,
    inputs: Sequence[FrameInput | EventInput],
    received_at: datetime,
) -> Outcome:
    """``evaluate``, one input after the other."""
    judge = Judge(evaluator, scope, state, to_ms(received_at))
    if judge.silent:
        judge.reported()
    for index, item in enumerate(inputs):
        if isinstance(item, FrameInput):
            judge.frame(index, item)
        else:
            judge.event(index, item)
    if judge.events:
        judge.time_passed()
    return judge.outcome(received_at)


def look(evaluator: Evaluator, scope: HostScope, state: HostState, now: datetime) -> Outcome:
    """Judge a host from which nothing came: what is over by the mere passing of time."""
    judge = Judge(evaluator, scope, state, to_ms(now))
    judge.time_passed()
    return judge.outcome(state.last_seen)


def unheard(
    evaluator: Evaluator, scope: HostScope, state: HostState, quiet_since: int, hidden: str, now: datetime
) -> Outcome | None:
    """Judge a host that has been silent since ``quiet_since`` (ms). None: nothing changes.

    ``hidden``: why its silence is the consequence of a wider one; empty: it is not."""
    judge = Judge(evaluator, scope, state, to_ms(now))
    for rule, mark, source in evaluator.silent(scope, whole_deployment=False):
        judge.unheard(rule, mark, source, quiet_since, hidden)
    return judge.outcome(state.last_seen) if judge.alerts else None


def heard(evaluator: Evaluator, scope: HostScope, state: HostState, at: datetime) -> Outcome:
    """Judge a receipt alone, whatever it brought."""
    judge = Judge(evaluator, scope, state, to_ms(at))
    judge.reported()
    return judge.outcome(at)


class Judge:
    """One evaluation in progress: the host's memory, opened for change, and what came of it."""

    def __init__(self, evaluator: Evaluator, scope: HostScope, state: HostState, now: int) -> None:
        self.evaluator = evaluator
        self.scope = scope
        self.state = state
        self.now = now
        self.layouts = dict(state.memory.layouts)
        self.tracks: dict[Key, Track] = dict(state.memory.tracks)
        self.events: dict[Key, EventTrack] = dict(state.memory.events)
        self.silent: dict[str, SilentTrack] = dict(state.memory.silent)
        self.gaps = state.memory.gaps
        self.recent = dict(state.memory.recent)
        self.ahead = dict(state.memory.ahead)
        self.frontier = to_ms(state.frontier) if state.frontier else 0
        self.alerts: list[AlertChange] = []
        self.late: list[int] = []
        self.failing: dict[str, str] = {}

    def reported(self) -> None:
        """The host has been heard: one step towards the end of its silence."""
        for rule_id, track in list(self.silent.items()):
            if self.evaluator.unread(self.scope, rule_id):
                continue
            found = self.evaluator.rule(self.scope, rule_id)
            heard, told, change = absence.heard(track, found[0].source if found else None, self.now)
            _keep(self.silent, rule_id, heard)
            self._write(found[0] if found else None, (rule_id, ""), told, change)

    def unheard(self, rule: Rule, mark: bytes, source: Silent, quiet_since: int, hidden: str) -> None:
        """Silence, as far as one rule is concerned."""
        track = self.silent.get(rule.id)
        step = absence.unheard(rule.id, mark, source, track, quiet_since, self.now)
        if step is not None and step.track is not None:
            told = _changed(step.told, hidden=hidden)
            self.silent[rule.id] = _changed(step.track, told=told)
            self._write(rule, (rule.id, ""), told, step.change)
        elif track is not None and (change := hiding.turned(track.told, hidden, self.now)):
            told = _changed(track.told, hidden=hidden)
            self.silent[rule.id] = _changed(track, told=told)
            self._write(rule, (rule.id, ""), told, change)

    def frame(self, index: int, item: FrameInput) -> None:
        """One frame, unless a newer one of its layout has been judged, or of another much newer ones: layouts
        of one host arrive a little apart, their backlog later (also one of a layout that is used no more)."""
        plan = self.evaluator.plan(self.scope, item.layout_digest, item.layout)
        at = min(to_ms(item.at), self.now)
        known = self.layouts.get(plan.name)
        apart = samples.GAP_INTERVALS * plan.interval_ms
        if at < max(known or 0, self.frontier - apart) or len(item.values) != plan.width:
            self.late.append(index)
            self.gaps = gap.late(self.gaps, plan.name, at, self.now)
            return
        self._jumped(plan, known, at, apart)
        if at > self.frontier:
            pause = at - self.frontier
            self.tracks = {k: samples.paused(t, at, pause, apart) for k, t in self.tracks.items()}
        self.layouts[plan.name] = at
        self.frontier = max(self.frontier, at)
        found = plan.suspects(item.values)
        if found or self.tracks:
            self._judge(plan, found, item.values, at)

    def _jumped(self, plan: Plan, known: int | None, at: int, apart: int) -> None:
        """Note the gap before a frame, if there is one.

        A layout not met before, after a pause of them all: the agent began anew with it, and the frames of
        the pause may be of those before it."""
        if known is not None and at - known > apart:
            self.gaps = gap.noted(self.gaps, plan.name, known, at, self.tracks)
        elif known is None and self.frontier and at - self.frontier > apart:
            before = {name: to for name, to in self.layouts.items() if to >= self.frontier - apart}
            for name, to in (before | {plan.name: self.frontier}).items():
                self.gaps = gap.noted(self.gaps, name, to, at, self.tracks)

    def _judge(self, plan: Plan, found: list[int], frame: Frame, at: int) -> None:
        due = set(found)
        for key, track in list(self.tracks.items()):
            position = plan.by_key.get(key)
            if position is not None:
                due.add(position)
            else:
                self._absent(key, track, at)
        for position in sorted(due):
            binding = plan.bindings[position]
            self._guarded(binding.rule, self._sample, binding, frame, at, plan.interval_ms)
        self._rehide(at)

    def _sample(self, binding: Binding, frame: Frame, at: int, interval: int) -> None:
        key = binding.key
        if flapping.flaps(self.recent.get(key, ()), at):
            binding = flapping.steadied(binding)
        track, values = self.tracks.get(key), binding.values(frame)
        if track is not None and at < track.last:
            return  # the layout changed, and frames of the new one overtook this one
        if self.evaluator.yields(track, binding.fingerprint, at):
            return
        if binding.ahead:
            is_open = track is not None and track.told.state in hiding.OPEN
            values |= ahead.values(binding, values, self.ahead, at, is_open=is_open)
        step = samples.sample(binding, track, values, at, interval)
        _keep(self.tracks, key, step.track)
        change = step.change
        if change is not None and binding.ahead and (how_sure := ahead.said(binding, self.ahead, at)):
            change = _changed(change, reason=f"{change.reason} ({how_sure})")
        self._write(binding.rule, key, step.told, change)

    def _absent(self, key: Key, track: Track, at: int) -> None:
        if self.evaluator.unread(self.scope, key[0]):
            return  # a newer collector's: ended here and raised there, it would never fire
        rule = self._in_force(key[0])
        step = samples.vanished(track, rule is not None, at)
        if step is not None:
            self.tracks.pop(key)
            self._write(rule, key, step.told, step.change)

    def event(self, index: int, item: EventInput) -> None:
        """One event against every event rule in force."""
        at = min(to_ms(item.at), self.now)
        for rule, mark, source in self.evaluator.matched(self.scope, item.event.event_id):
            if source.matches(item.event):
                self._guarded(rule, self._event, index, item, at, rule, mark, source)

    def _event(self, index: int, item: EventInput, at: int, rule: Rule, mark: bytes, source: Matched) -> None:
        if at + source.quiet_s * 1000 <= self.now:
            self.late.append(index)  # over before we heard of it
            return
        key = (rule.id, events.instance_of(source, item.event))
        step = events.happened(key, mark, source, self.events.get(key), item.event, at)
        _keep(self.events, key, step.track)
        self._write(rule, key, step.told, step.change)

    def time_passed(self) -> None:
        """Event alerts that have been quiet for long enough are over."""
        for key, track in list(self.events.items()):
            if self.evaluator.unread(self.scope, key[0]):
                continue
            rule = self._in_force(key[0])
            source = rule.source if rule and isinstance(rule.source, Matched) else None
            step = events.expired(track, source, self.now)
            if step is not None:
                self.events.pop(key)
                self._write(rule, key, step.told, step.change)

    def _in_force(self, rule_id: str) -> Rule | None:
        found = self.evaluator.rule(self.scope, rule_id)
        return found[0] if found and found[0].enabled else None

    def _guarded(self, rule: Rule, act: Callable[P, None], *args: P.args, **named: P.kwargs) -> None:
        """A rule that raises is shown as failing; the others, and ingest, go on."""
        try:
            act(*args, **named)
        except Exception as error:
            self.failing[rule.id] = clean(f"{type(error).__name__}: {error}")[:500]

    def _causes(self) -> dict[str, hiding.Cause]:
        """Rules with something open on this host."""
        causes: dict[str, hiding.Cause] = {}
        held: Iterable[Track | EventTrack | SilentTrack] = chain(
            self.tracks.values(), self.events.values(), self.silent.values()
        )
        for track in held:
            rule = self._in_force(track.rule_id)
            known = causes.get(track.rule_id)
            if rule is None or hiding.is_none(track, rule, self.now):
                continue
            if known is None or known.since_ms < track.told.since:
                causes[rule.id] = hiding.Cause(rule.name, track.told.since)
        return causes

    def _rehide(self, at: int) -> None:
        """Open alerts whose cause came or went."""
        for key, track in list(self.tracks.items()):
            rule = self._in_force(key[0])
            if rule is None or not rule.hidden_by:
                continue
            hidden = hiding.hidden_by(rule, track.told, self._causes())
            change = hiding.turned(track.told, hidden, at)
            if change is not None:
                told = _changed(track.told, hidden=hidden)
                self.tracks[key] = _changed(track, told=told)
                self._write(rule, key, told, change)

    def _write(self, rule: Rule | None, key: Key, told: Told, change: Change | None) -> None:
        if change is None:
            return
        if key in self.tracks and told.fired_at == change.at_ms:
            self.recent[key] = flapping.fired(self.recent.get(key, ()), change.at_ms)
        if rule and rule.hidden_by and key in self.tracks and told.state in hiding.OPEN:
            told = _changed(told, hidden=hiding.hidden_by(rule, told, self._causes()))
            self.tracks[key] = _changed(self.tracks[key], told=told)
        self.alerts.append(wording.alert_change(self.scope, rule, key, told, change))

    def outcome(self, last_seen: datetime | None) -> Outcome:
        """The host's state afterwards, and what to write."""
        if len(self.layouts) > MAX_LAYOUTS:
            newest = sorted(self.layouts, key=self.layouts.__getitem__)[-MAX_LAYOUTS:]
            self.layouts = {name: self.layouts[name] for name in newest}
        if self.recent:
            # By sample time: how data was cut into batches, and how late they came, changes no conclusion.
            self.recent = flapping.remembered(self.recent, self.frontier)
        before = self.state
        state = HostState(
            before.tenant_id,
            before.host_id,
            before.version,
            from_ms(self.frontier) if self.frontier else None,
            self.evaluator.version,
            before.last_seen,
            Memory(self.layouts, self.tracks, self.events, self.silent, self.gaps, self.recent, self.ahead),
        )
        state = _heard(state, last_seen)
        return Outcome(self.scope, state, tuple(self.alerts), tuple(self.late), self.failing)


def _heard(state: HostState, last_seen: datetime | None) -> HostState:
    """The newest receipt counts, whatever the order in which they come."""
    if last_seen is None or (state.last_seen is not None and state.last_seen >= last_seen):
        return state
    return _changed(state, last_seen=last_seen)


def _keep(held: dict[K, V], key: K, value: V | None) -> None:
    """Remember, or forget."""
    if value is None:
        held.pop(key, None)
    else:
        held[key] = value
