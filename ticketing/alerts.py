"""What an alert's transitions do to tickets: the desk's casework, one alert per transaction.

    fires (again)   no ticket of this problem   -> decide: ticket, held ticket, or a no-ticket record
                    a resolved one, recently    -> reopened; longer ago: closed, and a new episode
                    an open one                 -> linked; priority raised where the alert is worse
    worsens         the same, with the new priority
    ends            -> noted once nothing of the problem fires any more; paging ends with that reason

Everything of one alert is decided in the order of its transitions and committed at once with the progress.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from alerting.published import Alert, State, Transition, alert_of, summaries, transitions_after
from storage.sql import Queries
from ticketing import casebook, family
from ticketing.casebook import Case, NewTicket
from ticketing.circumstances import circumstances
from ticketing.lifecycle import DESK, Entry, Kind, Status
from ticketing.lifecycle import State as TicketState
from ticketing.opening import Document, Opening, alert_priority, decide, heading
from ticketing.settings import Settings
from ticketing.walk import Progress
from wire.language import SOURCE, Language

Q = Queries.load("ticketing")
Connection = AsyncConnection[Any]
_ENDED = frozenset({State.RESOLVED, State.STALE})


async def handle(conn: Connection, settings: Settings, now: datetime, tenant_id: int, alert_id: int) -> bool:
    """Handle everything new of one alert inside the caller's transaction; False: another desk has it."""
    key = {"tenant_id": tenant_id, "alert_id": alert_id}
    row = await (await conn.execute(Q.claim_progress, key)).fetchone()
    if row is None:
        return False
    progress = Progress(*row)
    alert = await alert_of(conn, tenant_id, alert_id)
    if alert is not None:
        await _catch_up(conn, settings, now, alert, progress)
    await conn.execute(Q.save_progress, key | msgspec.structs.asdict(progress))
    return True


async def _catch_up(
    conn: Connection, settings: Settings, now: datetime, alert: Alert, progress: Progress
) -> None:
    await conn.execute(Q.lock_problem, {"problem_key": alert.problem_key, "tenant_id": alert.tenant_id})
    await family.lock_above(conn, alert)
    for transition in await transitions_after(conn, alert.tenant_id, alert.alert_id, progress.handled_seq):
        await _step(conn, settings, now, alert, transition, progress)
        progress.handled_seq = transition.seq
    due = progress.look_again_at is not None and progress.look_again_at <= now
    if progress.firing and due and alert.muted is None:
        again = Fired(alert, progress.handled_seq, progress.priority or alert.priority, "it still fires")
        await _fired(conn, settings, now, again, progress)


class Fired(msgspec.Struct, frozen=True):
    """An alert that fires, as of one of its transitions."""

    alert: Alert
    seq: int
    priority: int
    reason: str

    @property
    def key(self) -> dict[str, Any]:
        """For queries."""
        return {"tenant_id": self.alert.tenant_id, "alert_id": self.alert.alert_id}


async def _step(
    conn: Connection, settings: Settings, now: datetime, alert: Alert, step: Transition, progress: Progress
) -> None:
    if step.to_state is State.FIRING:
        progress.firing = True
        await _fires(conn, settings, now, Fired(alert, step.seq, step.priority, step.reason), step, progress)
    elif step.to_state in _ENDED:
        progress.firing, progress.priority, progress.look_again_at = False, None, None
        await _ended(conn, settings, now, alert, step)


async def _fires(
    conn: Connection, settings: Settings, now: datetime, fired: Fired, step: Transition, progress: Progress
) -> None:
    """It fires, is worse than before, or is no longer muted. While it is muted nothing is acted on."""
    if step.muted is not None:
        if progress.priority is None:
            await _record_no_ticket(conn, now, fired, "muted", [heading("muted", text=step.muted)])
        return
    before, progress.priority = progress.priority, step.priority
    if before is None or step.priority < before:
        await _fired(conn, settings, now, fired, progress)


async def _fired(
    conn: Connection, settings: Settings, now: datetime, fired: Fired, progress: Progress
) -> None:
    case = await casebook.load_open(conn, fired.alert.tenant_id, fired.alert.problem_key)
    if case is not None and _too_old(case, settings, now):
        case.add(Entry(now, Kind.CLOSED, DESK, {}, "resolved longer ago than the window for reopening"))
        await casebook.save(conn, case, now, settings)
        case = None
    progress.look_again_at = None
    if case is not None:
        await _again(conn, settings, now, fired, case)
    elif not await _open(conn, settings, now, fired):
        progress.look_again_at = now + timedelta(seconds=settings.reconsider_s)


def _too_old(case: Case, settings: Settings, now: datetime) -> bool:
    """Resolved so long ago that the problem's return is a new episode."""
    resolved = case.status.resolved_at
    return resolved is not None and now - resolved > timedelta(hours=settings.reopen_window_h)


# --- no open ticket --------------------------------------------------------------------------------------


