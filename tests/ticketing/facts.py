"""What the tests of the pure core share: the shipped release, terms, histories, local times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from ticketing.clock import ClockState, compute
from ticketing.history import ClockEvent, Kind
from ticketing.releases import load_releases
from ticketing.terms import Terms, resolve

RELEASES = load_releases()
RELEASE = RELEASES[0]
ROME, NEW_YORK, DUBAI = "Europe/Rome", "America/New_York", "Asia/Dubai"
ZONES = {"europe": ROME, "americas": NEW_YORK, "me-sun-thu": DUBAI, "me-mon-fri": DUBAI}


def at(text: str, zone: str = ROME) -> datetime:
    """``2026-12-24 16:30`` on the wall of a zone, as UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def wall(instant: datetime | None, zone: str = ROME) -> str | None:
    """An instant as the wall shows it: ``2026-12-24 16:30`` (seconds where there are any)."""
    if instant is None:
        return None
    local = instant.astimezone(ZoneInfo(zone))
    return f"{local:%Y-%m-%d %H:%M:%S}".removesuffix(":00")


def terms(plan: str = "gold", theatre: str = "europe", **kwargs: Any) -> Terms:
    """The terms of a deployment on a subscription licence, opened by the portal."""
    given: dict[str, Any] = {"licence": "subscription", "channel": "portal", "asia_pacific": False} | kwargs
    opened = given.pop("at", at("2026-06-01 10:00"))
    found, _ = resolve(RELEASE, plan=plan, theatre=theatre, at=opened, **given)
    return found


def opened(when: datetime, binding: Terms, priority: int) -> ClockEvent:
    """The opening of a ticket."""
    return ClockEvent(at=when, kind="opened", terms=binding, priority=priority)


def paused(when: datetime) -> ClockEvent:
    return ClockEvent(at=when, kind="paused", waiting_for="customer")


def event(when: datetime, kind: Kind, **kwargs: Any) -> ClockEvent:
    return ClockEvent(at=when, kind=kind, **kwargs)


def priority(when: datetime, to: int) -> ClockEvent:
    """A change of priority by a person with a reason."""
    return ClockEvent(at=when, kind="priority", priority=to, person="anna", reason="the customer asked")


def texts(reasons: Sequence[object]) -> list[str]:
    return [str(reason) for reason in reasons]


def state(history: list[ClockEvent], now: str) -> ClockState:
    """The clock of that history at that time in Rome."""
    return compute(RELEASE, history, at(now))
