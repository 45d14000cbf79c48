"""Rules on the states of other rules' alerts: ``(evaluator, site, memory) -> (memory, alerts)``, pure.

What the hosts say (``words.py``) makes the values of a condition - 1, 0, or unknown - and from there on such
a rule is judged like any other: levels, ``for``, clear conditions, flapping. The sweep judges it, on the
collector's clock, under the locks of all the deployment's hosts. When no round took place for more than three
minutes, its timers start again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from alerting import condition as cond
from alerting import flapping, hiding, samples, wording
from alerting.binding import Binding
from alerting.errors import StateError
from alerting.evaluator import Evaluator
from alerting.inputs import AlertChange, Change, HostScope
from alerting.published import State
from alerting.rule import Compound, Rule
from alerting.samples import Step
from alerting.state import Told, Track
from alerting.words import Concluded, Hearing, Node, Site

ROUND_MS = 60_000
"""Rounds are taken to be at most so far apart."""
UNKNOWN_MS = 86_400_000
"""An alert of which nothing has been known for so long is stale."""
VERSION = 1

Subject = tuple[str, int]
"""(rule id, host id; 0 = the deployment as a whole)."""
_changed = msgspec.structs.replace


class Remembered(msgspec.Struct, frozen=True):
    """What a deployment's compound rules remember. Never changed in place."""

    tracks: Mapping[Subject, Track] = {}
    recent: Mapping[Subject, tuple[int, ...]] = {}
    """When alerts fired within the last hour, ms."""

    @property
    def own_alerts(self) -> list[str]:
        """Rules with a track of the deployment as a whole."""
        return sorted(rule_id for rule_id, host_id in self.tracks if host_id == 0)


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    version: int
    tracks: list[tuple[int, Track]]
    recent: list[tuple[str, int, tuple[int, ...]]] = []


def dump(memory: Remembered) -> bytes | None:
    """MessagePack ``[1, [(host id, Track) ...], [(rule, host id, times) ...]]``; None: nothing to keep."""
    if not memory.tracks and not memory.recent:
        return None
    tracks = [(host_id, track) for (_, host_id), track in memory.tracks.items()]
    recent = [(*subject, times) for subject, times in memory.recent.items()]
    return msgspec.msgpack.encode([VERSION, tracks, recent])


def load(blob: bytes | None) -> Remembered:
    """The memory in a blob. Raises StateError when this release cannot read it."""
    if blob is None:
        return Remembered()
    try:
        stored = msgspec.msgpack.decode(blob, type=_Stored)
    except msgspec.MsgspecError as error:
        raise StateError(f"A deployment's evaluation state cannot be read: {error}") from error
    if stored.version != VERSION:
        raise StateError(f"A deployment's evaluation state is not of version {VERSION}.")
    tracks = {(track.rule_id, host_id): track for host_id, track in stored.tracks}
    return Remembered(tracks, {(rule_id, host_id): times for rule_id, host_id, times in stored.recent})


class Judged(NamedTuple):
    """What one round came to."""

    memory: Remembered
    alerts: tuple[AlertChange, ...]


def judge(evaluator: Evaluator, site: Site, memory: Remembered) -> Judged:
    """One round over a deployment's compound rules."""
    panel = _Panel(evaluator, site, memory)
    for rule in evaluator.compounds:
        for about in site.nodes if not rule.of_deployment else (None,):
            panel.subject(rule, about)
    panel.leave()
    return panel.outcome()


