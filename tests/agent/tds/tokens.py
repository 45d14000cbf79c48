"""What SQL Server answers: tokens ([MS-TDS] 2.2.7) and values of the types that the agent meets."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

COLLATION = bytes.fromhex("0904d00034")
"""SQL_Latin1_General_CP1_CI_AS."""
MORE, ERROR, COUNT, ATTENTION = 0x01, 0x02, 0x10, 0x20
"""Of DONE's status."""
_NULLABLE, _COMPUTED = 0x0001, 0x0020


class Column(NamedTuple):
    """A column of a reply; ``kind`` as T-SQL says it."""

    name: str
    kind: str = "int"


class Result(NamedTuple):
    """One set of rows."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[object]]


_INT_SIZES = {"tinyint": 1, "smallint": 2, "int": 4, "bigint": 8}


def _b_text(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("utf-16-le")


def _us_text(text: str) -> bytes:
    return struct.pack("<H", len(text)) + text.encode("utf-16-le")


def type_info(kind: str) -> bytes:
    """TYPE_INFO (2.2.5.6); all types are the nullable ones."""
    if kind in _INT_SIZES:
        return bytes([0x26, _INT_SIZES[kind]])
    match kind:
        case "bit":
            return b"\x68\x01"
        case "float":
            return b"\x6d\x08"
        case "datetime":
            return b"\x6f\x08"
        case "decimal":
            return b"\x6a\x09\x12\x02"  # 9 bytes hold 18 digits, 2 of them after the point
        case "nvarchar":
            return b"\xe7" + struct.pack("<H", 8000) + COLLATION
        case "varchar3":
            return b"\xa7\x03\x00" + COLLATION
    raise ValueError(kind)


def value(kind: str, given: object) -> bytes:
    """A value with its length; None has a length of its own."""
    if given is None:
        return b"\xff\xff" if "varchar" in kind else b"\0"
    data = _data(kind, given)
    return (struct.pack("<H", len(data)) if "varchar" in kind else bytes([len(data)])) + data


def _data(kind: str, given: object) -> bytes:
    match kind:
        case "tinyint":
            return bytes([int(given)])  # type: ignore[call-overload]
        case "bit":
            return bytes([bool(given)])
        case "float":
            return struct.pack("<d", given)
        case "datetime":
            assert isinstance(given, datetime)
            since = given - datetime(1900, 1, 1)  # noqa: DTZ001 - the server's local time has no zone
            return struct.pack("<iI", since.days, round((since.seconds + since.microseconds / 1e6) * 300))
        case "decimal":
            whole = int(Decimal(str(given)).scaleb(2))
            return bytes([whole >= 0]) + abs(whole).to_bytes(8, "little")
        case "nvarchar":
            return str(given).encode("utf-16-le")
        case "varchar3":
            return str(given).encode("latin-1")
    return int(given).to_bytes(_INT_SIZES[kind], "little", signed=True)  # type: ignore[call-overload]


def metadata(columns: Sequence[Column], flags: int = _NULLABLE | _COMPUTED) -> bytes:
    out = b"\x81" + struct.pack("<H", len(columns))
    for column in columns:
        out += struct.pack("<IH", 0, flags) + type_info(column.kind) + _b_text(column.name)
    return out


def row(columns: Sequence[Column], values: Sequence[object]) -> bytes:
    """ROW, or with NULLs in many columns NBCROW, as the server itself prefers."""
    nulls = sum(given is None for given in values)
    if nulls and len(columns) >= 4:
        return _compressed_row(columns, values)
    return b"\xd1" + b"".join(value(c.kind, v) for c, v in zip(columns, values, strict=True))


def _compressed_row(columns: Sequence[Column], values: Sequence[object]) -> bytes:
    bits = bytearray((len(columns) + 7) // 8)
    out = b""
    for index, (column, given) in enumerate(zip(columns, values, strict=True)):
        if given is None:
            bits[index // 8] |= 1 << index % 8
        else:
            out += value(column.kind, given)
    return b"\xd2" + bytes(bits) + out


def done(status: int = COUNT, rows: int = 0, command: int = 0xC1, token: int = 0xFD) -> bytes:
    """DONE, or DONEPROC (FE), DONEINPROC (FF); C1 = SELECT."""
    return struct.pack("<BHHQ", token, status, command, rows)


def result(found: Result, proc: bool = False) -> bytes:
    """A whole answer with one set of rows, to a batch or to a procedure."""
    out = metadata(found.columns) + b"".join(row(found.columns, values) for values in found.rows)
    if not proc:
        return out + done(COUNT, len(found.rows))
    out += done(COUNT | MORE, len(found.rows), token=0xFF)
    return out + b"\x79\0\0\0\0" + done(0, command=0xE0, token=0xFE)


def message(number: int, text: str, level: int = 14, state: int = 1, token: int = 0xAA) -> bytes:
    """ERROR, or INFO (AB)."""
    body = struct.pack("<IBB", number, state, level) + _us_text(text)
    body += _b_text("FAKE") + _b_text("") + struct.pack("<I", 1)
    return struct.pack("<BH", token, len(body)) + body


def failed(number: int, text: str, level: int = 14, proc: bool = False) -> bytes:
    """A whole answer that says no."""
    end = done(ERROR, command=0xE0, token=0xFE) if proc else done(ERROR, command=0xC1)
    return message(number, text, level) + end


def environment(kind: int, new: bytes, old: bytes) -> bytes:
    """ENVCHANGE with the values as they go over the line."""
    body = bytes([kind]) + new + old
    return struct.pack("<BH", 0xE3, len(body)) + body


def environment_text(kind: int, new: str, old: str = "") -> bytes:
    return environment(kind, _b_text(new), _b_text(old))


def route(host: str, port: int) -> bytes:
    """ENVCHANGE 20: go to that server."""
    place = b"\0" + struct.pack("<H", port) + _us_text(host)
    return environment(20, struct.pack("<H", len(place)) + place, b"\0\0")


def login_ack(name: str = "Microsoft SQL Server", version: tuple[int, int, int] = (15, 0, 2000)) -> bytes:
    body = b"\x01" + (0x74000004).to_bytes(4, "big") + _b_text(name)
    body += bytes([version[0], version[1]]) + version[2].to_bytes(2, "big")
    return struct.pack("<BH", 0xAD, len(body)) + body


def logged_in(database: str = "master", size: int = 4096) -> bytes:
    """What the server says to a login that is good."""
    return b"".join(
        [
            environment_text(1, database),
            message(5701, f"Changed database context to '{database}'.", 0, 2, 0xAB),
            environment(7, b"\x05" + COLLATION, b"\0"),
            environment_text(2, "us_english"),
            message(5703, "Changed language setting to us_english.", 0, 1, 0xAB),
            login_ack(),
            environment_text(4, str(size), "4096"),
            done(0, command=0),
        ]
    )
