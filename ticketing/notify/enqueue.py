"""Putting what must be told into the outbox, in the transaction of the event it tells."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from storage.sql import Queries
from ticketing import terms
from ticketing.lifecycle import Entry
from ticketing.notify.letters import Letter, Reader, Surroundings, letters, topic_of
from ticketing.published import people
from ticketing.releases import load_releases, release_named
from ticketing.settings import Settings

Q = Queries.load("ticketing.notify")
Connection = AsyncConnection[Any]
_TOLD = ("target-", "calendar-", "deadline-", "asia-pacific-hours", "no-sla-by-channel")
"""Codes of the reasons that a customer is told."""


async def enqueue(
    conn: Connection,
    settings: Settings,
    key: tuple[int, int],
    recorded: Sequence[Entry],
    priority: int,
    due_at: datetime | None,
    reasons: Sequence[dict[str, Any]],
    now: datetime,
) -> None:
    """Queue what these newly recorded entries of the ticket ``key`` (tenant id, ticket id) must tell.

    ``reasons``: the clock's arithmetic as stored reasons, of which the target's and deadline's are told."""
    told = [entry for entry in recorded if topic_of(entry) is not None]
    known = await _surroundings(conn, key) if told else None
    if known is None:
        return
    why = tuple(reason for reason in reasons if str(reason["code"]).startswith(_TOLD))
    known = msgspec.structs.replace(known, reasons=why)
    staff = await people(conn)
    for letter in letters(told, known, staff, priority, due_at, settings.staff_webhook_url):
        if letter.channel == "webhook" or settings.smtp_host:
            await conn.execute(Q.insert_letter, _values(key, letter, now))


def _values(key: tuple[int, int], letter: Letter, now: datetime) -> dict[str, Any]:
    return {
        "tenant_id": key[0],
        "ticket_id": key[1],
        "event_seq": letter.event_seq,
        "channel": letter.channel,
        "recipient": letter.recipient,
        "message": Jsonb(msgspec.to_builtins(letter.message)),
        "message_id": uuid4(),
        "now": now,
    }


async def _surroundings(conn: Connection, key: tuple[int, int]) -> Surroundings | None:
    values = {"tenant_id": key[0], "ticket_id": key[1]}
    row = await (await conn.execute(Q.surroundings, values)).fetchone()
    if row is None:
        return None
    number, title, titles, customer, facts, deployment, zone, language, channel, snapshot, deployment_id = row
    contacts = {"tenant_id": key[0], "deployment_id": deployment_id}
    readers = await (await conn.execute(Q.readers, contacts)).fetchall()
    return Surroundings(
        number=number,
        title=title,
        titles=titles,
        customer=customer,
        deployment=deployment,
        zone=zone,
        language=language,
        proactive=channel == "proactive",
        guaranteed=_guaranteed(snapshot),
        readers=tuple(Reader(email, tuple(languages)) for email, languages in readers),
        webhooks=tuple(hook["url"] for hook in facts.get("webhooks", ())),
    )


def _guaranteed(snapshot: dict[str, Any]) -> bool:
    """Whether the ticket's target is more than best effort."""
    binding = terms.from_document(snapshot["terms"])
    return terms.sla(release_named(load_releases(), binding.release), binding) is terms.Sla.GUARANTEED
