"""What the rollup worker costs.

    python benchmarks/rollup.py [--hosts N] [--json]

Frames of N hosts (100 values every 15 s) for one hour are made by SQL inside the database; then the worker's
own function rolls up twelve buckets of five minutes, and these into an hour. CPU time of the worker and of
PostgreSQL per bucket, and both as a share of one core at that many hosts.
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
from datetime import UTC, datetime, timedelta

import psutil
import psycopg

from benchmarks import _fleet
from collector import rolling
from collector.rollup import FIVE, HOUR, floor
from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from storage.partition import ensure_partitions
from storage.pool import Pool, open_pool

WIDTH = 100
FOLDER = Path(tempfile.mkdtemp(prefix="ucx-bench-"))


async def fill(pool: Pool, machines: list[_fleet.Machine], start: datetime) -> None:
    """An hour of frames of every host, and the hosts as the worker finds them."""
    async with pool.connection() as conn:
        for table in ("frame", "rollup_five", "rollup_hour"):
            await ensure_partitions(conn, table, start, behind=timedelta(days=1))
        await conn.execute(_STATES.encode(), {"seen": start + HOUR})
        await conn.execute(_FRAMES.encode(), {"start": start, "width": WIDTH})
        await conn.execute(_PROGRESS.encode(), {"start": start})
        await conn.execute("ANALYZE")


_STATES = (
    "INSERT INTO host_state (tenant_id, host_id, last_seen) SELECT tenant_id, host_id, %(seen)s FROM host"
)
_PROGRESS = "INSERT INTO rollup_progress VALUES (300, %(start)s, %(start)s), (3600, %(start)s, %(start)s)"
_FRAMES = """
INSERT INTO frame (tenant_id, host_id, layout_id, time, values)
SELECT l.tenant_id, l.host_id, l.layout_id, %(start)s::timestamptz + n * interval '15 seconds', a.v
FROM generate_series(0, 239) n, host_layout l,
     (SELECT array_agg(0.1 + i / 1000.0)::float8[] AS v FROM generate_series(1, %(width)s) i) a
"""


def cpu_s() -> tuple[float, float]:
    """Seconds of this process and of all of PostgreSQL's, so far."""
    own = sum(psutil.Process().cpu_times()[:2])
    masters = [
        p for p in psutil.process_iter(["cmdline"]) if str(FOLDER) in " ".join(p.info["cmdline"] or [])
    ]
    family = [*masters, *(child for master in masters for child in master.children(recursive=True))]
    return own, sum(sum(process.cpu_times()[:2]) for process in set(family))


async def measure(url: str, hosts: int) -> dict[str, float]:
    """Fill, then roll up."""
    start = floor(datetime.now(UTC), HOUR) - 2 * HOUR
    with psycopg.connect(url, autocommit=True) as sync:
        machines = _fleet.make(sync, hosts, _fleet.layout(WIDTH))
    pool = await open_pool(url, max_size=2)
    try:
        await fill(pool, machines, start)
        async with pool.connection() as conn:
            worker, server = cpu_s()
            for n in range(12):
                await rolling._bucket(conn, start + n * FIVE, FIVE)
            middle = cpu_s()
            await rolling._bucket(conn, start, HOUR)
            end = cpu_s()
            row = await (await conn.execute("SELECT count(*) FROM rollup_hour")).fetchone()
            assert row == (hosts,)
    finally:
        await pool.close()
    fives = (middle[0] - worker, middle[1] - server)
    hour = (end[0] - middle[0], end[1] - middle[1])
    return {
        "five_worker_cpu_s": fives[0] / 12,
        "five_server_cpu_s": fives[1] / 12,
        "hour_worker_cpu_s": hour[0],
        "hour_server_cpu_s": hour[1],
        "share_of_a_core": (sum(fives) + sum(hour)) / 3600,
        "hosts": hosts,
        "load_average": os.getloadavg()[0],
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What the rollup worker costs.")
    parser.add_argument("--hosts", type=int, default=2000)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    FOLDER.chmod(0o711)  # PostgreSQL, started by root, runs as another account
    try:
        with EmbeddedServer(FOLDER / "data", settings={"fsync": "off", "shared_buffers": "256MB"}) as server:
            migrate(server.url)
            result = asyncio.run(measure(server.url, given.hosts))
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    print(json.dumps(result) if given.json else "\n".join(f"{k:20} {v:10.3f}" for k, v in result.items()))


if __name__ == "__main__":
    main()
