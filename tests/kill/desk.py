"""The desk's part of a run: tickets whose steps are long due, an item that nobody can handle, and the books.

Seeded tickets are reports of a Gold customer's, opened three weeks ago: every step of the escalation matrix
is due at once, and both desks fall upon them. What must be taken is told by the pure core beforehand.

The poisoned item is an alert of a deployment whose stored document no longer reads. It must be parked and
shown, and nothing else may wait for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec
from psycopg import AsyncConnection

from ticketing import looks, reading, reports
from ticketing.actions import Actor
from ticketing.settings import Settings
from ticketing.shapes import NewTicketBody
from wire.clock import utcnow

SEEDED, POISONED = "seeded", "poisoned"
"""Tenants."""
Steps = Mapping[str, frozenset[str]]
"""Ticket number -> the steps that must be taken, each once."""


class Desk(msgspec.Struct, frozen=True):
    """What the database says about the desk's work."""

    steps: dict[str, Counter[str]]
    """Ticket number -> steps that its history holds."""
    histories: dict[str, list[str]]
    """Ticket number -> what happened, in the order of its history."""
    behind: tuple[str, ...]
    """Alerts with transitions that nobody has handled, or whose end their ticket does not know."""
    unasked: tuple[str, ...]
    """Numbers of tickets that must ring and never asked for a page."""
    parked: tuple[str, ...]
    """Tenants of parked items, as the API shows them."""


async def poison(conn: AsyncConnection[Any]) -> None:
    """Make the stored document of a deployment unreadable, and let an alert of it fire."""
    await conn.execute(_POISON.encode(), {"tenant": POISONED})
    row = await (await conn.execute(_ALERT.encode(), {"tenant": POISONED, "now": utcnow()})).fetchone()
    assert row is not None, "the registry has this tenant"
    for seq, state in enumerate(("pending", "firing"), start=1):
        values = {"tenant_id": row[0], "alert_id": row[1], "seq": seq, "state": state, "now": utcnow()}
        await conn.execute(_TRANSITION.encode(), values)


async def seed(conn: AsyncConnection[Any], priority: int) -> dict[str, frozenset[str]]:
    """Store a report that was made three weeks ago; its number and the steps that are due since."""
    opened, settings = utcnow() - timedelta(weeks=3), Settings()
    body = NewTicketBody(tenant=SEEDED, deployment="main", channel="phone", priority=priority, title="Seeded")
    case, _ = await reports.report(conn, settings, opened, Actor("kill", "driver"), body)
    due = looks.due(case.terms, case.history, utcnow(), settings)
    return {case.number: frozenset(entry.step for entry in due if entry.step is not None)}


async def read(conn: AsyncConnection[Any]) -> Desk:
    """Everything to be compared, as it stands."""
    steps: dict[str, Counter[str]] = {}
    histories: dict[str, list[str]] = {}
    for number, kind, step in await (await conn.execute(_EVENTS.encode())).fetchall():
        histories.setdefault(number, []).append(kind)
        if step is not None:
            steps.setdefault(number, Counter())[step] += 1
    behind = await (await conn.execute(_BEHIND.encode(), {"poisoned": POISONED})).fetchall()
    unasked = await (await conn.execute(_UNASKED.encode())).fetchall()
    tenants = dict(await (await conn.execute(b"SELECT tenant_id, key FROM tenant")).fetchall())
    return Desk(
        steps=steps,
        histories=histories,
        behind=tuple(row[0] for row in behind),
        unasked=tuple(row[0] for row in unasked),
        parked=tuple(tenants[item["tenant_id"]] for item in await reading.parked(conn)),
    )


def settled(desk: Desk, seeded: Steps) -> bool:
    """Whether the desk has come to rest: nothing left to catch up with."""
    taken = all(seeded[number] <= desk.steps.get(number, Counter()).keys() for number in seeded)
    return taken and not desk.behind and POISONED in desk.parked


