"""Who is to be reached at a step: the seam between the pager and the paging policies.

``OrderedList`` is the plainest answer: the persons named in the settings, one per step. A paging policy with
rotations answers the same question.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec
from psycopg import AsyncConnection

from oncall.paging import Step, Target
from oncall.settings import Settings, is_e164
from oncall.sql import Q

Conn = AsyncConnection[tuple[Any, ...]]


class Request(msgspec.Struct, frozen=True):
    """A page request, as ticketing wrote it."""

    tenant_id: int
    page_request_id: int
    ticket_id: int
    audience: str
    policy: str
    requested_at: datetime
    reason: str


class Targets(Protocol):
    """Answers who is next."""

    async def __call__(
        self, conn: Conn, request: Request, step: int, round: int, now: datetime
    ) -> Step | None:
        """The step, resolved to persons at ``now``; None past the last one."""
        ...


class OrderedList:
    """One step per person: ``settings.persons`` in order, or everybody active who has a phone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(
        self, conn: Conn, request: Request, step: int, round: int, now: datetime
    ) -> Step | None:
        rows = await (await conn.execute(Q.persons, {"keys": list(self._settings.persons)})).fetchall()
        return nth(rows, step, self._settings)


def nth(rows: Sequence[tuple[int, str, str]], step: int, settings: Settings) -> Step | None:
    """The n-th person with a usable number."""
    reachable = [row for row in rows if is_e164(row[2])]
    if step >= len(reachable):
        return None
    person_id, name, phone = reachable[step]
    target = Target(person_id, name, phone, "voice", settings.ring_s)
    why = f"{name} is number {step + 1} of {len(reachable)} on the list"
    return Step((target,), settings.calls_per_step, why)
