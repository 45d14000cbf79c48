"""What on-call must tell our own operations: a row that the auditor rings for, through its other provider.

A line in a log wakes nobody. An alarm lasts while it is found again, and ends by itself afterwards.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any

from psycopg import AsyncConnection

from storage.sql import Queries, parse

L = Queries(
    parse(files("oncall").joinpath("inbound.sql").read_text("utf-8"), "oncall/inbound.sql"),
    "oncall/inbound.sql",
)
log = logging.getLogger(__name__)
Conn = AsyncConnection[tuple[Any, ...]]
LASTS = timedelta(minutes=15)
"""An alarm that was not found again for so long is over."""


async def sound(conn: Conn, kind: str, detail: str, now: datetime, *, urgent: bool) -> bool:
    """Raise an alarm, or keep it up; True when it is new. ``urgent``: it rings at any hour."""
    values = {"kind": kind, "detail": detail, "now": now, "urgent": urgent}
    row = await (await conn.execute(L.raise_alarm, values)).fetchone()
    new = row is not None and bool(row[0])
    if new:
        log.critical("on-call alarm %s: %s", kind, detail)
    return new


async def let_end(conn: Conn, now: datetime) -> None:
    """End the alarms that were not found again."""
    for (kind,) in await (await conn.execute(L.end_alarms, {"now": now, "before": now - LASTS})).fetchall():
        log.warning("on-call alarm %s is over", kind)