async def _open(conn: Connection, settings: Settings, now: datetime, fired: Fired) -> bool:
    """Decide; open a ticket and return True, or record why there is none."""
    alert = fired.alert
    facts = await circumstances(conn, alert.tenant_id, alert.deployment_id, alert.host_id)
    opening = decide(facts, fired.priority, "proactive", now)
    if not opening.ticket:
        await _record_no_ticket(conn, now, fired, opening.outcome, opening.reasons)
        return False
    titles = await summaries(conn, alert.alert_id)
    case = await casebook.create(conn, _new_ticket(fired, opening, titles, now), settings)
    await conn.execute(Q.link_alert, fired.key | {"ticket_id": case.ticket_id})
    if alert.host_id is not None and not opening.held:
        await family.join_parent(conn, case, now, alert.deployment_id)
    await casebook.save(conn, case, now, settings)
    if alert.of_whole_site and not opening.held:
        await family.adopt(conn, case, now, settings, alert.deployment_id)
    return True


async def _record_no_ticket(
    conn: Connection, now: datetime, fired: Fired, outcome: str, reasons: Sequence[Document]
) -> None:
    """Record it, unless the newest record of this alert comes to the same."""
    last = await (await conn.execute(Q.last_no_ticket, fired.key)).fetchone()
    if last is not None and last[0] == outcome:
        return
    values = {"seq": fired.seq, "now": now, "outcome": outcome, "decision": Jsonb(list(reasons))}
    await conn.execute(Q.record_no_ticket, fired.key | values)


def _new_ticket(fired: Fired, opening: Opening, titles: Mapping[Language, str], now: datetime) -> NewTicket:
    alert = fired.alert
    detail = {
        "priority": opening.priority,
        "held": opening.held,
        "alert": alert.alert_id,
        "rule": alert.rule_id,
    }
    return NewTicket(
        tenant_id=alert.tenant_id,
        deployment_id=alert.deployment_id,
        host_id=alert.host_id,
        alert_id=alert.alert_id,
        problem_key=alert.problem_key,
        channel="proactive",
        title=alert.summary,
        language=opening.language,
        flags=opening.flags,
        terms=opening.terms,
        decision=(heading("alert-says", rule=alert.rule_id, text=fired.reason), *opening.reasons),
        opened=Entry(now, Kind.OPENED, DESK, detail, fired.reason),
        titles={code: title for code, title in titles.items() if code != SOURCE},
    )


# --- a ticket that is there ------------------------------------------------------------------------------


async def _again(conn: Connection, settings: Settings, now: datetime, fired: Fired, case: Case) -> None:
    """The problem of an open or resolved ticket fires."""
    link = fired.key | {"ticket_id": case.ticket_id}
    row = await (await conn.execute(Q.link_alert, link)).fetchone()
    status = case.status
    if status.state is TicketState.RESOLVED:
        case.add(Entry(now, Kind.REOPENED, DESK, {}, f"it came back: {fired.reason}"))
    if status.recovered_at is not None or (row is not None and row[0]):
        anew = {"anew": True} if _was_over(status, settings, now) else {}
        case.add(Entry(now, Kind.REFIRED, DESK, {"alert": fired.alert.alert_id} | anew, fired.reason))
    worse = alert_priority(case.terms, status.plan, fired.priority)
    if worse < status.priority:
        detail = {"from": status.priority, "to": worse}
        case.add(Entry(now, Kind.PRIORITY, DESK, detail, f"the alert worsened: {fired.reason}"))
    if any(entry.kind in family.WEIGHED for entry in case.fresh):
        await family.leave_parent(conn, case, now)
    await casebook.save(conn, case, now, settings)


def _was_over(status: Status, settings: Settings, now: datetime) -> bool:
    """Whether it had been quiet for so long that whoever answered for it may think it is over: rung again.
    Not within the time that an answer holds (it flaps while they work), nor while a person lets it wait."""
    if status.recovered_at is None or status.state not in (TicketState.TAKEN, TicketState.IN_PROGRESS):
        return False
    after = timedelta(minutes=settings.answer_expires_min)
    return bool(after) and now - status.recovered_at >= after


async def _ended(conn: Connection, settings: Settings, now: datetime, alert: Alert, step: Transition) -> None:
    """Note on each ticket that this alert fired for that it has ended; the last one makes it recovered.

    A problem's alerts come one after the other; those of a storm are many problems', so its ticket was locked
    (``lock_above``) before what still fires is counted: of two desks the later one sees the other's end."""
    key = {"tenant_id": alert.tenant_id, "alert_id": alert.alert_id}
    rows: Sequence[Any] = await (await conn.execute(Q.quiet_alert, key)).fetchall()
    for ticket_id, is_open, others_fire in sorted(rows):
        case = await casebook.load(conn, alert.tenant_id, ticket_id) if is_open else None
        if case is None:
            continue
        detail = {"alert": alert.alert_id, "at": step.at.isoformat(), "state": str(step.to_state)}
        kind = Kind.NOTE if others_fire else Kind.RECOVERED
        reason = f"{step.reason}; other alerts of this problem still fire" if others_fire else step.reason
        case.add(Entry(now, kind, DESK, detail, reason))
        await casebook.save(conn, case, now, settings)
        if kind is Kind.RECOVERED:
            await family.let_go(conn, case, now, settings)
