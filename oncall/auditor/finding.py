"""What may be wrong with on-call, found in what the database shows. Pure.

A finding has a key that stays the same as long as the trouble does: calls, acknowledgements and the journal
refer to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec

from oncall.auditor.settings import Settings


class CriticalAlert(msgspec.Struct, frozen=True):
    """A firing P1 alert that is not muted, and what became of it. A time that is None: it did not happen."""

    tenant_id: int
    alert_id: int
    customer: str
    summary: str
    fired_at: datetime
    """When we recorded that it fires as P1 and is to be acted on."""
    no_ticket: str | None
    """Why the desk made no ticket, in one word."""
    ticket: str | None
    """Number of the ticket that answers for it (the parent's, if it has one)."""
    settled: bool
    """Its ticket is taken in charge, held, resolved or closed."""
    wanted: bool
    """By its terms this ticket rings on-call."""
    asked_at: datetime | None
    """Since when the desk wants somebody rung; None: not at present."""
    rang_at: datetime | None
    """When a phone last rang for it."""
    answered_at: datetime | None
    """When a person last answered."""


class Reported(msgspec.Struct, frozen=True):
    """What a person reported by telephone or opened by hand: no alert fires for it."""

    kind: str
    """``report``: a confirmed call that is not a ticket yet; ``ticket``."""
    case: CriticalAlert
    """As if an alert fired since then; ``alert_id`` is the report's or the ticket's."""


class OnCallAlarm(msgspec.Struct, frozen=True):
    """What on-call itself wants known: its spend cap is reached, somebody guesses PINs."""

    alarm_id: int
    detail: str
    urgent: bool


class GapLook(msgspec.Struct, frozen=True):
    """The newest look for gaps in the rota."""

    at: datetime
    gaps: int
    first_gap_at: datetime | None
    fault: str | None


class Switch(msgspec.Struct, frozen=True):
    """The paging switch, when it is off."""

    since: datetime
    who: str
    reason: str


class OperationsAlarm(msgspec.Struct, frozen=True):
    """Something that our own operations must know."""

    alarm_id: int
    opened_at: datetime
    detail: str


class Snapshot(msgspec.Struct, frozen=True):
    """What the database shows at one moment."""

    alerts: tuple[CriticalAlert, ...] = ()
    reported: tuple[Reported, ...] = ()
    alarms: tuple[OnCallAlarm, ...] = ()
    gap_look: GapLook | None = None
    off: Switch | None = None
    operations: tuple[OperationsAlarm, ...] = ()
    synthetic_since: datetime | None = None
    """When the first invented page was sent; None: they are not in use."""
    synthetic_at: datetime | None = None
    """When one was last answered."""
    untested: tuple[str, ...] = ()
    """Names of people on call whose phone was not confirmed in time."""


class Finding(msgspec.Struct, frozen=True):
    """One trouble."""

    key: str
    reason: str
    """Readable; it is also what the phone says."""
    urgent: bool = True
    """Rings at any hour. False: in calm hours, once a day."""


def findings(seen: Snapshot, s: Settings, now: datetime) -> tuple[Finding, ...]:
    """Everything that is wrong, the worst first."""
    return (
        *_alerts(seen, s, now),
        *_reported(seen, s, now),
        *_switched_off(seen, s, now),
        *_operations(seen),
        *(Finding(f"on-call:{a.alarm_id}", a.detail, a.urgent) for a in seen.alarms),
        *_rota(seen.gap_look, s, now),
        *_tests(seen, s, now),
    )


def blind(since: datetime, problem: str, s: Settings, now: datetime) -> tuple[Finding, ...]:
    """The finding that there is nothing to see."""
    if now < since + timedelta(seconds=s.blind_after_s):
        return ()
    text = f"The database is out of reach since {_clock(since)}. Nobody may be paged meanwhile. {problem}"
    return (Finding("database", text),)


def _alerts(seen: Snapshot, s: Settings, now: datetime) -> Iterator[Finding]:
    for alert in sorted(seen.alerts, key=lambda a: a.fired_at, reverse=True):
        if reason := neglected(alert, s, now):
            key = f"alert:{alert.tenant_id}:{alert.alert_id}"
            yield Finding(key, f"{alert.customer}: {alert.summary}. {reason}")


def _reported(seen: Snapshot, s: Settings, now: datetime) -> Iterator[Finding]:
    for found in sorted(seen.reported, key=lambda r: r.case.fired_at, reverse=True):
        if reason := neglected(found.case, s, now):
            key = f"{found.kind}:{found.case.tenant_id}:{found.case.alert_id}"
            yield Finding(key, f"{found.case.customer}: {found.case.summary}. {reason}")


def neglected(alert: CriticalAlert, s: Settings, now: datetime) -> str | None:
    """Why this alert is not in good hands; None: it is, or it need not be, or there is time yet.

    An answer ends what the desk asks for. Where it still asks long after, the answer was lost on its way: who
    gave it may sleep again, on-call rings for it no more, and nothing would notice."""
    start = max(alert.fired_at, alert.asked_at or alert.fired_at)
    late = now >= start + timedelta(seconds=s.rung_within_s)
    if alert.ticket is None:
        undecided = alert.no_ticket is None and late
        return f"It is known since {_clock(start)} and the desk has decided nothing." if undecided else None
    if alert.asked_at is None:
        forgotten = alert.wanted and not alert.settled and late
        return f"Nobody was asked to ring anybody for ticket {alert.ticket}." if forgotten else None
    if alert.answered_at is not None and _since(alert.answered_at, start):
        unheard = now >= alert.answered_at + timedelta(seconds=s.answered_within_s)
        lost = f"Somebody answered at {_clock(alert.answered_at)}, ticket {alert.ticket} does not know of it."
        return lost if unheard else None
    if late and not _since(alert.rang_at, start):
        return f"No phone has rung for ticket {alert.ticket} since {_clock(start)}."
    if now >= start + timedelta(seconds=s.answered_within_s):
        return f"Nobody has answered for ticket {alert.ticket} since {_clock(start)}."
    return None


def _since(at: datetime | None, start: datetime) -> bool:
    return at is not None and at >= start


def _switched_off(seen: Snapshot, s: Settings, now: datetime) -> Iterator[Finding]:
    off = seen.off
    if off is not None and now >= off.since + timedelta(seconds=s.off_grace_s):
        yield Finding("switch", f"Paging is off since {_clock(off.since)}, by {off.who}: {off.reason}")


def _operations(seen: Snapshot) -> Iterator[Finding]:
    for alarm in seen.operations:
        yield Finding(f"operations:{alarm.alarm_id}", f"Our own operations: {alarm.detail}")


def _rota(look: GapLook | None, s: Settings, now: datetime) -> Iterator[Finding]:
    if look is None:
        yield Finding("rota:never", "Nobody has ever looked for gaps in the rota.", urgent=False)
        return
    if now > look.at + timedelta(seconds=s.gap_check_age_s):
        yield Finding(
            "rota:old", f"The last look for gaps in the rota was at {look.at:%Y-%m-%d %H:%M} UTC.", False
        )
    if look.fault is not None:
        yield Finding("rota:fault", f"The rota could not be looked at: {look.fault}")
    if look.gaps:
        first = look.first_gap_at or now
        near = first <= now + timedelta(seconds=s.gap_urgent_s)
        text = f"{look.gaps} gaps in contracted on-call cover, the first at {first:%Y-%m-%d %H:%M} UTC."
        yield Finding("rota:gap-now" if near else "rota:gaps", text, near)


def _tests(seen: Snapshot, s: Settings, now: datetime) -> Iterator[Finding]:
    last = seen.synthetic_at or seen.synthetic_since
    if last is not None and now > last + timedelta(seconds=s.synthetic_age_s):
        yield Finding("synthetic", f"No invented page has come through since {last:%Y-%m-%d %H:%M} UTC.")
    if seen.untested:
        names = ", ".join(seen.untested)
        yield Finding("untested", f"The phones of these people were not confirmed in time: {names}.", False)


def _clock(at: datetime) -> str:
    return f"{at:%H:%M} UTC"
