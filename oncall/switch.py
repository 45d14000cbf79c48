"""The paging switch: off, nobody is rung by the pager - and a database that was restored or copied starts so.

A copy of production on another machine must not ring people for alerts of last week. Which database this is
stands in the database itself (the cluster's identifier and the database's number): when it is not the one
in which paging was last confirmed, the switch goes off by itself, and only a person puts it on again. A copy
that keeps both (a cluster restored from its files) cannot be told from its original: whoever restores one
calls ``turn(conn, on=False, ...)`` before anything is started on it.

The auditor looks at the switch too, and alarms when it stays off.
"""

from __future__ import annotations

import logging
from datetime import datetime
from importlib.resources import files
from typing import Any

import msgspec
from psycopg import AsyncConnection

from storage.sql import Queries, parse

W = Queries(
    parse(files("oncall").joinpath("watch.sql").read_text("utf-8"), "oncall/watch.sql"), "oncall/watch.sql"
)
log = logging.getLogger(__name__)
Conn = AsyncConnection[tuple[Any, ...]]
FINDER = "ucx-proactive"


class Switch(msgspec.Struct, frozen=True):
    """The switch as it was last turned."""

    on: bool
    at: datetime | None
    """None: it was never touched."""
    who: str
    reason: str


NEVER_TOUCHED = Switch(True, None, "", "it was never switched off")


async def read(conn: Conn) -> Switch:
    """The switch, without a look at where this is."""
    row = await (await conn.execute(W.read_switch)).fetchone()
    return Switch(*row) if row else NEVER_TOUCHED


async def is_on(conn: Conn, now: datetime) -> bool:
    """Whether people may be rung; turns itself off in a database that is not the one it was confirmed in."""
    row = await (await conn.execute(W.switch_and_home)).fetchone()
    assert row is not None
    on, home, here = row
    if home is None:
        await conn.execute(W.settle, {"identity": here})
        return bool(on)
    if on and home != here:
        reason = f"this database ({here}) is a copy of another one ({home}): confirm that it may page"
        log.critical("paging is off: %s", reason)
        await turn(conn, on=False, who=FINDER, reason=reason, now=now)
        return False
    return bool(on)


async def turn(conn: Conn, *, on: bool, who: str, reason: str, now: datetime) -> None:
    """Turn the switch; on confirms that this database is the one that pages."""
    async with conn.transaction():
        await conn.execute(W.turn_switch, {"on": on, "who": who, "reason": reason, "now": now})
        if on:
            await conn.execute(W.confirm_home)
