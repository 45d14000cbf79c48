"""What is told to whom, and how often. Pure.

An alert is told when it fires, then every ``REPEAT`` while it goes unanswered, but a problem at most ``MOST``
times within ``WINDOW``, however often it comes and goes; once more when it is over. What is due for one
receiver goes into one message.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

WINDOW = timedelta(minutes=30)
MOST = 3
REPEAT = timedelta(minutes=10)
LISTED = 100
"""Alerts named in one message; the others are counted."""


class Candidate(msgspec.Struct, frozen=True):
    """An alert that may be told to a receiver."""

    tenant_id: int
    alert_id: int
    tenant: str
    deployment: str
    problem_key: str
    state: str
    priority: int
    since: datetime
    summary: str
    rule: str
    told: tuple[datetime, ...]
    """When its problem was told as firing within the window, in order."""
    acknowledged: bool

    @property
    def ended(self) -> bool:
        return self.state != "firing"


def due(candidate: Candidate, now: datetime) -> str:
    """Why it is to be told now; empty: it is not."""
    if candidate.ended:
        return "over"
    recent = [at for at in candidate.told if now - at < WINDOW]
    if not recent:
        return "" if candidate.acknowledged else "fires"
    if candidate.acknowledged or len(recent) >= MOST or now - recent[-1] < REPEAT:
        return ""
    return "still fires"


def chosen(candidates: Sequence[Candidate], now: datetime) -> list[tuple[Candidate, str]]:
    """Those that are due, with the reason; of one problem's alerts the first speaks for all."""
    found: dict[tuple[str, bool, int], tuple[Candidate, str]] = {}
    for candidate in candidates:
        if why := due(candidate, now):
            mark = candidate.alert_id if candidate.ended else 0
            found.setdefault((candidate.problem_key, candidate.ended, mark), (candidate, why))
    return list(found.values())


def document(items: Sequence[tuple[Candidate, str]], now: datetime) -> dict[str, Any]:
    """What a message says."""
    return {
        "type": "alerts.notice",
        "timestamp": now.isoformat(),
        "data": {
            "alerts": [_alert(candidate, why) for candidate, why in items[:LISTED]],
            "more": max(0, len(items) - LISTED),
        },
    }


def _alert(candidate: Candidate, why: str) -> dict[str, Any]:
    return {
        "alert_id": candidate.alert_id,
        "tenant": candidate.tenant,
        "deployment": candidate.deployment,
        "rule": candidate.rule,
        "priority": f"P{candidate.priority}",
        "state": candidate.state,
        "since": candidate.since.isoformat(),
        "summary": candidate.summary,
        "notice": why,
    }


ENDING = "silence.ending"
"""Type of a reminder that a silence ends; its shape: ``alerting/reminder.py``."""


def subject(said: dict[str, Any]) -> str:
    """The subject of a mail."""
    if said.get("type") == ENDING:
        return f"Silence ends soon: {said['data']['title']}"[:200]
    alerts = said["data"]["alerts"]
    if len(alerts) == 1:
        return f"[{alerts[0]['priority']}] {alerts[0]['notice']}: {alerts[0]['summary']}"[:200]
    return f"{len(alerts) + said['data']['more']} alerts"


def text(said: dict[str, Any]) -> str:
    """The text of a mail."""
    if said.get("type") == ENDING:
        return _ending(said["data"])
    lines = [
        f"{a['priority']} {a['tenant']}/{a['deployment']} {a['notice']}: {a['summary']} (since {a['since']})"
        for a in said["data"]["alerts"]
    ]
    more = said["data"]["more"]
    return "\n".join([*lines, *([f"... and {more} more."] if more else [])]) + "\n"


def _ending(data: dict[str, Any]) -> str:
    """The text of a reminder."""
    lines = [
        f"The silence '{data['title']}' of {data['author']} for {data['tenant']} ends at {data['ends_at']}.",
        f"It covers {', '.join(data['matchers'])}.",
        f"Alerts that fire under it now, and will be told when it has ended: {data['firing']}.",
        f"To keep it, make another one; its id is {data['silence']}.",
    ]
    return "\n".join(lines) + "\n"
