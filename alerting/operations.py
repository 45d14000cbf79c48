"""Telling our own operations of trouble that others find: one open alarm per kind, ended when it is over."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from psycopg import AsyncConnection

from storage.sql import Queries

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]


async def tell(conn: Connection, kind: str, detail: str, since: datetime, now: datetime) -> None:
    """Open an alarm of ``kind``; nothing happens while one is open."""
    row = {"kind": kind, "from_at": since, "now": now, "detail": detail}
    await conn.execute(Q.open_operations_alarm, row)


async def end(conn: Connection, kind: str, now: datetime) -> None:
    """It is over."""
    await conn.execute(Q.end_operations_alarm, {"kind": kind, "now": now})
