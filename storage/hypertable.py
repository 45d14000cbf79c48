"""Time-partitioned tables in TimescaleDB: hypertables with chunks of a day, kept by our own worker.

Nothing is left to the extension's scheduler: packing (columnstore) and retention are explicit calls, each
chunk in a transaction of its own, so that what failed is known and tried again. The Apache edition has no
columnstore: there packing does nothing. A server that offers the extension without having preloaded it ends
the session that asks for it, which is why it is asked for on a connection of its own.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, Error, errors
from psycopg.sql import SQL, Identifier, Literal

from storage.partition import Connection, Work
from storage.sql import Queries

Q = Queries.load("storage")
log = logging.getLogger(__name__)
_refused: set[str] = set()
"""Servers (by their connection's address) that would not load the extension: asked once per process."""


async def adopt(conn: Connection, table: str) -> bool:
    """Whether ``table`` is a hypertable; makes it one while it is still without partitions."""
    kind, offered, installed = await _about(conn, table)
    if kind == "hypertable" or not (kind == "empty" and offered):
        return kind == "hypertable"
    if not installed and not await _install(conn):
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
        if await _packs(conn):
            has_layout = await (await conn.execute(Q.has_layout, {"table": table})).fetchone()
            segments = "tenant_id, host_id" + (", layout_id" if has_layout == (True,) else "")
            await conn.execute(_COLUMNSTORE.format(**names, segments=Literal(segments)))


async def _packs(conn: Connection) -> bool:
    """Whether this edition has the columnstore."""
    return await (await conn.execute(Q.timescale_licence)).fetchone() == ("timescale",)


class Hypertables:
    """TimescaleDB's chunks: made by themselves, dropped and packed by us."""

    async def ensure(
        self, conn: Connection, table: str, now: datetime, *, behind: timedelta, ahead: timedelta
    ) -> Work:
        """See ``Partitions.ensure``: a chunk is made when its first row comes."""
        return Work()

    async def drop_expired(self, conn: Connection, table: str, now: datetime, *, keep: timedelta) -> Work:
        """See ``Partitions.drop_expired``."""
        rows = await (await conn.execute(Q.drop_chunks, {"table": table, "before": now - keep})).fetchall()
        return Work(tuple(name for (name,) in rows))

    async def pack(self, conn: Connection, table: str, now: datetime, *, after: timedelta) -> Work:
        """See ``Partitions.pack``. What fails is postponed, counted by the caller and said."""
        if not await _packs(conn):
            return Work()
        row = {"table": table, "before": now - after}
        done, postponed = [], []
        for (chunk,) in await (await conn.execute(Q.chunks_to_pack, row)).fetchall():
            try:
                await conn.execute(Q.pack_chunk, {"chunk": chunk})
                done.append(chunk)
            except (errors.OperationalError, errors.InternalError) as error:
                log.error("a chunk of %s is left for the next round: %s", table, error)  # noqa: TRY400
                postponed.append(chunk)
        return Work(tuple(done), tuple(postponed))


_LIKE = SQL("CREATE TABLE {scratch} (LIKE {table} INCLUDING ALL)")
_REMOVE = SQL("DROP TABLE {table}")
_RENAME = SQL("ALTER TABLE {scratch} RENAME TO {table}")
_COLUMNSTORE = SQL(
    "ALTER TABLE {table} SET (timescaledb.enable_columnstore = true,"
    " timescaledb.segmentby = {segments}, timescaledb.orderby = 'time')"
)
