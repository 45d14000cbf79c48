"""Time-partitioned tables: partitions made ahead of the data, dropped whole when they have expired.

One interface, ``Partitions``; ``PlainPartitions`` serves it with PostgreSQL's own range partitions, one per
UTC day, named ``<table>_YYYYMMDD``. Ingest never waits behind this work:

- A partition is created as a table of its own and then ATTACHed, which lets reads and writes of the parent
  go on (``CREATE ... PARTITION OF`` would lock them out). Each in its own short transaction with a lock
  timeout; a day that cannot be had now is reported as postponed, and the next round takes it.
- A partition is dropped by DETACH CONCURRENTLY, then DROP. Killed between its steps, it is finished by the
  next round: PostgreSQL remembers a pending detach, and a detached table is known by its name.
- There is no default partition: attaching beside one would scan it under a lock. Rows outside the
  partitions are refused by PostgreSQL, so the window made here must cover the one that validation lets in.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Protocol

from psycopg import AsyncConnection, errors
from psycopg.sql import SQL, Identifier, Literal

from storage.sql import Queries

Q = Queries.load("storage")
log = logging.getLogger(__name__)

Connection = AsyncConnection[tuple[Any, ...]]

DAY = timedelta(days=1)
AHEAD = timedelta(days=7)
"""A week: what an upkeep that has stopped may take to be noticed."""
_LOCK_TIMEOUT = "2s"
_NAME = re.compile(r"[a-z][a-z_]*")
ONE_ALONE = (errors.ProgrammingError, errors.IntegrityError, errors.InternalError, errors.NotSupportedError)
"""Faults of one partition: the others must not wait until a person has looked at it."""


@dataclass(frozen=True)
class Work:
    """What one round did."""

    done: tuple[str, ...] = ()
    """Names of the partitions created or dropped."""
    postponed: tuple[str, ...] = ()
    """Names that could not be done now; the next round tries again."""
    why: str = ""
    """What PostgreSQL said of the last of them."""


@dataclass(frozen=True)
class Existing:
    """The state of a table's partitions."""

    attached: frozenset[str]
    """Names of the partitions in use."""
    pending: frozenset[str] = field(default=frozenset())
    """Names whose detaching was begun and not finished."""
    detached: frozenset[str] = field(default=frozenset())
    """Names of tables that are no partitions any more and not yet dropped."""


class Partitions(Protocol):
    """How a table is kept in pieces by time. ``conn`` is in autocommit mode and outside a transaction."""

    async def ensure(
        self, conn: Connection, table: str, now: datetime, *, behind: timedelta, ahead: timedelta
    ) -> Work:
        """Makes room for rows from ``now - behind`` to ``now + ahead``."""

    async def drop_expired(self, conn: Connection, table: str, now: datetime, *, keep: timedelta) -> Work:
        """Removes what is wholly older than ``now - keep``."""

    async def pack(self, conn: Connection, table: str, now: datetime, *, after: timedelta) -> Work:
        """Makes what is wholly older than ``now - after`` smaller, where the server can; it stays readable,
        and late rows still find their way in."""


async def choose(conn: Connection, table: str) -> Partitions:
    """The implementation that keeps ``table``: TimescaleDB's when the server has it and the table began with
    it, or has no partition yet; a table that has begun plainly stays so."""
    from storage.hypertable import Hypertables, adopt  # it needs this module's types

    _check_name(table)
    return Hypertables() if await adopt(conn, table) else PlainPartitions()


async def ensure_partitions(
    conn: Connection, table: str, now: datetime, *, behind: timedelta, ahead: timedelta = AHEAD
) -> Work:
    """``Partitions.ensure`` of the table's implementation."""
    return await (await choose(conn, table)).ensure(conn, table, now, behind=behind, ahead=ahead)


async def drop_expired(conn: Connection, table: str, now: datetime, *, keep: timedelta) -> Work:
    """``Partitions.drop_expired`` of the table's implementation."""
    return await (await choose(conn, table)).drop_expired(conn, table, now, keep=keep)


async def pack(conn: Connection, table: str, now: datetime, *, after: timedelta) -> Work:
    """``Partitions.pack`` of the table's implementation."""
    return await (await choose(conn, table)).pack(conn, table, now, after=after)


def wanted_days(now: datetime, behind: timedelta, ahead: timedelta) -> list[date]:
    """The UTC days that ``[now - behind, now + ahead]`` touches: today first, then ahead, then back."""
    today = now.astimezone(UTC).date()
    first, last = (now - behind).astimezone(UTC).date(), (now + ahead).astimezone(UTC).date()
    return [*_span(today, last), *reversed(list(_span(first, today - DAY)))]


def _span(first: date, last: date) -> Iterator[date]:
    return (first + DAY * n for n in range((last - first).days + 1))


def partition_name(table: str, day: date) -> str:
    """As in ``frame_20261123``."""
    return f"{table}_{day:%Y%m%d}"


