"""What has happened so far, told in plain words. Pure: facts in, new lines and a timeline out.

The facts are what the collector's own API says; nothing here is assumed. Each line is told once.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from ucx_proactive.demo.mailbox import Mail


class Line(msgspec.Struct, frozen=True):
    """One line of on-call's own timeline of a page request."""

    no: int
    at: datetime
    kind: str
    text: str


class Facts(msgspec.Struct, frozen=True):
    """What the API answered at one look. None: not (yet) there."""

    first_sample_at: datetime | None = None
    reading: str = ""
    """One newest reading in words."""
    stored: int = 0
    """Series that the collector holds a value of."""
    alert_id: int | None = None
    alert_state: str | None = None
    alert_since: datetime | None = None
    """When the threshold was crossed (sample time)."""
    alert_summary: str = ""
    alert_reason: str = ""
    ticket_number: str | None = None
    ticket_priority: int | None = None
    ticket_state: str = ""
    ticket_opened_at: datetime | None = None
    ticket_due_at: datetime | None = None
    ticket_taken_by: str = ""
    acknowledged_at: datetime | None = None
    decision: tuple[str, ...] = ()
    """Reasons of the ticket, or of no ticket."""
    refused: bool = False
    """The desk decided that there is no ticket."""
    paging: tuple[Line, ...] = ()
    mails: tuple[Mail, ...] = ()
    """What arrived at the customer's mail server and our own."""


class Timeline(msgspec.Struct, frozen=True):
    """The measured times of one run (what ``--json`` writes). None: did not happen."""

    customer: str
    fault: str
    first_sample_at: datetime | None = None
    threshold_crossed_at: datetime | None = None
    ticket_opened_at: datetime | None = None
    ringing_at: datetime | None = None
    acknowledged_at: datetime | None = None
    ticket_number: str | None = None
    priority: int | None = None
    """Of the ticket."""
    mails: tuple[str, ...] = ()
    """Subjects of the mails that arrived."""

    @property
    def crossing_to_ringing_s(self) -> float | None:
        """Seconds from the threshold's crossing to the first ringing."""
        if self.threshold_crossed_at is None or self.ringing_at is None:
            return None
        return (self.ringing_at - self.threshold_crossed_at).total_seconds()


class Told(msgspec.Struct, frozen=True):
    """A sentence, and the moment it speaks of (None: now)."""

    key: str
    """Tells it from all other sentences; each is told once."""
    text: str
    at: datetime | None = None


def timeline(facts: Facts, customer: str, fault: str) -> Timeline:
    """The times known so far."""
    ringing = [line.at for line in facts.paging if line.kind == "ringing"]
    return Timeline(
        customer=customer,
        fault=fault,
        first_sample_at=facts.first_sample_at,
        threshold_crossed_at=facts.alert_since,
        ticket_opened_at=facts.ticket_opened_at,
        ringing_at=min(ringing, default=None),
        acknowledged_at=facts.acknowledged_at,
        ticket_number=facts.ticket_number,
        priority=facts.ticket_priority,
        mails=tuple(mail.subject for mail in facts.mails),
    )


def sentences(facts: Facts) -> Iterator[Told]:
    """Everything that can be said now, in the order in which it happened."""
    if facts.first_sample_at:
        yield Told("sample", f"first reading stored ({facts.reading})", facts.first_sample_at)
    if facts.alert_state:
        yield from _alert(facts)
    if facts.ticket_number:
        yield from _ticket(facts)
    elif facts.refused:
        yield Told("refused", "no ticket, and this is why:")
        yield from _reasons(facts)
    yield from _paging(facts)
    yield from _mails(facts)
    if facts.acknowledged_at:
        yield Told(
            "taken",
            f"taken in charge by {facts.ticket_taken_by}: the SLA clock of {facts.ticket_number} stops, met",
            facts.acknowledged_at,
        )


def _alert(facts: Facts) -> Iterator[Told]:
    key = f"alert {facts.alert_id}"
    yield Told(f"{key} pending", f"threshold crossed: {facts.alert_summary}", facts.alert_since)
    if facts.alert_reason:
        yield Told(f"{key} firing", f"alert fires: {facts.alert_reason}")
    if facts.alert_state in ("recovering", "resolved"):
        yield Told(f"{key} recovering", "the condition is clear again")
    if facts.alert_state == "resolved":
        yield Told(f"{key} resolved", "alert resolved" if facts.alert_reason else "it passed before it fired")


def calm(facts: Facts) -> bool:
    """Nothing is wrong now."""
    return facts.first_sample_at is not None and facts.alert_state in (None, "resolved", "stale")


def _ticket(facts: Facts) -> Iterator[Told]:
    yield Told(
        f"ticket {facts.ticket_number}",
        f"ticket {facts.ticket_number} opened, P{facts.ticket_priority}, {_due(facts)}. Why:",
        facts.ticket_opened_at,
    )
    yield from _reasons(facts)


def _due(facts: Facts) -> str:
    if facts.ticket_due_at is None:
        return "no deadline"
    return f"to be taken in charge by {facts.ticket_due_at:%a %d %b %H:%M:%S} UTC"


def _reasons(facts: Facts) -> Iterator[Told]:
    for number, reason in enumerate(facts.decision):
        yield Told(f"reason {number}", f"    - {reason}")


def _paging(facts: Facts) -> Iterator[Told]:
    before = ""
    for line in facts.paging:
        # A pick-up is told by the call's own question and then by its status; a person hears of it once.
        if line.text != before:
            yield Told(f"paging {line.no}", line.text, line.at)
        before = line.text


def _mails(facts: Facts) -> Iterator[Told]:
    for mail in facts.mails:
        text = f"a mail reached {mail.recipient} ({mail.language}): {mail.subject}"
        yield Told(f"mail {mail.file.name}", text, mail.at)
        yield Told(f"mail file {mail.file.name}", f"    kept as {mail.file.with_suffix('')}.eml, .txt, .html")
