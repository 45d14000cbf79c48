"""Lists of plain values as PostgreSQL arrays, written at the speed of ``str.join``.

The driver asks a dumper and a regular expression about every element. Statements that carry a column
per parameter (``unnest(%(ids)s::bigint[], ...)``) hold hundreds of elements of one type, whose text needs no
questions. Lists of anything else, or of several types, go the driver's way.

The ingest commit's own columns go in PostgreSQL's binary format (``int8s(ids)`` and its like), which neither
side has to read as text:

    int32 dimensions (0: empty), int32 has NULLs, int32 element type, int32 elements, int32 lower bound 1,
    then per element: int32 length, bytes - or int32 -1 for NULL
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.types.array import ListDumper

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_ARRAY = struct.Struct(">iiiii")
_LENGTH = struct.Struct(">i")
_NULL = _LENGTH.pack(-1)
_BLOCK = 128
"""Elements packed at once. A compiled format takes 64 bytes per element: one for each length that a group of
batches may have would be 70 MB."""


def _integers(values: list[Any]) -> str:
    return ",".join(map(str, values))


def _bytes(values: list[Any]) -> str:
    return ",".join([f'"\\\\x{value.hex()}"' for value in values])


def _times(values: list[Any]) -> str:
    return ",".join([f'"{value}"' for value in values])


_WRITERS: Mapping[type, Callable[[list[Any]], str]] = {
    int: _integers,
    bytes: _bytes,
    datetime: _times,
    UUID: _integers,  # hex digits and hyphens need no quotes either
}


class PlainListDumper(ListDumper):
    """``list`` -> array in text format. The array's type is found by the driver, as ever."""

    def dump(self, obj: list[Any]) -> Buffer | None:
        """See ``psycopg.adapt.Dumper.dump``."""
        kinds = set(map(type, obj))
        write = _WRITERS.get(kinds.pop()) if len(kinds) == 1 else None
        return super().dump(obj) if write is None else f"{{{write(obj)}}}".encode()


class Packed:
    """An array in binary format, ready to be sent as a parameter."""

    __slots__ = ("data",)

    def __init__(self, oid: int, count: int, elements: bytes, *, gaps: bool = False) -> None:
        head = _ARRAY.pack(1, gaps, oid, count, 1) if count else _ARRAY.pack(0, 0, oid, 0, 1)[:12]
        self.data = head + elements


class Integers(Packed):
    """``integer[]``."""


class Bigints(Packed):
    """``bigint[]``."""


class Byteas(Packed):
    """``bytea[]``."""


class Uuids(Packed):
    """``uuid[]``."""


class Times(Packed):
    """``timestamptz[]``."""


def int4s(values: Sequence[int]) -> Integers:
    """Whole numbers of 32 bits."""
    return Integers(23, len(values), _whole(4, "i", values))


def int8s(values: Sequence[int]) -> Bigints:
    """Whole numbers of 64 bits."""
    return Bigints(20, len(values), _whole(8, "q", values))


def byteas(values: Sequence[bytes | None]) -> Byteas:
    """Bytes, or None."""
    parts = [_NULL if value is None else _LENGTH.pack(len(value)) + value for value in values]
    return Byteas(17, len(values), b"".join(parts), gaps=None in values)


def uuids(values: Sequence[bytes]) -> Uuids:
    """The 16 bytes of each UUID."""
    lead = _LENGTH.pack(16)
    return Uuids(2950, len(values), lead + lead.join(values) if values else b"")


def times(values: Sequence[datetime | None]) -> Times:
    """Aware times, or None."""
    known = [at for at in values if at is not None]
    if len(known) == len(values):
        return Times(1184, len(values), _whole(8, "q", _micros(known)))
    parts = [_NULL if at is None else _whole(8, "q", _micros([at])) for at in values]
    return Times(1184, len(values), b"".join(parts), gaps=True)


def _micros(times: Sequence[datetime]) -> list[int]:
    """PostgreSQL's own count: microseconds since 2000-01-01 UTC."""
    since = [at - _EPOCH for at in times]
    return [(t.days * 86_400 + t.seconds) * 1_000_000 + t.microseconds for t in since]


def _whole(size: int, code: str, values: Sequence[int]) -> bytes:
    cells = [size] * (2 * len(values))
    cells[1::2] = values
    parts = [cells[first : first + 2 * _BLOCK] for first in range(0, len(cells), 2 * _BLOCK)]
    return b"".join([_pairs(code, len(part) // 2).pack(*part) for part in parts])


@lru_cache(maxsize=2 * _BLOCK)
def _pairs(code: str, count: int) -> struct.Struct:
    return struct.Struct(">" + ("i" + code) * count)


class _PackedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: Packed) -> Buffer | None:
        """See ``psycopg.adapt.Dumper.dump``."""
        return obj.data


def _register(kind: type[Packed], oid: int) -> None:
    dumper = type(f"{kind.__name__}Dumper", (_PackedDumper,), {"oid": oid})
    psycopg.adapters.register_dumper(kind, dumper)


for _kind, _oid in ((Integers, 1007), (Bigints, 1016), (Byteas, 1001), (Uuids, 2951), (Times, 1185)):
    _register(_kind, _oid)