def faults(desk: Desk, seeded: Steps) -> dict[str, list[str]]:
    """Everything that is wrong with the desk's work, by kind. Pure."""
    return {
        "steps": [*_missing(desk, seeded), *_repeated(desk)],
        "order": list(_misordered(desk.histories)),
        "behind": list(desk.behind),
        "unasked": [f"{number} must ring, and asked for no page" for number in desk.unasked],
        "parked": list(_parked(desk.parked)),
    }


def _missing(desk: Desk, seeded: Steps) -> Iterator[str]:
    for number, wanted in seeded.items():
        found = desk.steps.get(number, Counter()).keys()
        yield from (f"{number}: {step} was never taken" for step in sorted(wanted - found))


def _repeated(desk: Desk) -> Iterator[str]:
    for number, taken in desk.steps.items():
        yield from (f"{number}: {step} x {n}" for step, n in taken.items() if n > 1)


def _misordered(histories: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """A history begins with its opening; an end follows a beginning; nothing is taken in charge unopened."""
    for number, kinds in histories.items():
        if kinds[0] != "opened" or kinds.count("opened") > 1:
            yield f"{number}: {', '.join(kinds)}: an opening stands first, once"
        turns = [kind for kind in kinds if kind in ("recovered", "refired", "reopened")]
        if any((kind == "recovered") != (n % 2 == 0) for n, kind in enumerate(turns)):
            yield f"{number}: opened, {', '.join(turns)}: an end follows a beginning"


def _parked(tenants: Sequence[str]) -> Iterator[str]:
    if POISONED not in tenants:
        yield "the poisoned alert is not shown as parked"
    yield from (f"an item of {tenant} was parked" for tenant in tenants if tenant != POISONED)


_POISON = """
UPDATE deployment SET facts = '{"products": "not a list"}'
 WHERE tenant_id = (SELECT tenant_id FROM tenant WHERE key = %(tenant)s)
"""
_ALERT = """
INSERT INTO alert (tenant_id, deployment_id, rule_id, instance, problem_key, state, priority, since, fired_at,
                   summary, changed_at, last_seq)
SELECT tenant_id, deployment_id, 'poison', '', 'poisoned/main/host/poison/', 'firing', 1, %(now)s, %(now)s,
       'an alert that the desk cannot handle', now(), 2
  FROM deployment JOIN tenant t USING (tenant_id) WHERE t.key = %(tenant)s
RETURNING tenant_id, alert_id
"""
_TRANSITION = """
INSERT INTO alert_transition (tenant_id, alert_id, seq, at, recorded_at, to_state, priority, reason)
VALUES (%(tenant_id)s, %(alert_id)s, %(seq)s, %(now)s, %(now)s, %(state)s, 1, 'poison')
"""
_EVENTS = """
SELECT t.number, e.kind, e.step FROM ticket_event e JOIN ticket t USING (tenant_id, ticket_id)
 ORDER BY t.ticket_id, e.seq
"""
_BEHIND = """
SELECT format('alert %%s: %%s of %%s transitions handled', a.alert_id, coalesce(p.handled_seq, 0), a.last_seq)
  FROM alert a JOIN tenant t USING (tenant_id) LEFT JOIN desk_progress p USING (tenant_id, alert_id)
 WHERE a.fired_at IS NOT NULL AND coalesce(p.handled_seq, 0) < a.last_seq AND t.key <> %(poisoned)s
UNION ALL
SELECT format('alert %%s is %%s, its ticket %%s takes it for firing', a.alert_id, a.state, k.number)
  FROM ticket_alert l JOIN alert a USING (tenant_id, alert_id) JOIN ticket k USING (tenant_id, ticket_id)
 WHERE l.firing AND a.state IN ('resolved', 'stale')
"""
_UNASKED = """
SELECT k.number FROM ticket k JOIN tenant t USING (tenant_id)
 WHERE t.key = 'patient'
   AND NOT EXISTS (SELECT FROM page_request r WHERE r.tenant_id = k.tenant_id AND r.ticket_id = k.ticket_id
                      AND r.audience = 'technician')
"""
