"""An evaluator: one version of the rules, ready to meet layouts."""

from __future__ import annotations

from collections.abc import Sequence

from alerting.binding import Plan, bind
from alerting.compound_pack import in_order, looked_at
from alerting.inputs import HostScope
from alerting.override import Override, apply
from alerting.rule import Compound, Matched, Rule, Silent
from alerting.samples import limit_ms
from alerting.state import Track
from wire.layout import Layout

_MAX_PLANS = 20_000

Marked = tuple[Rule, bytes]
"""A rule and its fingerprint."""


class RuleSet:
    """The rules as they are in force for some hosts, and the plans made with them."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.marked: tuple[Marked, ...] = tuple((rule, rule.fingerprint()) for rule in rules)
        self.by_id = {rule.id: (rule, mark) for rule, mark in self.marked}
        self.plans: dict[bytes, Plan] = {}
        self.by_name: dict[bytes, Plan] = {}
        """The same by what a host's memory calls them."""
        self._by_event_id: dict[str, list[tuple[Rule, bytes, Matched]]] = {}
        self._any_event: list[tuple[Rule, bytes, Matched]] = []
        self._index_events()

    def _index_events(self) -> None:
        """Rules that name plain event ids are found by them; the others are asked about every event."""
        for rule, mark in self.marked:
            source = rule.source
            if not rule.enabled or not isinstance(source, Matched):
                continue
            if source.ids and not any("*" in pattern for pattern in source.ids):
                for event_id in {pattern.casefold() for pattern in source.ids}:
                    self._by_event_id.setdefault(event_id, []).append((rule, mark, source))
            else:
                self._any_event.append((rule, mark, source))

    def matched(self, event_id: str) -> list[tuple[Rule, bytes, Matched]]:
        """The event rules that an event of this id may concern."""
        return self._by_event_id.get(event_id.casefold(), []) + self._any_event


class Evaluator:
    """The rules of one version, overrides included. Safe to share between tasks.

    A plan depends on the layout's content and the rules in force for the host, nothing else; hosts with the
    same layout and overrides share one."""

    def __init__(
        self,
        version: int,
        rules: Sequence[Rule],
        overrides: Sequence[Override] = (),
        *,
        stands_in: bool = False,
    ) -> None:
        self.version = version
        """Version of the rules in the database."""
        self.stands_in = stands_in
        """Whether that version's pack cannot be read here: these are the rules of an older one."""
        self.rules = tuple(rules)
        self.compounds = tuple(in_order(self.rules))
        """The rules on other rules' alerts, each after those that it looks at."""
        self.looked_at = frozenset(w.rule_id for rule in self.compounds for w in looked_at(rule))
        """The rules that those look at."""
        self.longest_fresh_s = max(
            (rule.source.fresh_s for rule in self.compounds if isinstance(rule.source, Compound)), default=0.0
        )
        """The longest that any of them lets evidence be."""
        self._plain = RuleSet(self.rules)
        self._overrides: dict[int, list[Override]] = {}
        for override in overrides:
            self._overrides.setdefault(override.tenant_id, []).append(override)
        self._sets: dict[tuple[int, ...], RuleSet] = {(): self._plain}
        self._plans = 0

    def in_force(self, scope: HostScope) -> RuleSet:
        """The rules as they are for one host."""
        if scope.tenant_id not in self._overrides:
            return self._plain
        chosen = self.overrides(scope)
        key = tuple(o.override_id for o in chosen)
        found = self._sets.get(key)
        if found is None:
            found = self._sets[key] = RuleSet(apply(self.rules, chosen))
        return found

    def overrides(self, scope: HostScope) -> list[Override]:
        """The overrides that concern a host: the wider ones first, so that the narrower win."""
        concern = [o for o in self._overrides.get(scope.tenant_id, ()) if o.concerns(scope)]
        return sorted(concern, key=lambda o: (o.precedence, o.override_id))

    def plan(self, scope: HostScope, digest: bytes, layout: Layout) -> Plan:
        """What frames of this layout are held against."""
        rules = self.in_force(scope)
        plan = rules.plans.get(digest)
        return plan if plan is not None else self._bind(rules, digest, layout)

    def plan_named(self, scope: HostScope, name: bytes) -> Plan | None:
        """The plan of the layout whose digest begins with these 8 bytes, if it was made before."""
        return self.in_force(scope).by_name.get(name)

    def _bind(self, rules: RuleSet, digest: bytes, layout: Layout) -> Plan:
        if self._plans >= _MAX_PLANS:
            for known in self._sets.values():
                known.plans.clear()
                known.by_name.clear()
            self._plans = 0
        self._plans += 1
        plan = rules.plans[digest] = bind(rules.marked, layout, digest)
        rules.by_name[plan.name] = plan
        return plan

    def matched(self, scope: HostScope, event_id: str) -> list[tuple[Rule, bytes, Matched]]:
        """The event rules that an event of a host may concern."""
        return self.in_force(scope).matched(event_id)

    def rule(self, scope: HostScope, rule_id: str) -> Marked | None:
        """The rule of that id as in force for a host, and its fingerprint."""
        return self.in_force(scope).by_id.get(rule_id)

    def unread(self, scope: HostScope, rule_id: str) -> bool:
        """Whether the rule may well be in force, only not for those who cannot read the newest pack."""
        return self.stands_in and self.rule(scope, rule_id) is None

    def yields(self, track: Track | None, mark: bytes, at: int) -> bool:
        """Whether a track is a newer collector's, which knows the rule in a form that cannot be read here:
        judged by turns, its timers would never run out. What nobody has judged of late is judged here."""
        if not self.stands_in or track is None or track.rule == mark:
            return False
        return at - track.present <= limit_ms(track)

    def silent(self, scope: HostScope, *, whole_deployment: bool) -> list[tuple[Rule, bytes, Silent]]:
        """The rules about silence in force for a host."""
        return [
            (rule, mark, rule.source)
            for rule, mark in self.in_force(scope).marked
            if rule.enabled
            and isinstance(rule.source, Silent)
            and rule.source.whole_deployment is whole_deployment
        ]


def shortest_silence(rules: Sequence[Rule]) -> float | None:
    """Seconds of silence that any of the rules could mind; None = none does."""
    return min(
        (level.after_s for rule in rules if isinstance(rule.source, Silent) for level in rule.source.levels),
        default=None,
    )
