"""What one host's (or deployment's) evaluation says of a state of other alerts: yes, no, or unknown. Pure.

A word is worth no more than its evidence: a host not heard, a layout gone, a rule that raises, a closed door
of our own make it unknown, and unknown is neither true nor clear.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import msgspec

from alerting import hiding
from alerting.binding import Plan
from alerting.evaluator import Evaluator
from alerting.inputs import HostScope, HostState, to_ms
from alerting.published import State
from alerting.rule import Compound, Matched, Measured, Rule, Scope, Silent, Wanted, any_matches
from alerting.state import Key, Told, Track

GONE_MS = 3_600_000
"""What left a host's layouts is unknown for so long, then it does not take part any more."""
_NAMED = 5
"""Hosts that a reason names."""


class Word(Enum):
    """What is known."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    ABSENT = "absent"
    """The rule has nothing to judge there: it is off, or the host has no such series."""


class Node(msgspec.Struct, frozen=True):
    """One host of the deployment, locked."""

    scope: HostScope
    state: HostState
    bound: Mapping[Key, int]
    """What rules have to judge there -> newest frame whose layout has it, ms."""
    unmeasured: frozenset[Key] = frozenset()
    """Of these, what had no value at all in its newest frames."""


class Site(msgspec.Struct, frozen=True):
    """A deployment at one moment."""

    scope: HostScope
    """Of the deployment as a whole."""
    nodes: tuple[Node, ...]
    """Its hosts in service that ever reported."""
    now: int
    """ms, our clock."""
    opened: int | None
    """Since when our own front door is proven open, ms; None: it is not."""
    failing: frozenset[str] = frozenset()
    """Rules that raised of late."""
    silent: Mapping[str, Told] = {}
    """Open alerts about the whole deployment's silence, by rule."""


class Concluded(NamedTuple):
    """What a compound rule has come to for a subject in this round."""

    track: Track | None
    known: bool
    """False: its condition is unknown."""


Conclusions = Mapping[tuple[str, int], Concluded]
"""(rule id, host id; 0 = the deployment) -> what it came to."""


class Truth(NamedTuple):
    """Whether a state is there."""

    value: bool | None
    text: str
    """The evidence, for reasons."""


def bound(plans: Iterable[Plan], layouts: Mapping[bytes, int], rules: frozenset[str]) -> dict[Key, int]:
    """What these rules have to judge on a host, by the plans of the layouts that it remembers."""
    found: dict[Key, int] = {}
    for plan in plans:
        for key in plan.by_key:
            if key[0] in rules:
                found[key] = max(found.get(key, 0), layouts.get(plan.name, 0))
    return found


