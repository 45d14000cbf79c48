"""Alerts that fire, as the Alertmanager shows them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting import mutes, regex
from alerting.alertmanager.matcher import fingerprint
from alerting.alertmanager.shapes import stamp
from alerting.mute import Matcher, Mute, occurrence_at
from alerting.settings import Settings
from storage.sql import Queries
from wire.access import Principal

Q = Queries.load("alerting.alertmanager")
Connection = AsyncConnection[tuple[Any, ...]]
Document = dict[str, Any]
DESK = "desk"
"""The receiver of every alert: the ticket desk."""
LIMIT = 10_000
"""Alerts in one answer: the newest. The API has no pages; ours, /v1/alerts, has."""
_CAUSE = re.compile(r"\(([A-Za-z0-9._-]+)\)$")


class Open(msgspec.Struct, frozen=True):
    """An alert that fires, as read."""

    tenant_id: int
    alert_id: int
    host_id: int | None
    rule_id: str
    priority: int
    since: datetime
    summary: str
    stored_labels: dict[str, str]
    hidden: str | None
    silenced: str | None
    changed_at: datetime
    annotations: dict[str, str] | None
    """None: not pushed, as the rest."""
    generator_url: str | None
    updated_at: datetime | None
    expires_at: datetime | None

    @property
    def labels(self) -> dict[str, str]:
        """What matchers see."""
        named = {"alertname": self.rule_id} | self.stored_labels
        return named | {"priority": f"P{self.priority}"}


class Asked(msgspec.Struct, frozen=True):
    """Which alerts are wanted."""

    matchers: tuple[Matcher, ...] = ()
    active: bool = True
    silenced: bool = True
    inhibited: bool = True
    receiver: str = ""
    """An expression for the receiver's whole name; empty: any."""

    def wants(self, labels: Mapping[str, str], status: Document) -> bool:
        """Whether one alert is among them."""
        if not self.active and status["state"] == "active":
            return False
        if (not self.silenced and status["silencedBy"]) or (not self.inhibited and status["inhibitedBy"]):
            return False
        return all(m.matches(labels) for m in self.matchers)


async def alerts(
    conn: Connection, who: Principal, asked: Asked, settings: Settings, now: datetime
) -> list[Document]:
    """Those that the caller may see and asked for, newest first."""
    if asked.receiver and not regex.matches(asked.receiver, DESK):
        return []
    given = {"tenant_id": who.tenant_id, "deployment_id": who.deployment_id, "limit": LIMIT}
    found = [Open(*row) for row in await (await conn.execute(Q.open_alerts, given)).fetchall()]
    muted = await mutes.current(conn, {alert.tenant_id for alert in found}, now)
    causes = _causes(found)
    until = now + timedelta(seconds=settings.resolve_timeout_s)
    listed = []
    for alert in found:
        labels = alert.labels
        status = _status(alert, labels, muted.get(alert.tenant_id, ()), causes, now)
        if asked.wants(labels, status):
            listed.append(_document(alert, labels, status, until))
    return listed


def _causes(found: Iterable[Open]) -> dict[tuple[int, int | None, str], str]:
    """Fingerprints of alerts by host and rule."""
    return {(a.tenant_id, a.host_id, a.rule_id): fingerprint(a.labels) for a in found if a.hidden is None}


def _status(
    alert: Open,
    labels: Mapping[str, str],
    muted: Sequence[Mute],
    causes: Mapping[tuple[int, int | None, str], str],
    now: datetime,
) -> Document:
    silenced = [str(m.mute_id) for m in muted if m.matches(labels) and occurrence_at(m, now)]
    inhibited = [_cause(alert, alert.hidden, causes)] if alert.hidden else []
    return {
        "state": "suppressed" if silenced or inhibited else "active",
        "silencedBy": silenced,
        "inhibitedBy": inhibited,
        "mutedBy": [],
    }


def _cause(alert: Open, hidden: str, causes: Mapping[tuple[int, int | None, str], str]) -> str:
    """The cause's fingerprint where its alert is known, else what we say of it."""
    named = _CAUSE.search(hidden)
    rule = named[1] if named else ""
    own = causes.get((alert.tenant_id, alert.host_id, rule))
    return own or causes.get((alert.tenant_id, None, rule)) or hidden


def _document(alert: Open, labels: dict[str, str], status: Document, until: datetime) -> Document:
    pushed = alert.annotations is not None
    return {
        "annotations": alert.annotations if pushed else {"summary": alert.summary},
        "endsAt": stamp(alert.expires_at or until),
        "fingerprint": fingerprint(labels),
        "receivers": [{"name": DESK}],
        "startsAt": stamp(alert.since),
        "status": status,
        "updatedAt": stamp(alert.updated_at or alert.changed_at),
        "generatorURL": (alert.generator_url if pushed else f"/v1/alerts/{alert.alert_id}") or "",
        "labels": labels,
    }


def groups(listed: Iterable[Document]) -> list[Document]:
    """Alerts of one tenant, deployment and name together."""
    grouped: dict[tuple[str, ...], list[Document]] = {}
    for alert in listed:
        labels = alert["labels"]
        grouped.setdefault(tuple(labels.get(name, "") for name in _GROUPED_BY), []).append(alert)
    return [
        {"labels": dict(zip(_GROUPED_BY, key, strict=True)), "receiver": {"name": DESK}, "alerts": found}
        for key, found in sorted(grouped.items())
    ]


_GROUPED_BY = ("tenant", "deployment", "alertname")
