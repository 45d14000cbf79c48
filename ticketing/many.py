"""Many alerts in one transaction: claimed together, read together, their progress saved together.

    with a batch   claim (rows that another desk holds are skipped) -> read -> decide -> save
    settle         those of which nothing is to be acted on: muted, recovering, ended without a ticket of
                   their own; alerts of a storm that end are noted on its ticket, once for the batch

What a batch does not settle is handled singly by the caller, as is all of it when the batch fails: an alert
that makes trouble fails, is retried and parked alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from alerting.published import Alert, AlertKey, alerts_of, transitions_of
from storage.sql import Queries
from ticketing import casebook, family
from ticketing.casebook import Case
from ticketing.lifecycle import DESK, Entry, Kind, State
from ticketing.opening import Document, heading
from ticketing.settings import Settings
from ticketing.walk import Progress, Walk, walk

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]
Link = tuple[int, bool]
"""Ticket id, and whether it is a storm's."""


class Claimed(msgspec.Struct, frozen=True):
    """One alert in hand."""

    alert: Alert
    came: Walk
    links: tuple[Link, ...]
    """The tickets that it fires for, as of before."""

    @property
    def key(self) -> AlertKey:
        return (self.alert.tenant_id, self.alert.alert_id)

    @property
    def quiet(self) -> bool:
        """Nothing is to be acted on, and nothing hangs on it but a storm's ticket."""
        return self.came.acts is None and (self.came.ended is None or all(storm for _, storm in self.links))


def columns(keys: Sequence[AlertKey]) -> dict[str, list[int]]:
    """Keys as parameters of a statement."""
    return {"tenants": [key[0] for key in keys], "alerts": [key[1] for key in keys]}


async def claim(conn: Connection, keys: Sequence[AlertKey], now: datetime) -> list[Claimed]:
    """Those of ``keys`` that no other desk has, locked, with what they ask for."""
    rows = await (await conn.execute(Q.claim_many, columns(keys) | {"now": now})).fetchall()
    held = {(row[0], row[1]): Progress(*row[2:]) for row in rows}
    found = await alerts_of(conn, list(held))
    steps = await transitions_of(conn, {key: held[key].handled_seq for key in found})
    links = await _links(conn, list(found))
    return [
        Claimed(alert, walk(held[key], alert, steps[key], now), tuple(links[key]))
        for key, alert in found.items()
    ]


async def _links(conn: Connection, keys: Sequence[AlertKey]) -> dict[AlertKey, list[Link]]:
    links: dict[AlertKey, list[Link]] = defaultdict(list)
    for tenant_id, alert_id, ticket_id, storm in await (
        await conn.execute(Q.firing_links, columns(keys))
    ).fetchall():
        links[tenant_id, alert_id].append((ticket_id, storm))
    return links


async def save(conn: Connection, done: Sequence[Claimed], progress: Sequence[Progress]) -> None:
    """How far these alerts have been handled."""
    given: dict[str, Any] = {
        "seqs": [p.handled_seq for p in progress],
        "firing": [p.firing for p in progress],
        "priorities": [p.priority for p in progress],
        "looks": [p.look_again_at for p in progress],
    }
    await conn.execute(Q.save_many, given | columns([one.key for one in done]))


async def record_no_tickets(
    conn: Connection, found: Sequence[tuple[AlertKey, int, Sequence[Document]]], outcome: str, now: datetime
) -> None:
    """Why these alerts get no ticket: (alert, transition, record)."""
    given = {
        "seqs": [seq for _, seq, _ in found],
        "decisions": [Jsonb(list(decision)) for *_, decision in found],
        "outcome": outcome,
        "now": now,
    }
    await conn.execute(Q.record_no_tickets, given | columns([key for key, *_ in found]))


async def settle(
    conn: Connection, settings: Settings, now: datetime, keys: Sequence[AlertKey]
) -> tuple[int, list[AlertKey]]:
    """Settle what is quiet of ``keys`` in the caller's transaction: how many, and those left."""
    claimed = await claim(conn, keys, now)
    quiet = [one for one in claimed if one.quiet]
    if quiet:
        muted = list(_muted(quiet))
        if muted:
            await record_no_tickets(conn, muted, "muted", now)
        await save(conn, quiet, [one.came.progress for one in quiet])
        await _ended(conn, settings, now, quiet)
    return len(quiet), [one.key for one in claimed if not one.quiet]


def _muted(quiet: Sequence[Claimed]) -> Iterator[tuple[AlertKey, int, Sequence[Document]]]:
    for one in quiet:
        if one.came.muted is not None:
            seq, why = one.came.muted
            yield one.key, seq, [heading("muted", text=why)]


async def _ended(conn: Connection, settings: Settings, now: datetime, quiet: Sequence[Claimed]) -> None:
    """Alerts of storms that have ended, storm by storm; all their tickets are locked before any child's."""
    storms: dict[tuple[int, int], list[Claimed]] = defaultdict(list)
    for one in quiet:
        if one.came.ended is not None:
            for ticket_id, _ in one.links:
                storms[one.alert.tenant_id, ticket_id].append(one)
    cases = {key: await casebook.load(conn, *key) for key in sorted(storms)}
    for key, case in cases.items():
        await _abated(conn, settings, now, case, key, storms[key])


async def _abated(
    conn: Connection,
    settings: Settings,
    now: datetime,
    case: Case | None,
    ticket: tuple[int, int],
    ended: Sequence[Claimed],
) -> None:
    """These alerts of a storm's ticket have ended; with the last one it recovers.

    The ticket is locked before what still fires is counted: of two desks the later one sees the other's."""
    key = dict(zip(("tenant_id", "ticket_id"), ticket, strict=True))
    await conn.execute(Q.quiet_many, key | {"alerts": [one.alert.alert_id for one in ended]})
    row = await (await conn.execute(Q.still_firing, key)).fetchone()
    if case is None or row is None or case.status.state is State.CLOSED:
        return
    left: int = row[0]
    detail = {"alerts": len(ended), "firing": left}
    if left:
        case.add(Entry(now, Kind.NOTE, DESK, detail, f"{len(ended)} alerts have ended; {left} still fire"))
    else:
        text = f"{len(ended)} alerts have ended, the last: {ended[-1].came.ended}"
        case.add(Entry(now, Kind.RECOVERED, DESK, detail, text))
    await casebook.save(conn, case, now, settings)
    if not left:
        await family.let_go(conn, case, now, settings)
