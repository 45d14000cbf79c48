"""An evaluator: one version of the rules, ready to meet layouts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from alerting.binding import Plan, bind
from alerting.inputs import HostScope
from alerting.rule import Matched, Rule
from wire.layout import Layout

_MAX_PLANS = 20_000


class Evaluator:
    """The rules of one version, and the plans already made with them. Safe to share between tasks.

    A plan depends on the layout's content and the rules in force for the host, nothing else; hosts with the
    same layout share one."""

    def __init__(self, version: int, rules: Sequence[Rule]) -> None:
        self.version = version
        """Version of the rules in the database."""
        self.rules = tuple(rules)
        self._marked = [(rule, rule.fingerprint()) for rule in self.rules]
        self._by_id = {rule.id: (rule, mark) for rule, mark in self._marked}
        self._plans: dict[bytes, Plan] = {}
        self._matched = [(r, m, r.source) for r, m in self._marked if isinstance(r.source, Matched) and r.enabled]

    def plan(self, scope: HostScope, digest: bytes, layout: Layout) -> Plan:
        """What frames of this layout are held against."""
        plan = self._plans.get(digest)
        if plan is None:
            if len(self._plans) >= _MAX_PLANS:
                self._plans.clear()
            plan = self._plans[digest] = bind(self._marked, layout, digest)
        return plan

    def matched(self, scope: HostScope) -> Iterable[tuple[Rule, bytes, Matched]]:
        """The event rules in force for a host."""
        return self._matched

    def rule(self, scope: HostScope, rule_id: str) -> tuple[Rule, bytes] | None:
        """The rule of that id as in force for a host, and its fingerprint."""
        return self._by_id.get(rule_id)
