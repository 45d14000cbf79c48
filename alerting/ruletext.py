"""Rules as text for people: what a pack says, and what is in force for one host and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from psycopg import AsyncConnection

from alerting import condition as cond
from alerting.evaluator import Evaluator
from alerting.inputs import HostScope
from alerting.override import Override
from alerting.rule import Compound, CountLevel, Level, Matched, Measured, Rule, Scope, SilentLevel, Wanted
from alerting.texts import missing
from alerting.units import show_duration
from storage.sql import Queries
from wire.language import LANGUAGES

Q = Queries.load("alerting")
_NAMED = 8
"""Rules that a line names."""


def listed(rules: Sequence[Rule]) -> str:
    """A pack, rule by rule."""
    return "\n\n".join("\n".join(rule_lines(rule)) for rule in rules)


def untold(rules: Sequence[Rule]) -> Iterator[str]:
    """Per language, the rules that do not speak it; nothing when every rule speaks all of them."""
    for code in LANGUAGES:
        silent = [rule.id for rule in rules if code in missing(dict(rule.translations))]
        if silent:
            named = ", ".join(silent[:_NAMED]) + (" ..." if len(silent) > _NAMED else "")
            yield f"{code}: {len(silent)} of {len(rules)} rules are told in English: {named}"


def rule_lines(rule: Rule) -> Iterator[str]:
    """One rule: what it watches, its levels, why."""
    off = "" if rule.enabled else "  (not enabled)"
    yield f"{rule.id}  {rule.name}{off}"
    yield f"    watches   {watched(rule)}"
    for level in rule.source.levels:
        yield f"    P{level.priority}        {level_text(rule, level)}"
    if rule.hidden_by:
        yield f"    hidden by {', '.join(rule.hidden_by)}"
    yield f"    because   {rule.rationale}"


def watched(rule: Rule) -> str:
    """What a rule looks at."""
    source = rule.source
    if isinstance(source, Measured):
        metrics = ", ".join(dict.fromkeys(selector.metric for _, selector in source.terms))
        return f"{metrics} per {', '.join(source.instance)}" if source.instance else metrics
    if isinstance(source, Matched):
        parts = {"source": source.source, "id": source.ids, "severity": source.severity, "text": source.text}
        return "events with " + ", ".join(f"{k} {' | '.join(v)}" for k, v in parts.items() if v)
    if isinstance(source, Compound):
        states = ", ".join(f"{name} = {state_text(wanted)}" for name, wanted in source.states)
        return f"alerts: {states}; known for at most {show_duration(source.fresh_s)}"
    return (
        "receipts from every host of the deployment" if source.whole_deployment else "receipts from the host"
    )


def state_text(wanted: Wanted) -> str:
    """One state that a rule on alerts looks for."""
    on = "any host" if (wanted.scope, wanted.least) == (Scope.SOME, 1) else str(wanted.scope)
    if wanted.scope is Scope.SOME and wanted.least > 1:
        on = f"at least {wanted.least} hosts"
    instance = f" {' | '.join(wanted.instance)}" if wanted.instance else ""
    worse = f" P{wanted.priority} or worse" if wanted.priority < 4 else ""
    pending = " pending or" if wanted.pending else ""
    return f"{wanted.rule_id}{instance}{pending} firing{worse} on {on}"


def level_text(rule: Rule, level: Level | CountLevel | SilentLevel) -> str:
    """When a level fires and when it is over."""
    if isinstance(level, Level):
        held = _held(level.for_s, level.for_samples)
        cleared = _held(level.clear_for_s, level.clear_samples)
        return f"{cond.written(level.when)}{held}; over when {cond.written(level.clear)}{cleared}"
    if isinstance(level, SilentLevel):
        return f"nothing for more than {show_duration(level.after_s)}"
    source = rule.source
    assert isinstance(source, Matched)
    within = f" within {show_duration(source.window_s)}" if source.window_s else ""
    return f"{level.count} or more{within}; over when none for {show_duration(source.quiet_s)}"


def _held(seconds: float, samples: int) -> str:
    parts = [f"{samples} samples"] * (samples > 1) + [show_duration(seconds)] * (seconds > 0)
    return f" for {' and '.join(parts)}" if parts else ""


async def explained(
    conn: AsyncConnection[tuple[Any, ...]],
    evaluator: Evaluator,
    tenant: str,
    deployment: str,
    host: str,
    rule_id: str | None,
) -> str | None:
    """The rules in force for a host, with the overrides that made them so; None: no such host or rule."""
    given = {"tenant": tenant, "deployment": deployment, "host": host}
    row = await (await conn.execute(Q.scope_by_name, given)).fetchone()
    if row is None:
        return None
    scope = HostScope(*row)
    marked = [rule for rule, _ in evaluator.in_force(scope).marked if rule_id in (None, rule.id)]
    overrides = evaluator.overrides(scope)
    texts = ["\n".join([*rule_lines(rule), *_origins(rule, overrides)]) for rule in marked]
    return "\n\n".join(texts) if texts else None


def _origins(rule: Rule, overrides: Sequence[Override]) -> Iterator[str]:
    """Overrides of a rule, the narrowest last: where two name the same field, the last one wins."""
    for override in overrides:
        if override.patch.rule_id == rule.id:
            fields = ", ".join(_fields(override)) or "nothing"
            yield f"    override  of the {override.level} sets {fields}: {override.patch.reason}"


def _fields(override: Override) -> Iterator[str]:
    patch = override.patch
    if patch.enabled is not None:
        yield f"enabled = {str(patch.enabled).lower()}"
    yield from (f"the series of {name}" for name, _ in patch.where)
    for level in patch.levels:
        named = {
            "off": level.off,
            "when": level.when,
            "clear": level.clear,
            "for": level.hold,
            "clear_for": level.clear_hold,
        }
        yield from (f"P{level.priority} {name}" for name, value in named.items() if value)
