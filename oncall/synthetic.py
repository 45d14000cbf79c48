"""Invented pages: once a day an invented critical fault goes the whole way to an automatic callee.

The host, its event, the alert, the ticket and the call are as real as any; only the customer is invented
(``synthetic_tenant``), and its tickets ring one number (that of the person ``synthetic_person``) where nobody
sits: the provider answers that number with instructions to press 4. Each run is a row; the auditor alarms
when the last one that was answered is too old.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from oncall.paging import Paging, Step, Target
from oncall.settings import Settings, is_e164
from oncall.switch import Conn, W
from oncall.targets import Targets
from ticketing import published


class Progress(msgspec.Struct, frozen=True):
    """How far a run came. Times aware UTC; None: not there yet."""

    alerted_at: datetime | None
    ticket: str | None
    rang_at: datetime | None
    answered_at: datetime | None

    def outcome(self) -> str:
        """In words."""
        if self.answered_at:
            return "answered"
        if self.rang_at:
            return "the phone rang, key 4 never came"
        if self.ticket:
            return f"ticket {self.ticket} was opened, no phone rang"
        return "the alert fired, no ticket was opened" if self.alerted_at else "no alert fired"


class Invented:
    """Targets for the invented customer: its automatic callee; everybody else's as ever."""

    def __init__(self, others: Targets, settings: Settings) -> None:
        self._others = others
        self._settings = settings
        self._tenant_id: int | None = None

    async def __call__(self, conn: Conn, paging: Paging, now: datetime) -> Step | None:
        if paging.tenant_id != await self._tenant(conn):
            return await self._others(conn, paging, now)
        people = await published.people(conn)
        callee = next((p for p in people if p.key == self._settings.synthetic_person and p.active), None)
        if paging.position.step > 0 or callee is None or not is_e164(callee.phone or ""):
            return None
        target = Target(callee.person_id, callee.name, callee.phone or "", ring_s=self._settings.ring_s)
        return Step(
            (target,), self._settings.calls_per_step, None, "the invented customer's automatic callee"
        )

    async def _tenant(self, conn: Conn) -> int | None:
        if self._tenant_id is None:
            row: Any = await (
                await conn.execute(W.tenant, {"key": self._settings.synthetic_tenant})
            ).fetchone()
            self._tenant_id = row[0] if row else None
        return self._tenant_id


async def begin(conn: Conn, run_id: UUID, tenant: str, now: datetime) -> None:
    """Before the event is sent: from here on its absence is seen."""
    await conn.execute(W.begin_run, {"run_id": run_id, "tenant": tenant, "now": now})


async def accepted(conn: Conn, run_id: UUID, now: datetime) -> None:
    """The front door gave its receipt."""
    await conn.execute(W.run_accepted, {"run_id": run_id, "now": now})


async def progress(conn: Conn, run_id: UUID) -> Progress:
    """How far it is now."""
    row = await (await conn.execute(W.run_progress, {"run_id": run_id})).fetchone()
    return Progress(*row) if row else Progress(None, None, None, None)


async def end(conn: Conn, run_id: UUID, far: Progress, now: datetime, problem: str = "") -> None:
    """The run is over, well or not."""
    failed_at = None if far.answered_at and not problem else now
    values = {"run_id": run_id, "failed_at": failed_at, "outcome": problem or far.outcome()}
    await conn.execute(W.end_run, values | msgspec.structs.asdict(far))
