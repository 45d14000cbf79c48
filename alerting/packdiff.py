"""What changes between two rule packs, and what becomes of alerts that are open."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from alerting.rule import Rule
from alerting.ruletext import level_text, watched

_KEPT = "open alerts fire on until the new limits clear them; all timers start again"
_STALE = "open alerts end as stale"


def difference(now: Sequence[Rule], then: Sequence[Rule]) -> list[str]:
    """One line per change, in the order of the new pack; removed rules last. Empty: they judge the same."""
    old = {rule.id: rule for rule in now}
    lines = [line for rule in then for line in _changes(old.get(rule.id), rule)]
    gone = [rule for rule in now if rule.id not in {r.id for r in then}]
    return lines + [f"- {rule.id}: removed; {_STALE}" for rule in gone if rule.enabled]


def _changes(old: Rule | None, new: Rule) -> Iterator[str]:
    if old is None:
        yield f"+ {new.id}: new"
    elif old.enabled and not new.enabled:
        yield f"- {new.id}: switched off; {_STALE}"
    elif old.fingerprint() != new.fingerprint():
        yield f"~ {new.id}: {'; '.join(_details(old, new)) or 'changed'} ({_KEPT})"


def _details(old: Rule, new: Rule) -> Iterator[str]:
    if watched(old) != watched(new):
        yield f"watches {watched(old)} -> {watched(new)}"
    before = {level.priority: level_text(old, level) for level in old.source.levels}
    after = {level.priority: level_text(new, level) for level in new.source.levels}
    for priority in sorted(before.keys() | after.keys()):
        if before.get(priority) != after.get(priority):
            yield f"P{priority} {before.get(priority, 'none')} -> {after.get(priority, 'none')}"