class Hearing:
    """Asks the hosts of a site about states, on behalf of one compound rule."""

    def __init__(self, evaluator: Evaluator, site: Site, fresh_s: float, concluded: Conclusions) -> None:
        self.evaluator = evaluator
        self.site = site
        self.since = site.now - round(fresh_s * 1000)
        """Older evidence is none."""
        self.concluded = concluded

    def truth(self, wanted: Wanted, about: Node | None) -> Truth:
        """A state, for a host (or the deployment: None)."""
        found = self.evaluator.rule(about.scope if about else self.site.scope, wanted.rule_id)
        rule = found[0] if found else None
        if rule is None:
            return Truth(None, f"there is no rule '{wanted.rule_id}'")
        name = f"'{rule.name}' ({rule.id})"
        if rule.of_deployment:
            return _single(self._of_deployment(rule, wanted), name)
        if wanted.scope is Scope.HOST and about is not None:
            return _single(self._of_host(wanted, about), name)
        words = [(node.scope.host_name, self._of_host(wanted, node)) for node in self.site.nodes]
        return Truth(combined([word for _, word in words], wanted), f"{name} {_counted(words)}")

    def _of_host(self, wanted: Wanted, node: Node) -> Word:
        found = self.evaluator.rule(node.scope, wanted.rule_id)
        if found is None or not found[0].enabled:
            return Word.ABSENT
        rule = found[0]
        match rule.source:
            case Measured():
                return self._measured(rule, wanted, node)
            case Matched():
                return self._matched(rule, wanted, node)
            case Silent():
                return self._silent(rule.source, rule, wanted, node)
            case Compound():
                return self._compound(wanted, node.scope.host_id)

    def _of_deployment(self, rule: Rule, wanted: Wanted) -> Word:
        if not rule.enabled:
            return Word.ABSENT
        if isinstance(rule.source, Silent):
            return self._all_silent(rule.source, rule, wanted)
        return self._compound(wanted, 0)

    def _measured(self, rule: Rule, wanted: Wanted, node: Node) -> Word:
        tracks = [
            track
            for (rule_id, instance), track in node.state.memory.tracks.items()
            if rule_id == rule.id and any_matches(wanted.instance, instance) and matches(track.told, wanted)
        ]
        if any(track.last >= self.since for track in tracks):
            return Word.YES
        seen = {
            key: at
            for key, at in node.bound.items()
            if key[0] == rule.id
            and any_matches(wanted.instance, key[1])
            and at > min(self.since, self.site.now - GONE_MS)
        }
        blind = any(at < self.since or key in node.unmeasured for key, at in seen.items())
        if tracks or blind or rule.id in self.site.failing:
            return Word.UNKNOWN
        heard = any(at >= self.since for at in node.state.memory.layouts.values())
        return Word.NO if seen else (Word.ABSENT if heard else Word.UNKNOWN)

    def _matched(self, rule: Rule, wanted: Wanted, node: Node) -> Word:
        seen = node.state.last_seen
        if seen is None or to_ms(seen) < self.since or rule.id in self.site.failing:
            return Word.UNKNOWN
        fires = any(
            rule_id == rule.id and any_matches(wanted.instance, instance) and matches(track.told, wanted)
            for (rule_id, instance), track in node.state.memory.events.items()
        )
        return Word.YES if fires else Word.NO

    def _silent(self, source: Silent, rule: Rule, wanted: Wanted, node: Node) -> Word:
        """Silence is measured by us: it is as fresh as our own door is proven open."""
        if self.site.opened is None:
            return Word.UNKNOWN
        track = node.state.memory.silent.get(rule.id)
        if track is not None:
            return Word.YES if matches(track.told, wanted) else Word.NO
        return Word.NO if self._reports(source, node, self.site.opened) else Word.UNKNOWN  # held back

    def _all_silent(self, source: Silent, rule: Rule, wanted: Wanted) -> Word:
        opened = self.site.opened
        if opened is None:
            return Word.UNKNOWN
        if rule.id in self.site.silent:
            return Word.YES if matches(self.site.silent[rule.id], wanted) else Word.NO
        reports = any(self._reports(source, node, opened) for node in self.site.nodes)
        return Word.NO if reports or len(self.site.nodes) < 2 else Word.UNKNOWN

    def _reports(self, source: Silent, node: Node, opened: int) -> bool:
        """Not silent for as long as any level of the rule minds."""
        shortest = min((level.after_s for level in source.levels), default=0.0)
        seen = to_ms(node.state.last_seen) if node.state.last_seen else 0
        return self.site.now - max(seen, opened) <= shortest * 1000

    def _compound(self, wanted: Wanted, host_id: int) -> Word:
        found = self.concluded.get((wanted.rule_id, host_id))
        if found is None:
            return Word.ABSENT
        if found.track is not None and matches(found.track.told, wanted):
            return Word.YES if found.track.last >= self.since else Word.UNKNOWN
        return Word.NO if found.known else Word.UNKNOWN


def matches(told: Told, wanted: Wanted) -> bool:
    """Whether an alert is in the state that is looked for."""
    waits = wanted.pending and told.state == State.PENDING
    return (told.state in hiding.OPEN or waits) and told.priority <= wanted.priority


def combined(words: Sequence[Word], wanted: Wanted) -> bool | None:
    """Hosts' words together; those that are absent take no part, and nobody's word is unknown."""
    yes, unknown = words.count(Word.YES), words.count(Word.UNKNOWN)
    taking_part = len(words) - words.count(Word.ABSENT)
    if not taking_part:
        return None
    needed = taking_part if wanted.scope is Scope.EVERY else wanted.least
    if yes >= needed:
        return True
    return False if yes + unknown < needed else None


def _single(word: Word, name: str) -> Truth:
    match word:
        case Word.YES:
            return Truth(True, f"{name} fires")
        case Word.NO:
            return Truth(False, f"{name} does not fire")
        case _:
            return Truth(None, f"{name} is not known")


def _counted(words: Sequence[tuple[str, Word]]) -> str:
    """``fires on 2 of 3 hosts (a, b), unknown on 1 (c)``."""
    named = {word: [name for name, said in words if said is word] for word in Word}
    total = len(words) - len(named[Word.ABSENT])
    text = f"fires on {len(named[Word.YES])} of {total} hosts{_names(named[Word.YES])}"
    unknown = named[Word.UNKNOWN]
    return f"{text}, unknown on {len(unknown)}{_names(unknown)}" if unknown else text


def _names(names: Sequence[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f" ({', '.join(names[:_NAMED])}{more})"
