"""Looking ahead for gaps: on every change and once a day, for the next 90 days.

What is found is written down (``rota_gap_check``, ``rota_gap``), where the auditor and people can read it,
and given to an alarm. A rota that is missing or cannot be read is as bad as one long gap and alarms too.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
import psycopg

from oncall.gaps import Gap, rota_gaps
from oncall.roster import Conn, R, load
from oncall.rota_file import BadRota
from storage.pool import Pool
from wire.clock import Clock

log = logging.getLogger(__name__)
AHEAD = timedelta(days=90)
DAILY = timedelta(days=1)
KEEP = timedelta(days=400)
"""Looks older than this are forgotten."""
POLL_S = 60.0
_NAMED = 5
Occasion = Literal["save", "change", "daily", "asked"]


class Look(msgspec.Struct, frozen=True):
    """One look ahead and what it found."""

    check_id: int
    at: datetime
    occasion: str
    start: datetime
    end: datetime
    gaps: tuple[Gap, ...]
    fault: str | None
    """Why there was nothing to look at; None: it was looked."""

    @property
    def alarming(self) -> bool:
        """Whether somebody must do something."""
        return bool(self.gaps) or self.fault is not None


Alarm = Callable[[Look], Awaitable[None]]


async def shout(look: Look) -> None:
    """The alarm that is always there: a loud line in the log."""
    what = look.fault or f"{len(look.gaps)} gap(s) in contracted cover before {look.end:%Y-%m-%d}"
    log.error("on-call: %s", what, extra={"check_id": look.check_id, "occasion": look.occasion})
    for gap in look.gaps[:_NAMED]:
        log.error("on-call gap: %s %s to %s: %s", gap.subject, gap.start, gap.end, gap.reason)


async def gap_check(
    conn: Conn, clock: Clock, occasion: Occasion = "asked", *, ahead: timedelta = AHEAD, alarm: Alarm = shout
) -> Look:
    """Look ``ahead`` from now, write down what is found, and alarm when it is anything."""
    now = clock()
    async with conn.transaction():
        await conn.execute(R.may_think)
        gaps, fault = await _found(conn, now, now + ahead)
        look = Look(
            await _record(conn, now, ahead, occasion, gaps, fault),
            now,
            occasion,
            now,
            now + ahead,
            gaps,
            fault,
        )
    if look.alarming:
        await alarm(look)
    return look


async def newest(conn: Conn) -> Look | None:
    """The newest look; None: nobody ever looked."""
    row = await (await conn.execute(R.newest_check)).fetchone()
    if row is None:
        return None
    check_id, at, occasion, start, end, _, fault = row
    rows = await (await conn.execute(R.gaps_of, {"check_id": check_id})).fetchall()
    return Look(check_id, at, occasion, start, end, tuple(Gap(*one) for one in rows), fault)


async def run(pool: Pool, settings: Any, clock: Clock, stop: asyncio.Event) -> None:
    """The worker: one daily look, by whichever process comes first. ``settings`` has nothing for it yet."""
    while not stop.is_set():
        try:
            async with pool.connection() as conn:
                await daily(conn, clock)
        except (psycopg.Error, TimeoutError) as error:
            log.warning("on-call: the daily look for gaps is put off: %s", error)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), POLL_S)


async def daily(conn: Conn, clock: Clock, alarm: Alarm = shout) -> Look | None:
    """The daily look, if it is due and nobody else is at it."""
    now = clock()
    async with conn.transaction():
        if not await _asks(conn, R.claim_daily, {}) or await _asks(
            conn, R.daily_since, {"since": now - DAILY + timedelta(minutes=5)}
        ):
            return None
        await conn.execute(R.prune_checks, {"before": now - KEEP})
        return await gap_check(conn, clock, "daily", alarm=alarm)


async def _asks(conn: Conn, query: bytes, values: dict[str, Any]) -> bool:
    row = await (await conn.execute(query, values)).fetchone()
    return bool(row and row[0])


async def _found(conn: Conn, start: datetime, end: datetime) -> tuple[tuple[Gap, ...], str | None]:
    try:
        stored = await load(conn, start)
    except BadRota as error:
        return (), f"the rota in force cannot be read: {error}"
    if stored is None:
        return (), "no rota is in force: nobody is on call by schedule"
    # A year of shifts takes a while: the loop goes on meanwhile, so that callbacks are still answered.
    try:
        return tuple(await asyncio.to_thread(rota_gaps, stored.rota, start, end)), None
    except Exception as error:
        # Such as a person's time zone that this machine does not know: the pager falls back to its list.
        log.exception("on-call: the rota in force cannot be followed")
        return (), f"the rota in force cannot be followed: {error!r}"


async def _record(
    conn: Conn,
    now: datetime,
    ahead: timedelta,
    occasion: Occasion,
    gaps: tuple[Gap, ...],
    fault: str | None,
) -> int:
    values = {"now": now, "occasion": occasion, "starts": now, "ends": now + ahead}
    row = await (await conn.execute(R.record_check, {**values, "gaps": len(gaps), "fault": fault})).fetchone()
    assert row is not None
    for gap in gaps:
        one = {"subject": gap.subject, "starts": gap.start, "ends": gap.end, "reason": gap.reason}
        await conn.execute(R.record_gap, {"check_id": row[0], **one})
    return int(row[0])
