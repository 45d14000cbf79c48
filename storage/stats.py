"""What the database holds and what it takes on the disk, by table; partitions counted with their table."""

from __future__ import annotations

from datetime import date
from typing import Any

import msgspec
from psycopg import AsyncConnection

from storage.partition import partition_day
from storage.sql import Queries

Q = Queries.load("storage")


class TableStats(msgspec.Struct, frozen=True):
    """One table."""

    table: str
    rows: int
    """As PostgreSQL estimates."""
    table_bytes: int
    index_bytes: int
    """Indexes."""
    partitions: int
    """0: not partitioned by time."""
    oldest: date | None
    """Day of the oldest partition."""
    newest: date | None
    """Day of the newest partition, made ahead of its data."""


class Stats(msgspec.Struct, frozen=True):
    """A database."""

    server: str
    database_bytes: int
    wal_bytes: int | None
    """None: this account may not see it."""
    tables: tuple[TableStats, ...]
    """Largest first."""


async def read(conn: AsyncConnection[tuple[Any, ...]]) -> Stats:
    """The figures of the database behind ``conn``."""
    about = await (await conn.execute(Q.database_size)).fetchone()
    assert about is not None
    rows = await (await conn.execute(Q.table_sizes)).fetchall()
    tables = sorted((_table(*row) for row in rows), key=lambda t: -(t.table_bytes + t.index_bytes))
    server, database_bytes, wal_bytes = about
    return Stats(server, database_bytes, wal_bytes, tuple(tables))


def _table(name: str, rows: int, table_bytes: int, index_bytes: int, partitions: list[str]) -> TableStats:
    days = sorted(day for partition in partitions if (day := partition_day(name, partition)))
    oldest, newest = (days[0], days[-1]) if days else (None, None)
    return TableStats(name, rows, table_bytes, index_bytes, len(days), oldest, newest)
