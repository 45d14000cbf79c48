"""Time-partitioned tables in TimescaleDB: hypertables with chunks of a day, kept by our own worker.

Nothing is left to the extension's scheduler: packing (columnstore) and retention are explicit calls, each
chunk in a transaction of its own, so that what failed is known and tried again. A server that offers the
extension without having preloaded it ends the session that asks for it, which is why it is asked for on a
connection of its own.

    what we use                 from    Apache edition
    hypertables, drop_chunks    2.13    yes: retention is our own call anyway
    columnstore (packing)       2.18    no: days stay as they are, like those of plain partitions
"""

from __future__ import annotations

import logging
import re
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from psycopg import AsyncConnection, Error, errors
from psycopg.sql import SQL, Identifier, Literal

from storage.partition import ONE_ALONE, Connection, Work
from storage.sql import Queries

Q = Queries.load("storage")
log = logging.getLogger(__name__)
OLDEST, OLDEST_PACKING = (2, 13), (2, 18)
_LOCK_TIMEOUT = "2s"
_refused: set[str] = set()
"""Servers (by their connection's address) that would not load the extension: asked once per process."""


class Edition(NamedTuple):
    """What a server's TimescaleDB can do for us."""

    hypertables: bool
    packs: bool
    """It has the columnstore."""
    words: str
    """Readable: which edition, and what it lacks."""


def edition(version: str, licence: str | None) -> Edition:
    """By the extension's version and the server's setting ``timescaledb.license`` (None: not preloaded)."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    release = (int(numbers[1]), int(numbers[2])) if numbers else (0, 0)
    if release < OLDEST:
        return Edition(False, False, f"TimescaleDB {version} is older than {OLDEST[0]}.{OLDEST[1]}: not used")
    if licence != "timescale":
        return Edition(True, False, f"TimescaleDB {version}, Apache edition: no packing")
    if release < OLDEST_PACKING:
        return Edition(
            True, False, f"TimescaleDB {version}: packing needs {'.'.join(map(str, OLDEST_PACKING))}"
        )
    return Edition(True, True, f"TimescaleDB {version} with packing")


async def adopt(conn: Connection, table: str) -> bool:
    """Whether ``table`` is a hypertable; makes it one while it is still without partitions."""
    kind, offered, installed = await _about(conn, table)
    if kind == "hypertable" or not (kind == "empty" and offered):
        return kind == "hypertable"
    if not installed and not await _install(conn):
        return False
    if not (await about_server(conn)).hypertables:
        return False
    await _convert(conn, table)
    return True


async def _about(conn: Connection, table: str) -> tuple[str, bool, bool]:
    row = await (await conn.execute(Q.table_kind, {"table": table})).fetchone()
    assert row is not None
    partitioned, attached, offered, installed = row
    if installed and not partitioned:
        found = await (await conn.execute(Q.is_hypertable, {"table": table})).fetchone()
        return ("hypertable" if found == (True,) else "plain"), offered, installed
    return ("empty" if partitioned and not attached else "plain"), offered, installed


async def _install(conn: Connection) -> bool:
    """On a throwaway connection; see above."""
    where = f"{conn.info.host}:{conn.info.port}/{conn.info.dbname}"
    if where in _refused:
        return False
    try:
        throwaway: AsyncConnection[Any] = await AsyncConnection.connect(
            conn.info.dsn, password=conn.info.password, autocommit=True
        )
        async with throwaway:
            await throwaway.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
    except Error as error:
        _refused.add(where)
        log.warning("TimescaleDB is there but cannot be used, plain partitions are: %s", error)
        return False
    return True


async def _convert(conn: Connection, table: str) -> None:
    scratch = f"{table}_as_hypertable"
    names = {"table": Identifier(table), "scratch": Identifier(scratch)}
    async with conn.transaction():
        await conn.execute(Q.lock_partitions, {"table": table})
        kind, _, _ = await _about(conn, table)
        if kind != "empty":
            return  # another process was faster
        await conn.execute(_LIKE.format(**names))
        await conn.execute(_REMOVE.format(**names))
        await conn.execute(_RENAME.format(**names))
        await conn.execute(Q.make_hypertable, {"table": table})
        if (await about_server(conn)).packs:
            has_layout = await (await conn.execute(Q.has_layout, {"table": table})).fetchone()
            segments = "tenant_id, host_id" + (", layout_id" if has_layout == (True,) else "")
            await conn.execute(_COLUMNSTORE.format(**names, segments=Literal(segments)))


async def about_server(conn: Connection) -> Edition:
    """What the TimescaleDB of the database behind ``conn`` can do; nothing where it is not installed."""
    row = await (await conn.execute(Q.timescale_edition)).fetchone()
    assert row is not None
    return edition(row[0] or "", row[1])


class Hypertables:
    """TimescaleDB's chunks: made by themselves, dropped and packed by us."""

    async def ensure(
        self, conn: Connection, table: str, now: datetime, *, behind: timedelta, ahead: timedelta
    ) -> Work:
        """See ``Partitions.ensure``: a chunk is made when its first row comes."""
        return Work()

    async def drop_expired(self, conn: Connection, table: str, now: datetime, *, keep: timedelta) -> Work:
        """See ``Partitions.drop_expired``. One chunk at a time: a long reader holds up its own alone."""
        row = {"table": table, "before": now - keep}
        done, postponed, why = [], [], ""
        for chunk, end in await (await conn.execute(Q.chunks_before, row)).fetchall():
            try:
                await _patiently(conn, Q.drop_chunks, {"table": table, "before": end})
                done.append(chunk)
            except (errors.LockNotAvailable, *ONE_ALONE) as error:
                postponed.append(chunk)
                why = str(error).strip()
        return Work(tuple(done), tuple(postponed), why)

    async def pack(self, conn: Connection, table: str, now: datetime, *, after: timedelta) -> Work:
        """See ``Partitions.pack``. What fails is postponed, counted by the caller and said."""
        if not (await about_server(conn)).packs:
            return Work()
        row = {"table": table, "before": now - after}
        done, postponed, why = [], [], ""
        for (chunk,) in await (await conn.execute(Q.chunks_to_pack, row)).fetchall():
            try:
                await _patiently(conn, Q.pack_chunk, {"chunk": chunk})
                done.append(chunk)
            except (errors.OperationalError, *ONE_ALONE) as error:
                log.error("a chunk of %s is left for the next round: %s", table, error)  # noqa: TRY400
                postponed.append(chunk)
                why = str(error).strip()
        return Work(tuple(done), tuple(postponed), why)


async def _patiently(conn: Connection, query: bytes, row: dict[str, Any]) -> None:
    """A statement that gives up when a lock cannot be had soon: whoever comes later would wait behind it."""
    await conn.execute(SQL("SET lock_timeout = {}").format(Literal(_LOCK_TIMEOUT)))
    try:
        await conn.execute(query, row)
    finally:
        await conn.execute("RESET lock_timeout")


_LIKE = SQL("CREATE TABLE {scratch} (LIKE {table} INCLUDING ALL)")
_REMOVE = SQL("DROP TABLE {table}")
_RENAME = SQL("ALTER TABLE {scratch} RENAME TO {table}")
_COLUMNSTORE = SQL(
    "ALTER TABLE {table} SET (timescaledb.enable_columnstore = true,"
    " timescaledb.segmentby = {segments}, timescaledb.orderby = 'time')"
)
