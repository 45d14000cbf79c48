"""Frames in PostgreSQL's binary COPY format, made by hand because that is most of the ingest's CPU.

    stream   "PGCOPY\\n\\xff\\r\\n\\0", flags int32 0, extension int32 0, row ..., int16 -1
    row      int16 5, then per field: int32 length, bytes
    fields   tenant_id int4, host_id int8, layout_id int8, time int8 (us since 2000-01-01), values float8[]
    float8[] int32 dimensions 1, int32 has NULLs, int32 element type 701, int32 n, int32 lower bound 1,
             then per element: int32 8, float8 - or int32 -1 for NULL

All big-endian (PostgreSQL's documentation: COPY, "Binary Format").
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import lru_cache

HEADER = b"PGCOPY\n\xff\r\n\x00" + struct.pack(">ii", 0, 0)
TRAILER = struct.pack(">h", -1)
_EPOCH_2000_MS = 946_684_800_000
_FLOAT8 = 701
_INT4 = 23
_HEAD = ">hiiiqiqiqiiiiii"
_ROW = struct.Struct(_HEAD)
_SUMMARY = struct.Struct(">hiiiqiqiq")
_ARRAY = struct.Struct(">iiiiii")
_ELEMENT = struct.Struct(">id")
_NULL = struct.pack(">i", -1)


@lru_cache(maxsize=1024)
def _whole(count: int) -> struct.Struct:
    return struct.Struct(">" + "id" * count)


@lru_cache(maxsize=1024)
def _whole_row(count: int) -> tuple[struct.Struct, int, bytes]:
    """A row without gaps; where its first element's length ends; the last bytes of all their lengths.

    The lengths' other bytes are 0, like padding: one slice assignment does it, for half of packing them."""
    return struct.Struct(_HEAD + "4xd" * count), _ROW.size + 3, b"\x08" * count


def row(
    tenant_id: int, host_id: int, layout_id: int, time_ms: int, values: Sequence[float | None]
) -> bytes | bytearray:
    """One frame as a COPY row; ``time_ms`` is milliseconds since 1970-01-01 UTC."""
    count = len(values)
    shape, first, lengths = _whole_row(count)
    time_us = (time_ms - _EPOCH_2000_MS) * 1000
    try:
        # fmt: off
        packed = bytearray(shape.pack(
            5, 4, tenant_id, 8, host_id, 8, layout_id, 8, time_us,
            20 + 12 * count, 1, 0, _FLOAT8, count, 1, *values,
        ))
        # fmt: on
    except struct.error:
        if None in values:
            return _row_with_gaps(tenant_id, host_id, layout_id, time_ms, values)
        raise
    packed[first::12] = lengths
    return packed


def known(rows: Iterable[bytes | bytearray], width: int) -> int:
    """How many values in ``rows`` are not NULL; ``width``: how many there are with those that are.

    By their lengths: an element is 12 bytes, or 4 when it is NULL."""
    sizes = [len(row) for row in rows]
    return (sum(sizes) - len(sizes) * _ROW.size - 4 * width) // 8


def _row_with_gaps(
    tenant_id: int, host_id: int, layout_id: int, time_ms: int, values: Sequence[float | None]
) -> bytes:
    elements = _with_gaps(values)
    time_us = (time_ms - _EPOCH_2000_MS) * 1000
    # fmt: off
    head = _ROW.pack(
        5, 4, tenant_id, 8, host_id, 8, layout_id, 8, time_us,
        20 + len(elements), 1, 1, _FLOAT8, len(values), 1,
    )
    # fmt: on
    return head + elements


def summary_row(
    tenant_id: int,
    host_id: int,
    layout_id: int,
    time_ms: int,
    floats: Sequence[Sequence[float | None]],
    counts: Sequence[int],
) -> bytes:
    """One rollup as a COPY row; ``floats``: mins, maxs, sums, lasts (counts stand before the lasts)."""
    time_us = (time_ms - _EPOCH_2000_MS) * 1000
    head = _SUMMARY.pack(9, 4, tenant_id, 8, host_id, 8, layout_id, 8, time_us)
    mins, maxs, sums, lasts = (_floats(values) for values in floats)
    return b"".join([head, mins, maxs, sums, _counts(counts), lasts])


def _floats(values: Sequence[float | None]) -> bytes:
    gaps = None in values
    elements = _with_gaps(values) if gaps else _without_gaps(values)
    return _ARRAY.pack(20 + len(elements), 1, int(gaps), _FLOAT8, len(values), 1) + elements


def _counts(values: Sequence[int]) -> bytes:
    cells = [4] * (2 * len(values))
    cells[1::2] = values
    elements = struct.pack(f">{len(cells)}i", *cells)
    return _ARRAY.pack(20 + len(elements), 1, 0, _INT4, len(values), 1) + elements


def _without_gaps(values: Sequence[float | None]) -> bytes:
    cells: list[float | None] = [8] * (2 * len(values))
    cells[1::2] = values
    return _whole(len(values)).pack(*cells)


def _with_gaps(values: Sequence[float | None]) -> bytes:
    return b"".join([_NULL if value is None else _ELEMENT.pack(8, value) for value in values])
