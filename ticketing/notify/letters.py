"""Which events of a ticket are told, to whom, and what. Pure.

to the customer   opened (or released), taken in charge, waiting, resolved, reopened
                  by mail to each contact with an address, in its language, and to each webhook
to our own        a step of the escalation matrix, by mail to the people who hold its role;
                  a target at risk or missed, to the support team of the theatre;
                  all of these to the staff's webhook, if there is one
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec

from ticketing.lifecycle import Entry, Kind
from ticketing.published import Person

Channel = Literal["mail", "webhook"]
Topic = Literal[
    "opened",
    "taken",
    "waiting_customer",
    "waiting_third_party",
    "resolved",
    "reopened",
    "escalated",
    "at_risk",
    "missed",
]
TO_STAFF: frozenset[Topic] = frozenset({"escalated", "at_risk", "missed"})
"""What only our own people hear of."""


class Reader(msgspec.Struct, frozen=True):
    """A contact of the customer's with a mail address."""

    email: str
    languages: tuple[str, ...]
    """In order of preference; empty: the ticket's."""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """What is told; kept with the outbox row, so that a retry tells the same."""

    topic: Topic
    language: str
    number: str
    title: str
    customer: str
    deployment: str
    priority: int
    at: datetime
    """When it happened."""
    zone: str
    """IANA zone in which times are told."""
    due_at: datetime | None = None
    """When it must be taken in charge; None: no target, or paused."""
    guaranteed: bool = True
    """False: best effort, or an optional language."""
    proactive: bool = True
    """Opened by monitoring, not by a person."""
    by: str = ""
    """The person who took it in charge."""
    reason: str = ""
    """For resolutions and waiting: what a person wrote."""
    reasons: tuple[dict[str, Any], ...] = ()
    """How the deadline follows, as stored reasons."""
    after_h: int = 0
    """For escalations: working hours since opening."""
    role: str = ""
    """For escalations."""


class Letter(msgspec.Struct, frozen=True):
    """One thing to send."""

    event_seq: int
    channel: Channel
    recipient: str
    """An address or a URL."""
    message: Message


class Surroundings(msgspec.Struct, frozen=True):
    """What must be known of a ticket's customer to tell it."""

    number: str
    title: str
    customer: str
    deployment: str
    zone: str
    language: str
    proactive: bool
    guaranteed: bool
    readers: tuple[Reader, ...]
    webhooks: tuple[str, ...]
    """URLs."""
    titles: dict[str, str] = {}
    """The title in other languages than English, for customers."""
    reasons: tuple[dict[str, Any], ...] = ()
    """How the deadline follows, as stored reasons."""


def topic_of(entry: Entry) -> Topic | None:
    """What an entry is told as; None: it is not told."""
    match entry.kind:
        case Kind.OPENED:
            return None if entry.detail.get("held") else "opened"
        case Kind.RELEASED:
            return "opened"
        case Kind.TAKEN:
            return "taken"
        case Kind.PAUSED:
            customer = entry.detail.get("waiting_for") == "customer"
            return "waiting_customer" if customer else "waiting_third_party"
        case Kind.RESOLVED:
            return "resolved"
        case Kind.REOPENED:
            return "reopened"
        case Kind.ESCALATED:
            return "escalated"
        case Kind.AT_RISK:
            return "at_risk"
        case Kind.BREACHED | Kind.MISSED:
            return "missed"
        case _:
            return None


def letters(
    entries: Sequence[Entry],
    known: Surroundings,
    staff: Sequence[Person],
    priority: int,
    due_at: datetime | None,
    staff_webhook: str = "",
) -> Iterator[Letter]:
    """Everything that these recorded entries must tell."""
    for entry in entries:
        topic = topic_of(entry)
        if topic in TO_STAFF:
            yield from _to_staff(entry, topic, known, staff, priority, due_at)
            if staff_webhook:
                message = _message(entry, topic, known, priority, due_at, "en")
                yield Letter(entry.seq, "webhook", staff_webhook, message)
        elif topic is not None:
            yield from _to_customer(entry, topic, known, priority, due_at)


def _to_customer(
    entry: Entry, topic: Topic, known: Surroundings, priority: int, due_at: datetime | None
) -> Iterator[Letter]:
    for reader in known.readers:
        language = reader.languages[0] if reader.languages else known.language
        message = _message(entry, topic, known, priority, due_at, language)
        yield Letter(entry.seq, "mail", reader.email, message)
    message = _message(entry, topic, known, priority, due_at, known.language)
    for url in known.webhooks:
        yield Letter(entry.seq, "webhook", url, message)


def _to_staff(
    entry: Entry,
    topic: Topic,
    known: Surroundings,
    staff: Sequence[Person],
    priority: int,
    due_at: datetime | None,
) -> Iterator[Letter]:
    reached = set(entry.detail.get("people", ()))
    for person in staff:
        if person.key in reached and person.email is not None:
            language = person.languages[0] if person.languages else "en"
            message = _message(entry, topic, known, priority, due_at, language)
            yield Letter(entry.seq, "mail", person.email, message)


def _message(
    entry: Entry,
    topic: Topic,
    known: Surroundings,
    priority: int,
    due_at: datetime | None,
    language: str,
) -> Message:
    by_person = topic in ("waiting_customer", "waiting_third_party", "resolved") and not entry.detail.get(
        "auto"
    )
    return Message(
        topic=topic,
        language=language,
        number=known.number,
        title=known.title if topic in TO_STAFF else known.titles.get(language, known.title),
        customer=known.customer,
        deployment=known.deployment,
        priority=priority,
        at=entry.at,
        zone=known.zone,
        due_at=due_at,
        guaranteed=known.guaranteed,
        proactive=known.proactive,
        by=str(entry.detail.get("by", "")),
        reason=entry.reason if by_person else "",
        reasons=known.reasons if topic in ("opened", "reopened") else (),
        after_h=int(entry.detail.get("after_h", 0)),
        role=str(entry.detail.get("role", "")),
    )


def webhook_payload(message: Message) -> dict[str, Any]:
    """The JSON that a webhook gets: ``type``, ``timestamp``, ``data`` (Standard Webhooks)."""
    data: dict[str, Any] = msgspec.to_builtins(message)
    return {"type": f"ticket.{message.topic}", "timestamp": data["at"], "data": data}