class _Panel:
    """One round in progress."""

    def __init__(self, evaluator: Evaluator, site: Site, memory: Remembered) -> None:
        self.evaluator = evaluator
        self.site = site
        self.tracks = dict(memory.tracks)
        self.recent = dict(memory.recent)
        self.concluded: dict[Subject, Concluded] = {}
        self.alerts: list[AlertChange] = []

    def subject(self, plain: Rule, about: Node | None) -> None:
        """One rule for one host, or for the deployment (None)."""
        scope = about.scope if about else self.site.scope
        found = self.evaluator.rule(scope, plain.id)
        if found is None or not found[0].enabled or not isinstance(found[0].source, Compound):
            return
        rule, mark = found
        key = (rule.id, scope.host_id)
        binding, values = self._asked(rule, found[0].source, mark, about)
        if flapping.flaps(self.recent.get(key, ()), self.site.now):
            binding = flapping.steadied(binding)
        if not self.evaluator.yields(self.tracks.get(key), mark, self.site.now):
            step = samples.sample(binding, self.tracks.get(key), values, self.site.now, ROUND_MS)
            self._take(rule, scope, _too_long_unknown(step, self.site.now) or step)
        known = all(cond.holds(level.when, values) is not None for level in binding.source.levels)
        self.concluded[key] = Concluded(self.tracks.get(key), known)

    def _asked(
        self, rule: Rule, source: Compound, mark: bytes, about: Node | None
    ) -> tuple[Binding, dict[str, float | None]]:
        hearing = Hearing(self.evaluator, self.site, source.fresh_s, self.concluded)
        heard = {name: hearing.truth(wanted, about) for name, wanted in source.states}
        values = {name: None if t.value is None else float(t.value) for name, t in heard.items()}
        names = {name: truth.text for name, truth in heard.items()}
        return Binding(rule, source, "", (), names, mark), values

    def _take(self, rule: Rule, scope: HostScope, step: Step) -> None:
        key = (rule.id, scope.host_id)
        told = step.told
        if step.track is None:
            self.tracks.pop(key, None)
        else:
            hidden = self._hidden(rule, scope, told) if told.state in hiding.OPEN else ""
            turned = hiding.turned(told, hidden, self.site.now) if step.change is None else step.change
            told = _changed(told, hidden=hidden)
            self.tracks[key] = _changed(step.track, told=told)
            step = Step(step.track, told, turned)
        if step.change is not None:
            self._tell(rule, scope, told, step.change)

    def _tell(
        self, rule: Rule | None, scope: HostScope, told: Told, change: Change, rule_id: str = ""
    ) -> None:
        rule_id = rule.id if rule else rule_id
        key = (rule_id, scope.host_id)
        if told.fired_at == change.at_ms:
            self.recent[key] = flapping.fired(self.recent.get(key, ()), change.at_ms)
        self.alerts.append(wording.alert_change(scope, rule, (rule_id, ""), told, change))

    def _hidden(self, rule: Rule, scope: HostScope, told: Told) -> str:
        """Why an alert is a consequence, of something on its host or of the whole deployment."""
        return hiding.hidden_by(rule, told, dict(self._causes(scope))) if rule.hidden_by else ""

    def _causes(self, scope: HostScope) -> Iterator[tuple[str, hiding.Cause]]:
        for rule_id, told in self.site.silent.items():
            yield from self._cause(scope, rule_id, told.since)
        for node in self.site.nodes:
            if node.scope.host_id == scope.host_id:
                for track in node.state.memory.troubles():
                    found = self.evaluator.rule(node.scope, track.rule_id)
                    if found is not None and not hiding.is_none(track, found[0], self.site.now):
                        yield from self._cause(node.scope, track.rule_id, track.told.since)

    def _cause(self, scope: HostScope, rule_id: str, since: int) -> Iterator[tuple[str, hiding.Cause]]:
        found = self.evaluator.rule(scope, rule_id)
        if found is not None and found[0].enabled:
            yield rule_id, hiding.Cause(found[0].name, since)

    def leave(self) -> None:
        """Tracks that nothing was concluded of: their rule is gone or off, or their host left service."""
        scopes = {node.scope.host_id: node.scope for node in self.site.nodes} | {0: self.site.scope}
        for (rule_id, host_id), track in list(self.tracks.items()):
            if (rule_id, host_id) in self.concluded and (host_id or self.site.nodes):
                continue
            if self.site.nodes and host_id in scopes and self.evaluator.unread(scopes[host_id], rule_id):
                continue  # a newer collector's
            del self.tracks[rule_id, host_id]
            if host_id not in scopes or not track.told.state:
                continue  # a host out of service: its alerts have been ended with that reason
            found = self.evaluator.rule(scopes[host_id], rule_id)
            reason = wording.RULE_GONE if self.site.nodes else "No host is left to judge it by."
            step = _stale(track, reason, self.site.now)
            assert step.change is not None
            self._tell(found[0] if found else None, scopes[host_id], step.told, step.change, rule_id)

    def outcome(self) -> Judged:
        recent = flapping.remembered(self.recent, self.site.now)
        return Judged(Remembered(self.tracks, recent), tuple(self.alerts))


def _too_long_unknown(step: Step, now: int) -> Step | None:
    """Nothing known for a day: nobody knows any more. None: go on."""
    track = step.track
    if track is None or now - track.last <= UNKNOWN_MS:
        return None
    if not track.told.state:
        return Step(None, track.told, None)
    return _stale(track, "None of the states that it looks at has been known for a day.", now)


def _stale(track: Track, reason: str, now: int) -> Step:
    told = track.told
    change = Change(now, State(told.state), State.STALE, told.priority, None, reason)
    return Step(None, _changed(told, state=State.STALE.value), change)
