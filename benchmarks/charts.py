"""What a console's charts cost with a thousand hosts stored.

    python benchmarks/charts.py [--hosts N] [--days D] [--json]

Rollups of all hosts are written straight into the database (long charts read those), frames of one host
for the last day. Then, through the functions that /v1/series calls, on warm caches:

    month_ms   one series over 30 days, 500 points               (wanted: below 50)
    page_ms    40 charts of one host over 24 hours, 300 points   (wanted: below 300)
    hour_ms    one series over the last hour, from frames

Wanted, not asserted: machines differ and are shared.
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
import json
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import psycopg

from benchmarks import _fleet
from collector import copyrow, reading
from collector.rollup import FIVE, HOUR, floor
from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from storage.partition import ensure_partitions
from storage.pool import Pool, open_pool

WIDTH = 100
PAGE = 40
TABLES = ("frame", "rollup_five", "rollup_hour")


async def fill(pool: Pool, machines: list[_fleet.Machine], now: datetime, days: int) -> None:
    """Rollups of every host: hours for ``days`` days, five minutes for the last one; frames of one host."""
    async with pool.connection() as conn:
        for table in TABLES:
            await ensure_partitions(conn, table, now, behind=timedelta(days=days))
        for table, span, count in (("rollup_hour", HOUR, days * 24), ("rollup_five", FIVE, 288)):
            begin, end = floor(now, span) - span * count, floor(now, span)
            await conn.execute(
                "INSERT INTO rollup_progress VALUES (%s, %s, %s)", (int(span.total_seconds()), begin, end)
            )
            statement = f"COPY {table} FROM STDIN (FORMAT BINARY)".encode()
            for machine in machines:
                rows = [_rollup(machine, begin + span * n) for n in range(count)]
                async with conn.cursor() as cursor, cursor.copy(statement) as copy:
                    await copy.write(b"".join([copyrow.HEADER, *rows, copyrow.TRAILER]))
        frames = [_frame(machines[0], now - timedelta(seconds=15 * n)) for n in range(1, 5760)]
        async with conn.cursor() as cursor, cursor.copy(b"COPY frame FROM STDIN (FORMAT BINARY)") as copy:
            await copy.write(b"".join([copyrow.HEADER, *frames, copyrow.TRAILER]))
        noted = [(m.tenant_id, m.host_id, m.layout_id, now) for m in machines]
        async with conn.cursor() as cursor:
            await cursor.executemany("INSERT INTO host_layout VALUES (%s, %s, %s, %s)", noted)
        await conn.execute("ANALYZE")


def _rollup(machine: _fleet.Machine, at: datetime) -> bytes:
    low = [0.1 + n / 1000 for n in range(WIDTH)]
    key = (machine.tenant_id, machine.host_id, machine.layout_id, round(at.timestamp() * 1000))
    return copyrow.summary_row(*key, [low, low, low, low], [1] * WIDTH)


def _frame(machine: _fleet.Machine, at: datetime) -> bytes | bytearray:
    values = [0.1 + n / 1000 for n in range(WIDTH)]
    key = (machine.tenant_id, machine.host_id, machine.layout_id, round(at.timestamp() * 1000))
    return copyrow.row(*key, values)


async def timed(work: Callable[[], Awaitable[object]], times: int = 7) -> float:
    """Milliseconds of ``work``: the median, after a first run that is not counted."""
    await work()
    taken = []
    for _ in range(times):
        begun = time.monotonic()
        await work()
        taken.append((time.monotonic() - begun) * 1000)
    return sorted(taken)[times // 2]


async def measure(url: str, hosts: int, days: int) -> dict[str, float]:
    """Fill, then read."""
    now = datetime.now(UTC).replace(microsecond=0)
    shape = _fleet.layout(WIDTH)
    with psycopg.connect(url, autocommit=True) as sync:
        machines = _fleet.make(sync, hosts, shape)
    pool = await open_pool(url, max_size=4)
    try:
        await fill(pool, machines, now, days)
        machine = machines[0]

        async def chart(number: int, span: timedelta, points: int) -> None:
            series = shape.series[number]
            async with pool.connection() as conn:
                found = await reading.charts(
                    conn,
                    machine.tenant_id,
                    machine.host_id,
                    series.metric,
                    series.attributes,
                    now - span,
                    now,
                    points,
                )
            assert found[0].points

        async def page() -> None:
            await asyncio.gather(*(chart(number, timedelta(days=1), 300) for number in range(PAGE)))

        return {
            "month_ms": await timed(lambda: chart(0, timedelta(days=days), 500)),
            "page_ms": await timed(page),
            "hour_ms": await timed(lambda: chart(0, HOUR, 500)),
            "hosts": hosts,
            "days": days,
            "load_average": os.getloadavg()[0],
        }
    finally:
        await pool.close()


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What a console's charts cost.")
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ucx-bench-"))
    folder.chmod(0o711)  # PostgreSQL, started by root, runs as another account
    try:
        with EmbeddedServer(folder / "data", settings={"fsync": "off", "shared_buffers": "256MB"}) as server:
            migrate(server.url)
            result = asyncio.run(measure(server.url, given.hosts, given.days))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result) if given.json else "\n".join(f"{k:14} {v:10.1f}" for k, v in result.items()))


if __name__ == "__main__":
    main()
