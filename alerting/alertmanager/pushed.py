"""What a pushed alert means for us. Pure.

A pushed alert is its deployment's and no host's of ours, under the rule ``pushed.<alertname>``; it says
nothing of the site as a whole. Its labels tell it from others of that name. Labels that say whose it is are
ours to give: pushed ones of those names are kept as ``exported_<name>``, as Prometheus does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta

import msgspec

from alerting import wording
from alerting.alertmanager.matcher import fingerprint
from alerting.alertmanager.shapes import PostableAlert
from alerting.inputs import AlertChange, Change, HostScope, to_ms
from alerting.plain import clean, instance
from alerting.published import PUSHED, State
from alerting.settings import Settings
from alerting.state import Told

CLUSTER = "(cluster)"
_OURS = ("tenant", "deployment", "rule", "priority")
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_NOT_IN_ID = re.compile(r"[^A-Za-z0-9._-]+")
_LONGEST = timedelta(days=7)
"""No push holds for longer, whatever it says."""
_SUMMARY = 500
LOWEST = 4


class Pushed(msgspec.Struct, frozen=True):
    """One pushed alert, read."""

    rule_id: str
    instance: str
    """What tells it from others of its name: its target, and the fingerprint of its labels."""
    problem: str
    """The same without its severity: worse and less bad are one problem, with one ticket."""
    fingerprint: str
    priority: int
    severity: str
    summary: str
    labels: dict[str, str]
    annotations: dict[str, str]
    generator_url: str
    starts_at: datetime
    expires_at: datetime
    """Over unless it is pushed again by then; not after now: it is over."""


def read(posted: PostableAlert, settings: Settings, now: datetime) -> Pushed:
    """Raises ValueError with what is wrong with its labels."""
    labels = {name: value for name, value in posted.labels.items() if value}
    if not labels:
        raise ValueError("at least one label pair required")
    for name in (*labels, *posted.annotations):
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"'{name}' is no name of a label: letters, digits and _, no digit first")
    name = _NOT_IN_ID.sub("-", labels.get("alertname", "")).strip("-")[:80] or "unnamed"
    without = {name: value for name, value in labels.items() if name != "severity"}
    mark = fingerprint(labels)
    return Pushed(
        rule_id=PUSHED + name,
        instance=_instance(labels, mark),
        problem=_instance(labels, fingerprint(without)),
        fingerprint=mark,
        priority=settings.pushed_priorities.get(labels.get("severity", "").lower(), LOWEST),
        severity=labels.get("severity", ""),
        summary=_summary(posted.annotations, labels, name),
        labels=labels,
        annotations=posted.annotations,
        generator_url=posted.generatorURL,
        starts_at=min(posted.startsAt or now, now),
        expires_at=_expiry(posted, settings, now),
    )


def _instance(labels: Mapping[str, str], mark: str) -> str:
    target = instance([labels["instance"]]) if labels.get("instance") else ""
    return f"{target} #{mark}".strip()


def _summary(annotations: Mapping[str, str], labels: Mapping[str, str], name: str) -> str:
    said = annotations.get("summary") or annotations.get("description") or ""
    target = f" on {labels['instance']}" if labels.get("instance") else ""
    return clean(said)[:_SUMMARY] or clean(f"{labels.get('alertname', name)}{target}")[:_SUMMARY]


def _expiry(posted: PostableAlert, settings: Settings, now: datetime) -> datetime:
    if posted.endsAt is None:
        return now + timedelta(seconds=settings.resolve_timeout_s)
    return min(posted.endsAt, now + _LONGEST)


def fires(pushed: Pushed, scope: HostScope, by: str, now: datetime) -> AlertChange:
    """The change that opens its alert."""
    mapped = f"severity '{pushed.severity}'" if pushed.severity else "no severity"
    reason = f"Pushed by '{by}': {pushed.summary} ({mapped}: P{pushed.priority})"
    told = Told(State.FIRING.value, pushed.priority, to_ms(pushed.starts_at), to_ms(now))
    change = Change(to_ms(now), None, State.FIRING, pushed.priority, None, reason)
    made = wording.alert_change(scope, None, (pushed.rule_id, pushed.instance), told, change)
    key = wording.problem_key(scope, pushed.rule_id, pushed.problem)
    labels = _labels(pushed, scope)
    return msgspec.structs.replace(made, problem_key=key, summary=pushed.summary, labels=labels)


def _labels(pushed: Pushed, scope: HostScope) -> dict[str, str]:
    theirs = {f"exported_{n}" if n in _OURS else n: v for n, v in pushed.labels.items()}
    ours = {"tenant": scope.tenant_key, "deployment": scope.deployment_key, "rule": pushed.rule_id}
    return (
        {"host": CLUSTER, "component": "pushed", "alertname": pushed.rule_id[len(PUSHED) :]} | theirs | ours
    )


class Standing(msgspec.Struct, frozen=True):
    """An open pushed alert as the database has it."""

    alert_id: int
    rule_id: str
    instance: str
    priority: int
    since: datetime
    fired_at: datetime
    expires_at: datetime


def ends(standing: Standing, scope: HostScope, reason: str, now: datetime) -> AlertChange:
    """The change that ends it."""
    told = Told(State.RESOLVED.value, standing.priority, to_ms(standing.since), to_ms(standing.fired_at))
    change = Change(to_ms(now), State.FIRING, State.RESOLVED, standing.priority, None, reason)
    return wording.alert_change(scope, None, (standing.rule_id, standing.instance), told, change)


def lapsed(standing: Standing, opened: datetime | None, settings: Settings, now: datetime) -> str:
    """Why an alert that was not pushed again is over; empty: it is not.

    While our own front door was shut nobody could push: that time does not count."""
    if opened is None or opened + timedelta(seconds=settings.resolve_timeout_s) > now:
        return ""
    if standing.expires_at > now:
        return ""
    return f"Not pushed again by {standing.expires_at:%H:%M:%SZ}, until when it was said to hold: over."
