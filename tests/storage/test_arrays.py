"""Lists of plain values arrive in PostgreSQL as they were sent."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from storage.pool import Pool

HERE = timezone(timedelta(hours=-3, minutes=-30))


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("int", [1, -2, 2**31 - 1]),
        ("bigint", [-(2**63), 0, 2**63 - 1]),
        ("bigint", []),
        ("bigint", [1, None, 3]),
        ("bytea", [b"", b"\x00\xff\\\"'{},", b"abc"]),
        ("bytea", [None, b"x"]),
        ("timestamptz", [datetime(2026, 1, 1, 12, 0, 0, 123456, UTC), datetime(1, 1, 1, tzinfo=UTC)]),
        ("timestamptz", [None, datetime(2026, 1, 1, tzinfo=HERE)]),
        ("uuid", [UUID(int=0), UUID(int=2**128 - 1)]),
        ("text", ["", "null", 'a "quoted" one', "{x,y}", "back\\slash"]),
        ("float8", [1.5, -0.0, 1e300, None]),
        ("boolean", [True, False]),
    ],
)
async def test_a_list_comes_back_as_it_went(pool: Pool, kind: str, values: list[Any]):
    """Fast or not, every list is read back equal, element by element."""
    async with pool.connection() as conn:
        query = f"SELECT ARRAY(SELECT * FROM unnest(%s::{kind}[]))".encode()
        row = await (await conn.execute(query, (values,))).fetchone()
    assert row is not None
    assert row[0] == values