def partition_day(table: str, name: str) -> date | None:
    """The day in a partition's name; None when it is not one of ours."""
    match = re.fullmatch(re.escape(table) + r"_(\d{4})(\d\d)(\d\d)", name)
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None


def expired(table: str, names: Iterable[str], now: datetime, keep: timedelta) -> list[str]:
    """Those of ``names`` whose whole day lies before ``now - keep``, oldest first."""
    limit = now - keep
    days = ((partition_day(table, name), name) for name in names)
    return [name for day, name in sorted((d, n) for d, n in days if d) if _start(day + DAY) <= limit]


def _start(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


class PlainPartitions:
    """PostgreSQL's own range partitions by UTC day."""

    async def ensure(
        self, conn: Connection, table: str, now: datetime, *, behind: timedelta, ahead: timedelta
    ) -> Work:
        """See ``Partitions.ensure``. Safe to run from several processes at once."""
        existing = await _existing(conn, table)
        days = {partition_name(table, day): day for day in wanted_days(now, behind, ahead)}
        done, postponed, why = [], [], ""
        for name in (name for name in days if name not in existing.attached):
            try:
                if await _attach(conn, table, name, days[name]):
                    done.append(name)
            except (errors.LockNotAvailable, *ONE_ALONE) as error:
                postponed.append(name)
                why = str(error).strip()
        return _report(table, Work(tuple(done), tuple(postponed), why))

    async def drop_expired(self, conn: Connection, table: str, now: datetime, *, keep: timedelta) -> Work:
        """See ``Partitions.drop_expired``. Safe to run from several processes at once."""
        existing = await _existing(conn, table)
        everything = existing.attached | existing.pending | existing.detached
        done, postponed, why = [], [], ""
        for name in expired(table, everything, now, keep):
            try:
                await _drop(conn, table, name, existing)
                done.append(name)
            except (errors.LockNotAvailable, errors.ObjectNotInPrerequisiteState, *ONE_ALONE) as error:
                postponed.append(name)  # locked, or another process is dropping it
                why = str(error).strip()
        return _report(table, Work(tuple(done), tuple(postponed), why))

    async def pack(self, conn: Connection, table: str, now: datetime, *, after: timedelta) -> Work:
        """See ``Partitions.pack``: PostgreSQL alone cannot."""
        return Work()


async def _existing(conn: Connection, table: str) -> Existing:
    _check_name(table)
    rows = await (await conn.execute(Q.partitions, {"table": table})).fetchall()
    loose = await (await conn.execute(Q.detached, {"table": table})).fetchall()
    return Existing(
        attached=frozenset(name for name, pending in rows if not pending),
        pending=frozenset(name for name, pending in rows if pending),
        detached=frozenset(name for (name,) in loose),
    )


def _check_name(table: str) -> None:
    if not _NAME.fullmatch(table):
        raise ValueError(f"{table!r} is not the plain name of a table")


async def _attach(conn: Connection, table: str, name: str, day: date) -> bool:
    """Creates and attaches one partition; False when another process was faster."""
    async with conn.transaction():
        await conn.execute(SQL("SET LOCAL lock_timeout = {}").format(Literal(_LOCK_TIMEOUT)))
        await conn.execute(Q.lock_partitions, {"table": table})
        existing = await _existing(conn, table)
        if name in existing.attached | existing.pending:
            return False
        if name not in existing.detached:
            await conn.execute(_CREATE.format(name=Identifier(name), table=Identifier(table)))
        bounds = {"first": Literal(_start(day)), "end": Literal(_start(day + DAY))}
        await conn.execute(_ATTACH.format(name=Identifier(name), table=Identifier(table), **bounds))
    return True


async def _drop(conn: Connection, table: str, name: str, existing: Existing) -> None:
    names = {"name": Identifier(name), "table": Identifier(table)}
    await conn.execute(SQL("SET lock_timeout = {}").format(Literal(_LOCK_TIMEOUT)))
    try:
        if name in existing.pending:
            await conn.execute(_FINALIZE.format(**names))
        elif name in existing.attached:
            await conn.execute(_DETACH.format(**names))
        await conn.execute(_DROP.format(**names))
    finally:
        await conn.execute("RESET lock_timeout")


def _report(table: str, work: Work) -> Work:
    if work.postponed:
        names = ", ".join(work.postponed)
        log.warning("partitions of %s left for the next round: %s (%s)", table, names, work.why)
    return work


_CREATE = SQL("CREATE TABLE {name} (LIKE {table} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)")
_ATTACH = SQL("ALTER TABLE {table} ATTACH PARTITION {name} FOR VALUES FROM ({first}) TO ({end})")
_DETACH = SQL("ALTER TABLE {table} DETACH PARTITION {name} CONCURRENTLY")
_FINALIZE = SQL("ALTER TABLE {table} DETACH PARTITION {name} FINALIZE")
_DROP = SQL("DROP TABLE IF EXISTS {name}")
