"""Overrides: another threshold for one customer, deployment or host. The narrowest wins, field by field.

An override is a small document::

    rule: host.cpu
    reason: nightly transcoding is normal here        # required: somebody will ask
    enabled: true
    levels:
      P3: {when: value > 92 %, for: 30 min}           # what is not named stays as it is
      P2: off                                         # this level never fires here
    where:                                            # which series: per term, "value" where there is but one
      value: {system.device: ["sda", "sdb"]}
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import msgspec

from alerting import condition as cond
from alerting.compound_pack import seconds_field, state_condition
from alerting.document import Field, read
from alerting.fields import condition_field, hold_field, where_field
from alerting.inputs import HostScope
from alerting.overlap import both_hold
from alerting.rule import Compound, Level, Measured, Patterns, Rule

_changed = msgspec.structs.replace
Where = tuple[tuple[str, Patterns], ...]


class LevelChange(msgspec.Struct, frozen=True):
    """What an override says of one level; None = as it is."""

    priority: int
    off: bool = False
    when: cond.Condition | None = None
    clear: cond.Condition | None = None
    hold: tuple[float, int] | None = None
    """(seconds, samples) of ``for``."""
    clear_hold: tuple[float, int] | None = None


class Patch(msgspec.Struct, frozen=True):
    """The content of an override."""

    rule_id: str
    reason: str
    enabled: bool | None = None
    levels: tuple[LevelChange, ...] = ()
    where: tuple[tuple[str, Where], ...] = ()
    """Term -> attribute patterns, in place of the rule's."""


class Override(msgspec.Struct, frozen=True):
    """A patch and whom it concerns."""

    override_id: int
    tenant_id: int
    deployment_id: int | None
    """None = every deployment of the tenant."""
    host_id: int | None
    """None = every host."""
    patch: Patch

    @property
    def precedence(self) -> int:
        """0 tenant, 1 deployment, 2 host: the higher wins."""
        return 2 if self.host_id is not None else int(self.deployment_id is not None)

    @property
    def level(self) -> str:
        """The word for ``precedence``."""
        return ("tenant", "deployment", "host")[self.precedence]

    def concerns(self, scope: HostScope) -> bool:
        """Whether a host is meant."""
        return (
            self.tenant_id == scope.tenant_id
            and self.deployment_id in (None, scope.deployment_id)
            and self.host_id in (None, scope.host_id)
        )


def parse_patch(text: str, rules: Sequence[Rule], name: str = "override") -> Patch:
    """The patch in a document, checked against the rules. Raises PackError with every fault."""
    root = read(text, name)
    fields = root.mapping(("rule", "reason"), ("enabled", "levels", "where"))
    rule = next((r for r in rules if "rule" in fields and r.id == fields["rule"].text()), None)
    if rule is None and "rule" in fields:
        fields["rule"].fault(f"there is no rule '{fields['rule'].text()}'")
    enabled = fields["enabled"].flag() if "enabled" in fields else None
    reason = fields["reason"].text() if "reason" in fields else ""
    levels = _levels(fields["levels"], rule) if rule and "levels" in fields else ()
    where = _where(fields["where"], rule) if rule and "where" in fields else ()
    root.faults.raise_if_any()
    assert rule is not None
    return Patch(rule.id, reason, enabled, levels, where)


def _where(field: Field, rule: Rule) -> tuple[tuple[str, Where], ...]:
    source = rule.source
    if not isinstance(source, Measured):
        field.fault("only rules that measure values choose series")
        return ()
    names = tuple(name for name, _ in source.terms)
    return tuple((name, where_field(f)) for name, f in field.mapping((), names).items())


def _levels(field: Field, rule: Rule) -> tuple[LevelChange, ...]:
    source = rule.source
    if not isinstance(source, Measured | Compound):
        field.fault("only rules with conditions have levels to override; use 'enabled'")
        return ()
    priorities = tuple(f"P{level.priority}" for level in source.levels)
    readers = _on_values(source) if isinstance(source, Measured) else _on_states(source)
    return tuple(
        _fitting(f, _level(key, f, readers), source) for key, f in field.mapping((), priorities).items()
    )


def _fitting(field: Field, change: LevelChange, source: Measured | Compound) -> LevelChange:
    """The change; a fault when it leaves the level opening and ending by the same value."""
    level = next(level for level in source.levels if level.priority == change.priority)
    merged = _merged(level, change)
    if merged is not None and (value := both_hold(merged.when, merged.clear)):
        over = cond.written(merged.clear)
        field.fault(f"opens at {value}, where '{over}' ends it at once: give a 'clear' that fits 'when'")
    return change


