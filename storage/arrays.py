"""Lists of plain values as PostgreSQL arrays, written at the speed of ``str.join``.

The driver asks a dumper and a regular expression about every element. Statements that carry a column
per parameter (``unnest(%(ids)s::bigint[], ...)``) hold hundreds of elements of one type, whose text needs no
questions. Lists of anything else, or of several types, go the driver's way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.abc import Buffer
from psycopg.types.array import ListDumper


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
