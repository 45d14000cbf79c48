"""What a console's charts cost with a thousand hosts stored.

    python benchmarks/charts.py [--hosts N] [--days D] [--json]

Rollups of all hosts are made by SQL inside the database (long charts read those), frames of one host for the
last day. Then, through /v1/series over HTTP, decoding included, on warm caches:

    month_ms   one series over 30 days, 500 points                                      (wanted: below 50)
    page_ms    the charts of one host over 24 hours, 300 points, in one request      (wanted: below 300)
    hour_ms    one series over the last hour, from frames
    apart_ms   as many charts, one by one, through the function that the address calls

and the CPU time of each (``..._cpu_ms``: client, collector and PostgreSQL together), which is what remains
true on a machine that is shared. Wanted, not asserted.
"""

# ruff: noqa: E402 - imports come after the line that finds them
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if sys.path[0] == str(
    ROOT / "benchmarks"
):  # run as a file: its neighbour calendar.py would hide Python's own
    sys.path[0] = str(ROOT)

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import psutil
import psycopg

from benchmarks import _fleet
from collector import copyrow, keys, reading
from collector.rollup import FIVE, HOUR, floor
from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from storage.partition import ensure_partitions
from storage.pool import Pool
from tests.collector.kit import WoundClock, running
from wire.access import Role

WIDTH = 100
ONE = ("ucx.disk.latency",)
PAGE = ("process.cpu.utilization", "system.cpu.utilization", "system.memory.utilization", "ucx.disk.latency")
"""Some 40 series of the layout; ``charts`` says how many."""
FOLDER = Path(tempfile.mkdtemp(prefix="ucx-bench-"))
TABLES = ("frame", "rollup_five", "rollup_hour")


async def fill(pool: Pool, machines: list[_fleet.Machine], now: datetime, days: int) -> None:
    """Rollups of every host: hours for ``days`` days, five minutes for the last one; frames of one host.

    Made by one statement per table (a loop here would take an hour), all of one value, in the order in which
    the worker writes: bucket after bucket, so that a host's rows lie as far apart as they do in life."""
    async with pool.connection() as conn:
        for table in TABLES:
            await ensure_partitions(conn, table, now, behind=timedelta(days=days))
        for table, span, count in (("rollup_hour", HOUR, days * 24), ("rollup_five", FIVE, 288)):
            begin, end = floor(now, span) - span * count, floor(now, span)
            await conn.execute(
                "INSERT INTO rollup_progress VALUES (%s, %s, %s)", (int(span.total_seconds()), begin, end)
            )
            row = {"begin": begin, "last": end - span, "span": span, "width": WIDTH}
            await conn.execute(_ROLLUPS.format(table=table).encode(), row)
        frames = [_frame(machines[0], now - timedelta(seconds=15 * n)) for n in range(1, 5760)]
        async with conn.cursor() as cursor, cursor.copy(b"COPY frame FROM STDIN (FORMAT BINARY)") as copy:
            await copy.write(b"".join([copyrow.HEADER, *frames, copyrow.TRAILER]))
        await conn.execute("ANALYZE")


_ROLLUPS = """
INSERT INTO {table}
SELECT l.tenant_id, l.host_id, l.layout_id, at, a.v, a.v, a.v, a.n, a.v
FROM generate_series(%(begin)s::timestamptz, %(last)s::timestamptz, %(span)s::interval) AS at,
     host_layout l,
     (SELECT array_agg(0.1 + n / 1000.0)::float8[] AS v, array_agg(20) AS n
      FROM generate_series(1, %(width)s) n) a
"""


def _frame(machine: _fleet.Machine, at: datetime) -> bytes | bytearray:
    values = [0.1 + n / 1000 for n in range(WIDTH)]
    key = (machine.tenant_id, machine.host_id, machine.layout_id, round(at.timestamp() * 1000))
    return copyrow.row(*key, values)


