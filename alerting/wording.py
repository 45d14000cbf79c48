"""The sentences that stand in alerts and transitions: what held, against which limit, since when."""

from __future__ import annotations

from alerting import condition as cond
from alerting.binding import Binding
from alerting.condition import Values
from alerting.inputs import AlertChange, Change, HostScope, from_ms
from alerting.machine import LevelState
from alerting.plain import clean
from alerting.published import State
from alerting.rule import Level, Rule
from alerting.state import Key, Told
from alerting.texts import Arguments, placeholders, render
from alerting.units import show_duration
from wire.batch import Event
from wire.language import SOURCE

_QUOTED = 160
"""Characters of an event's message that a reason repeats."""


def pending(level: Level, values: Values, binding: Binding) -> str:
    """Why an alert is not firing yet."""
    return f"{cond.explain(level.when, values, binding.names)}, not yet for {_held_for(level)}"


def firing(level: Level, state: LevelState, told: Told, values: Values, binding: Binding) -> str:
    """Why an alert fires, or moved to another level while it does."""
    timed = f" for {_held_for(level)}" if level.for_s > 0 or level.for_samples > 1 else ""
    text = f"{cond.explain(level.when, values, binding.names)}{timed} since {_clock(state.since)}"
    if told.state != State.FIRING:
        return text
    direction = "worse" if level.priority < told.priority else "better"
    return f"{text}; {direction}: P{told.priority} -> P{level.priority}"


def recovering(level: Level, values: Values, binding: Binding) -> str:
    """Why an alert may be about to end."""
    held = _held(level.clear_for_s, level.clear_samples)
    return f"{cond.explain(level.clear, values, binding.names)}: recovering, must hold for {held}"


def ended(level: Level, fired: bool, values: Values, binding: Binding) -> str:
    """Why an alert is over."""
    if not fired:
        return f"{cond.explain(level.when, values, binding.names)}: no longer holds; it never fired"
    timed = level.clear_for_s > 0 or level.clear_samples > 1
    held = f" for {_held(level.clear_for_s, level.clear_samples)}" if timed else ""
    return f"{cond.explain(level.clear, values, binding.names)}{held}: recovered"


def _held_for(level: Level) -> str:
    return _held(level.for_s, level.for_samples)


def _held(seconds: float, samples: int) -> str:
    return f"{samples} samples" if samples > 1 else show_duration(seconds)


def _clock(ms: int) -> str:
    return f"{from_ms(ms):%H:%M:%SZ}"


def event(happened: Event, count: int, window_s: float) -> str:
    """Why an event alert fires."""
    message = clean(happened.message)[:_QUOTED]
    name = f"{clean(happened.source)} {clean(happened.event_id)}".strip()
    counted = f"{count} events within {show_duration(window_s)}, the newest " if count > 1 else ""
    return f"{counted}{name}: {message}"


def quiet(seconds: float) -> str:
    """Why an event alert is over."""
    return f"No such event for {show_duration(seconds)}: over."


def gone(elapsed_ms: int) -> str:
    """Why nobody knows any more how a series is."""
    ago = show_duration(elapsed_ms // 1000)
    return f"Its series left the host's layout {ago} ago; whether the problem persists is unknown."


RULE_GONE = "The rule is no longer in force; nobody checks this any more."


def alert_change(scope: HostScope, rule: Rule | None, key: Key, told: Told, change: Change) -> AlertChange:
    """The alert's row after a change, with its problem key: the one place that makes it.

    ``rule`` is None when it is no longer in force: then summary and labels stay as they were."""
    rule_id, instance = key
    return AlertChange(
        deployment_id=scope.deployment_id,
        host_id=scope.host_id or None,
        rule_id=rule_id,
        instance=instance,
        problem_key=problem_key(scope, rule.problem if rule else rule_id, instance),
        since_ms=told.since,
        fired_ms=told.fired_at or None,
        summary=_summary(scope, rule, instance, change) if rule else None,
        labels=labels_of(scope, rule, instance) if rule else None,
        change=change,
        hidden=told.hidden,
    )


def problem_key(scope: HostScope, problem: str, instance: str) -> str:
    """tenant/deployment/host/problem/instance: what a ticket is about."""
    return f"{scope.tenant_key}/{scope.deployment_key}/{scope.host_name}/{problem}/{instance}"


def labels_of(scope: HostScope, rule: Rule, instance: str) -> dict[str, str]:
    """What silences match an alert by; its priority comes with each transition."""
    labels = dict(rule.labels) | {
        "tenant": scope.tenant_key,
        "deployment": scope.deployment_key,
        "host": scope.host_name,
        "rule": rule.id,
        "component": rule.component,
    }
    return labels | {"instance": instance} if instance else labels


def _summary(scope: HostScope, rule: Rule, instance: str, change: Change) -> str | None:
    """The summary in English; None (leave it) where it names a value and this change has none."""
    names_value = "value" in placeholders(rule.summary)
    if names_value and change.value is None and change.from_state is not None:
        return None
    return render(
        rule.summary,
        SOURCE,
        Arguments(scope.host_name, scope.deployment_key, instance, change.value, change.unit),
    )