class _Readers(NamedTuple):
    """How the fields of a level are read."""

    when: Callable[[Field], cond.Condition | None]
    clear: Callable[[Field], cond.Condition | None]
    hold: Callable[[Field], tuple[float, int]]


def _on_values(source: Measured) -> _Readers:
    names = {name for name, _ in (*source.terms, *source.forecasts)}
    read_condition = partial(condition_field, names=names)
    return _Readers(read_condition, read_condition, hold_field)


def _on_states(source: Compound) -> _Readers:
    names = {name for name, _ in source.states}
    clear = partial(condition_field, names=names, parse=cond.parse_states)
    return _Readers(partial(state_condition, names=names), clear, seconds_field)


def _level(key: str, field: Field, readers: _Readers) -> LevelChange:
    priority = int(key[1])
    if field.is_scalar:
        if field.scalar() is not False:
            field.fault("must be 'off' or a mapping of when, for, clear, clear_for")
        return LevelChange(priority, off=True)
    fields = field.mapping((), ("when", "for", "clear", "clear_for"))
    return LevelChange(
        priority,
        when=readers.when(fields["when"]) if "when" in fields else None,
        clear=readers.clear(fields["clear"]) if "clear" in fields else None,
        hold=readers.hold(fields["for"]) if "for" in fields else None,
        clear_hold=readers.hold(fields["clear_for"]) if "clear_for" in fields else None,
    )


def apply(rules: Sequence[Rule], overrides: Iterable[Override]) -> list[Rule]:
    """The rules as they are under overrides, given widest first."""
    patches: dict[str, list[Patch]] = {}
    for override in overrides:
        patches.setdefault(override.patch.rule_id, []).append(override.patch)
    return [patched(rule, patches.get(rule.id, [])) for rule in rules]


def patched(rule: Rule, patches: Iterable[Patch]) -> Rule:
    """One rule under its patches, the later ones winning field by field.

    A level that a wider patch switches off is on again where a narrower one says anything else of it."""
    changes: dict[int, LevelChange] = {}
    for patch in patches:
        if patch.enabled is not None:
            rule = _changed(rule, enabled=patch.enabled)
        for change in patch.levels:
            changes[change.priority] = _narrowed(changes.get(change.priority), change)
        if patch.where and isinstance(rule.source, Measured):
            rule = _with_series(rule, rule.source, dict(patch.where))
    if changes and isinstance(rule.source, Measured | Compound):
        return _with_levels(rule, rule.source, changes)
    return rule


def _narrowed(wider: LevelChange | None, narrower: LevelChange) -> LevelChange:
    if wider is None or wider.off or narrower.off:
        return narrower
    return LevelChange(
        narrower.priority,
        when=narrower.when or wider.when,
        clear=narrower.clear or wider.clear,
        hold=narrower.hold or wider.hold,
        clear_hold=narrower.clear_hold or wider.clear_hold,
    )


def _with_series(rule: Rule, source: Measured, where: Mapping[str, Where]) -> Rule:
    terms = tuple(
        (name, _changed(selector, where=where[name]) if name in where else selector)
        for name, selector in source.terms
    )
    return _changed(rule, source=_changed(source, terms=terms))


def _with_levels(rule: Rule, source: Measured | Compound, changes: Mapping[int, LevelChange]) -> Rule:
    merged = [_merged(level, changes.get(level.priority)) for level in source.levels]
    left = tuple(_sound(level) for level in merged if level is not None)
    if not left:
        return _changed(rule, enabled=False)
    return _changed(rule, source=_changed(source, levels=left))


def _sound(level: Level) -> Level:
    """Two overrides, each right by itself, may open and end a level by one value: then ``when`` decides."""
    return _changed(level, clear=cond.Not(level.when)) if both_hold(level.when, level.clear) else level


def _merged(level: Level, change: LevelChange | None) -> Level | None:
    if change is None:
        return level
    if change.off:
        return None
    for_s, for_samples = change.hold or (level.for_s, level.for_samples)
    clear_s, clear_samples = change.clear_hold or (level.clear_for_s, level.clear_samples)
    when = change.when or level.when
    unstated = isinstance(level.clear, cond.Not) and change.when is not None
    clear = change.clear or (cond.Not(when) if unstated else level.clear)
    return Level(level.priority, when, clear, for_s, for_samples, clear_s, clear_samples)
