"""What the ingest is held against: PostgreSQL alone, fed by COPY with rows that were made beforehand.

    rows     one row per sample into a table with a B-tree key (tenant, series, time)
    frames   the very rows of the table frame, with its index

One connection, one transaction per ``FRAMES_AT_ONCE`` frames, durable. Nothing is checked, evaluated or
deduplicated, and making the rows costs nothing here: no system that keeps a row per sample in PostgreSQL can
do better on the same connection.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg

from collector import copyrow

FRAMES_AT_ONCE = 256
_SAMPLE = struct.Struct(">hiiiqiqid")
_EPOCH_2000_MS = 946_684_800_000

TABLES = """
CREATE TABLE bare_sample (tenant_id integer NOT NULL, series_id bigint NOT NULL, time timestamptz NOT NULL,
                          value float8, PRIMARY KEY (tenant_id, series_id, time));
CREATE TABLE bare_frame (tenant_id integer NOT NULL, host_id bigint NOT NULL, layout_id bigint NOT NULL,
                         time timestamptz NOT NULL, values float8[] NOT NULL);
CREATE INDEX ON bare_frame (tenant_id, host_id, layout_id, time);
"""


@dataclass(frozen=True)
class Result:
    """One run."""

    samples_per_s: float
    cpu_s_per_million: float
    """Of all PostgreSQL processes."""
    bytes_per_sample: float
    """Table and index."""


def run(url: str, kind: str, seconds: float, hosts: int, width: int, cpu: Callable[[], float]) -> Result:
    """``kind``: 'rows' or 'frames'. ``cpu()``: CPU seconds of PostgreSQL so far."""
    table = {"rows": "bare_sample", "frames": "bare_frame"}[kind]
    statement = f"COPY {table} FROM STDIN (FORMAT BINARY)".encode()
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("DROP TABLE IF EXISTS bare_sample, bare_frame")
        conn.execute(TABLES.encode())
        conn.execute("CHECKPOINT")
        before, busy, sent = cpu(), 0.0, 0
        for chunk in _chunks(kind, hosts, width):
            begun = time.monotonic()
            with conn.cursor() as cursor, cursor.copy(statement) as copy:
                copy.write(chunk)
            busy += time.monotonic() - begun
            sent += FRAMES_AT_ONCE * width
            if busy >= seconds:
                break
        used = cpu() - before
        size = conn.execute("SELECT pg_total_relation_size(%s::regclass)", (table,)).fetchone()
        conn.execute("DROP TABLE bare_sample, bare_frame")
    assert size is not None
    return Result(sent / busy, used / sent * 1e6, size[0] / sent)


def _chunks(kind: str, hosts: int, width: int) -> Iterator[bytes]:
    """COPY streams of ``FRAMES_AT_ONCE`` frames each, host after host, tick after tick."""
    make = _rows if kind == "rows" else _frame
    at, host = 1_767_225_600_000, 0
    while True:
        parts: list[bytes | bytearray] = [copyrow.HEADER]
        for _ in range(FRAMES_AT_ONCE):
            parts.append(make(host, at, width))
            host += 1
            if host == hosts:
                host, at = 0, at + 15_000
        yield b"".join([*parts, copyrow.TRAILER])


def _rows(host: int, at: int, width: int) -> bytes:
    us = (at - _EPOCH_2000_MS) * 1000
    first = host * width
    pack = _SAMPLE.pack
    return b"".join([pack(4, 4, host // 100, 8, first + n, 8, us, 8, n * 0.7 + host) for n in range(width)])


def _frame(host: int, at: int, width: int) -> bytes | bytearray:
    return copyrow.row(host // 100, host, host // 100, at, [n * 0.7 + host for n in range(width)])
