"""A storm: many problems of one site at once. One ticket stands for them, as it would for the site's silence.

    rises     so many problems of a site within the window, new ones and those with a ticket already
    opens     one ticket of the whole site, as urgent as the worst of them; tickets that hosts have become its
              children (ticketing/family.py), the new alerts hang on it without tickets of their own
    takes in  further problems of the site, for a while, unless they began after somebody took it in charge:
              those ring; what is worse than the ticket raises it, and that rings again
    abates    each alert's end is matched with its link; with the last one the ticket recovers
    is over   what still fires some time after its resolution is decided on its own

Nothing is dropped: every alert is linked to the ticket in the transaction that saves its progress.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting.published import AlertKey
from storage.sql import Queries
from ticketing import casebook, family, many
from ticketing.casebook import Case, NewTicket
from ticketing.circumstances import circumstances
from ticketing.lifecycle import DESK, Entry, Kind, is_open
from ticketing.many import Claimed
from ticketing.opening import Opening, alert_priority, decide, said
from ticketing.settings import Settings
from ticketing.walk import Progress

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]
FLAG = "storm"
"""Of a ticket that stands for a storm."""
Site = tuple[int, int]
"""Tenant id, deployment id."""


class Due(msgspec.Struct, frozen=True):
    """An alert that waits for the desk, as found without a lock."""

    tenant_id: int
    alert_id: int
    deployment_id: int
    quiet: bool
    """Nothing is to be acted on."""
    partial: bool
    """Of a host or a part of the site, not of the site as a whole."""
    problem_key: str
    fired_at: datetime

    @property
    def key(self) -> AlertKey:
        return (self.tenant_id, self.alert_id)

    @property
    def site(self) -> Site:
        return (self.tenant_id, self.deployment_id)


def rising(due: Iterable[Due], lately: Iterable[tuple[Site, str, datetime]], settings: Settings) -> set[Site]:
    """The sites with a storm: new problems and those with tickets, within one window back from the newest."""
    if not settings.storm_problems:
        return set()
    begun: dict[Site, dict[str, datetime]] = defaultdict(dict)
    for site, problem, at in [*lately, *((d.site, d.problem_key, d.fired_at) for d in due)]:
        begun[site][problem] = max(at, begun[site].get(problem, at))
    window = timedelta(minutes=settings.storm_window_min)
    return {site for site, problems in begun.items() if _within(problems, window) >= settings.storm_problems}


def _within(problems: dict[str, datetime], window: timedelta) -> int:
    newest = max(problems.values())
    return sum(newest - at <= window for at in problems.values())


async def sites(conn: Connection, settings: Settings, now: datetime, due: Sequence[Due]) -> dict[Site, bool]:
    """The sites of these alerts where a storm rises (true), or one still takes alerts in."""
    wanted = sorted({one.site for one in due})
    if not wanted or not settings.storm_problems:
        return {}
    given: dict[str, Any] = {"tenants": [s[0] for s in wanted], "deployments": [s[1] for s in wanted]}
    newest = max(one.fired_at for one in due)
    since = {"since": min(newest, now) - timedelta(minutes=settings.storm_window_min)}
    rows = await (await conn.execute(Q.lately_opened, given | since)).fetchall()
    since = {"since": now - timedelta(minutes=settings.storm_join_min)}
    raging = await (await conn.execute(Q.storms, given | since)).fetchall()
    rose = rising(due, [((r[0], r[1]), r[2], r[3]) for r in rows], settings)
    return {site: site in rose for site in sorted(rose | {(r[0], r[1]) for r in raging})}


async def take_in(
    conn: Connection, settings: Settings, now: datetime, site: Site, due: Sequence[Due], *, rose: bool
) -> set[AlertKey]:
    """Hang these alerts of a site on its storm's ticket in the caller's transaction; which were handled.

    ``rose``: there are enough of them for a new one."""
    await conn.execute(Q.lock_problem, {"tenant_id": site[0], "problem_key": f"storm of {site[1]}"})
    case = await _open_one(conn, settings, now, site)
    claimed = await many.claim(conn, [one.key for one in due], now)
    own = await _with_ticket(conn, site[0], claimed)
    acting = [one for one in claimed if one.came.acts is not None and one.alert.problem_key not in own]
    joining = [one for one in acting if case is not None and _joins(one, case)]
    if case is not None and joining:
        await _more(conn, settings, now, case, joining)
    fresh = [one for one in acting if one not in joining]
    if not rose or len(fresh) < (1 if case is None else settings.storm_problems):
        return {one.key for one in joining}
    await _begin(conn, settings, now, site, fresh)
    return {one.key for one in acting}


async def _open_one(conn: Connection, settings: Settings, now: datetime, site: Site) -> Case | None:
    since = now - timedelta(minutes=settings.storm_join_min)
    given = {"tenant_id": site[0], "deployment_id": site[1], "since": since}
    return await casebook.loaded(conn, await (await conn.execute(Q.lock_storm, given)).fetchone())


def _joins(one: Claimed, storm: Case) -> bool:
    """Whether an alert began before somebody took the storm in charge: what began later rings on its own."""
    since, began = _answered_for_since(storm), one.alert.fired_at
    return since is None or began is None or began <= since


def _answered_for_since(storm: Case) -> datetime | None:
    """Since when nobody is rung for it because a person answers for it, taken or not; None: nobody does."""
    status = storm.status
    if status.taken_at is not None or not status.attended:
        return status.taken_at
    return min(entry.at for entry in storm.history if entry.actor != DESK)


async def _with_ticket(conn: Connection, tenant_id: int, claimed: Sequence[Claimed]) -> set[str]:
    """The problems of these alerts that have a ticket of their own: that one speaks for them."""
    given = {"tenant_id": tenant_id, "problems": [one.alert.problem_key for one in claimed]}
    rows = await (await conn.execute(Q.problems_with_ticket, given)).fetchall()
    return {row[0] for row in rows}


# --- a new one -------------------------------------------------------------------------------------------


async def _begin(
    conn: Connection, settings: Settings, now: datetime, site: Site, taken: Sequence[Claimed]
) -> None:
    """Decide once for all of them; open the ticket, or record why there is none."""
    worst = min(taken, key=lambda one: (one.came.acts or 4, one.alert.alert_id))
    opening = decide(await circumstances(conn, *site), worst.came.acts or 4, "proactive", now)
    if opening.ticket:
        case = await casebook.create(conn, _new_ticket(opening, site, worst, taken, settings, now), settings)
        await _link(conn, case, taken)
        over = await _is_over(conn, case, taken, now)
        await casebook.save(conn, case, now, settings)
        if not (opening.held or over):
            await family.adopt(conn, case, now, settings, site[1])
    else:
        again = now + timedelta(seconds=settings.reconsider_s)
        await many.save(conn, taken, [_again(one, again) for one in taken])
        record = [(one.key, one.came.progress.handled_seq, opening.reasons) for one in taken]
        await many.record_no_tickets(conn, record, opening.outcome, now)


def _again(one: Claimed, at: datetime) -> Progress:
    looks = at if one.came.progress.firing else None
    return msgspec.structs.replace(one.came.progress, look_again_at=looks)


def _new_ticket(
    opening: Opening,
    site: Site,
    worst: Claimed,
    taken: Sequence[Claimed],
    settings: Settings,
    now: datetime,
) -> NewTicket:
    alert = worst.alert
    tenant, deployment = alert.problem_key.split("/")[:2]
    count = len({one.alert.problem_key for one in taken})
    why = (
        f"{settings.storm_problems} problems of {deployment} or more began within "
        f"{settings.storm_window_min:g} min: one ticket stands for them; the worst: {worst.came.reason}"
    )
    detail = {"priority": opening.priority, "held": opening.held, "alert": alert.alert_id, "alerts": count}
    return NewTicket(
        tenant_id=site[0],
        deployment_id=site[1],
        host_id=None,
        alert_id=alert.alert_id,
        problem_key=f"{tenant}/{deployment}/(storm)/{now:%Y-%m-%dT%H:%M:%SZ}/{alert.alert_id}",
        channel="proactive",
        title=f"Many problems at once at {deployment}; the worst: {alert.summary}",
        language=opening.language,
        flags=(*opening.flags, FLAG),
        terms=opening.terms,
        decision=(said(why), *opening.reasons),
        opened=Entry(now, Kind.OPENED, DESK, detail, why),
    )


# --- one that is there -----------------------------------------------------------------------------------


async def _more(
    conn: Connection, settings: Settings, now: datetime, case: Case, taken: Sequence[Claimed]
) -> None:
    """More of the same: linked, noted once, and the ticket raised to the worst of them."""
    new = await _link(conn, case, taken)
    worst = min(taken, key=lambda one: (one.came.acts or 4, one.alert.alert_id))
    text = f"{new} more problems of the site, the worst: {worst.alert.summary}: {worst.came.reason}"
    kind = Kind.NOTE if case.status.recovered_at is None else Kind.REFIRED
    case.add(Entry(now, kind, DESK, {"alerts": new, "alert": worst.alert.alert_id}, text))
    priority = alert_priority(case.terms, case.status.plan, worst.came.acts or 4)
    if is_open(case.status.state) and priority < case.status.priority:
        detail = {"from": case.status.priority, "to": priority}
        case.add(Entry(now, Kind.PRIORITY, DESK, detail, f"an alert of the storm is worse: {text}"))
    over = await _is_over(conn, case, taken, now)
    await casebook.save(conn, case, now, settings)
    if over:
        await family.let_go(conn, case, now, settings)


async def _link(conn: Connection, case: Case, taken: Sequence[Claimed]) -> int:
    """Hang the alerts on the ticket and save their progress; returns how many are new to it."""
    given = {
        "tenant_id": case.tenant_id,
        "ticket_id": case.ticket_id,
        "alerts": [one.alert.alert_id for one in taken],
        "firing": [one.came.progress.firing for one in taken],
    }
    row = await (await conn.execute(Q.link_many, given)).fetchone()
    await many.save(conn, taken, [one.came.progress for one in taken])
    return int(row[0]) if row else 0


async def _is_over(conn: Connection, case: Case, taken: Sequence[Claimed], now: datetime) -> bool:
    """True, and recovered (not saved yet), when no alert of the ticket fires: those that were hung on it had
    ended before the desk saw them, and no later end of theirs will come."""
    key = {"tenant_id": case.tenant_id, "ticket_id": case.ticket_id}
    row = await (await conn.execute(Q.still_firing, key)).fetchone()
    if row is None or row[0]:
        return False
    reasons = [one.came.ended for one in taken if one.came.ended is not None]
    text = f"{len(reasons)} alerts have ended, the last: {reasons[-1] if reasons else 'unknown'}"
    case.add(Entry(now, Kind.RECOVERED, DESK, {"alerts": len(reasons), "firing": 0}, text))
    return True
