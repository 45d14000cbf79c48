"""Frames written by hand in PostgreSQL's binary format: what comes back is what went in, bit by bit."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from collector import copyrow
from storage.embedded import EmbeddedServer
from wire import limits

VALUES = st.lists(
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    min_size=1,
    max_size=limits.MAX_SERIES_PER_LAYOUT,
)
ROWS = st.lists(
    st.tuples(
        st.integers(1, 2**31 - 1),
        st.integers(1, 2**63 - 1),
        st.integers(1, 2**63 - 1),
        st.integers(limits.MIN_TIME_MS, limits.MAX_TIME_MS),
        VALUES,
    ),
    max_size=5,
)
Row = tuple[int, int, int, int, list[float | None]]


@pytest.fixture(scope="module")
def table(fast_server: EmbeddedServer) -> Iterator[psycopg.Connection[Any]]:
    """A connection with a temporary table shaped like ``frame``."""
    with psycopg.connect(fast_server.url, autocommit=True) as conn:
        conn.execute(
            "CREATE TEMP TABLE t (n serial, tenant int, host bigint, layout bigint,"
            " at timestamptz, v float8[])"
        )
        yield conn


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_postgresql_reads_back_what_was_written(table: psycopg.Connection[Any], rows: Sequence[Row]) -> None:
    """Ids, times to the millisecond, floats bit by bit (-0.0, subnormals), NULLs in their places."""
    table.execute("TRUNCATE t")
    stream = b"".join([copyrow.HEADER, *(copyrow.row(*row) for row in rows), copyrow.TRAILER])
    with (
        table.cursor() as cursor,
        cursor.copy("COPY t (tenant, host, layout, at, v) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.write(stream)
    found = table.execute(
        "SELECT tenant, host, layout, (extract(epoch FROM at) * 1000)::bigint, v FROM t ORDER BY n"
    ).fetchall()
    assert [bits(row) for row in found] == [bits(row) for row in rows]


def bits(row: Sequence[object]) -> tuple[object, ...]:
    """The row with its floats as bytes, so that -0.0 differs from 0.0."""
    *keys, values = row
    assert isinstance(values, list)
    return (*keys, [None if value is None else struct.pack(">d", value) for value in values])