def cpu_ms() -> float:
    """Of this process (collector and client) and of all of PostgreSQL's, so far."""
    own = psutil.Process()
    total = 0.0
    for process in (own, *own.children(recursive=True), *_servers()):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total * 1000


def _servers() -> list[psutil.Process]:
    """PostgreSQL's processes: the postmaster leaves its parent."""
    masters = [
        p for p in psutil.process_iter(["cmdline"]) if str(FOLDER) in " ".join(p.info["cmdline"] or [])
    ]
    return [*masters, *(child for master in masters for child in master.children(recursive=True))]


async def timed(name: str, work: Callable[[], Awaitable[object]], times: int = 15) -> dict[str, float]:
    """Wall time (median) and CPU time (mean) of ``work`` in ms, after some runs that are not counted."""
    for _ in range(6):  # the sixth is prepared
        await work()
    taken, before = [], cpu_ms()
    for _ in range(times):
        begun = time.monotonic()
        await work()
        taken.append((time.monotonic() - begun) * 1000)
    spent = (cpu_ms() - before) / times
    return {f"{name}_ms": sorted(taken)[times // 2], f"{name}_cpu_ms": spent}


async def measure(url: str, hosts: int, days: int) -> dict[str, float]:
    """Fill, then read."""
    now = datetime.now(UTC).replace(microsecond=0)
    shape = _fleet.layout(WIDTH)
    with psycopg.connect(url, autocommit=True) as sync:
        machines = _fleet.make(sync, hosts, shape)
    async with running(url, WoundClock(now), roles=("ingest",)) as front:
        pool, machine = front.pool, machines[0]
        await fill(pool, machines, now, days)
        async with pool.connection() as conn:
            _, key = await keys.create(
                conn, "bench", Role.READER, tenant=None, deployment=None, by="bench", now=now
            )
        headers = {"Authorization": f"Bearer {key}"}

        async def series(metrics: Sequence[str], span: timedelta, points: int) -> int:
            where = {"system.device": "C:"} if metrics == ONE else {}
            asked: dict[str, Any] = {
                "host": machine.host_id,
                "attributes": json.dumps(where),
                "metric": list(metrics),
            }
            asked |= {"from": (now - span).isoformat(), "to": now.isoformat()}
            asked["attributes"] = json.dumps(where)
            answer = await front.http.get("/v1/series", params=asked, headers=headers)
            charts = msgspec.json.decode(answer.content)
            assert all(chart["points"] for chart in charts), answer.text
            return len(charts)

        async def charts_apart() -> None:
            await asyncio.gather(
                *(chart(number, timedelta(days=1), 300) for number in range(await series(PAGE, HOUR, 60)))
            )

        async def chart(number: int, span: timedelta, points: int) -> None:
            one = shape.series[number]
            async with pool.connection() as conn:
                where = (machine.tenant_id, machine.host_id, {one.metric}, one.attributes)
                found = await reading.charts(conn, *where, now - span, now, points)
            assert found[0].points

        result = await timed("month", lambda: series(ONE, timedelta(days=days), 500))
        result |= await timed("page", lambda: series(PAGE, timedelta(days=1), 300))
        result |= await timed("apart", charts_apart)
        result |= await timed("hour", lambda: series(ONE, HOUR, 500))
        result |= {"charts": await series(PAGE, HOUR, 60), "hosts": hosts, "days": days}
        return result | {"load_average": os.getloadavg()[0]}


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What a console's charts cost.")
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    FOLDER.chmod(0o711)  # PostgreSQL, started by root, runs as another account
    try:
        with EmbeddedServer(FOLDER / "data", settings={"fsync": "off", "shared_buffers": "256MB"}) as server:
            migrate(server.url)
            result = asyncio.run(measure(server.url, given.hosts, given.days))
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    print(json.dumps(result) if given.json else "\n".join(f"{k:14} {v:10.1f}" for k, v in result.items()))


if __name__ == "__main__":
    main()
