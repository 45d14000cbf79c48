"""Trying rules on a day of stored frames: how long ``rules replay`` takes, and for a fleet of a thousand.

    python benchmarks/replay.py [--quick] [--json] [--hosts N] [--hours H]

Stores frames of 100 values every 15 s (one host in twenty breaches for an hour), then runs the real program
``ucx-proactive rules replay`` over them, which judges each frame under two packs: the one in force and the
one tried. The program and PostgreSQL are processes of their own; their CPU is counted, so that a busy machine
does not count.

    frames_per_s            frames judged under both packs, by the program's and PostgreSQL's CPU time
    minutes_1000_hosts      CPU minutes of both for a day of 1,000 hosts, from that
    wall_minutes_1000_hosts the same by the clock on the wall
    program_us_per_frame    CPU of the program alone; database_us_per_frame: of PostgreSQL
    bare_us_per_frame       of a loop that fetches the same rows from PostgreSQL and does nothing
    peak_mb                 largest resident memory of the program
"""

from __future__ import annotations

# ruff: noqa: E402 - imports come after the line that finds them
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if sys.path[0] == str(ROOT / "benchmarks"):  # run as a file: never shadow the standard calendar
    sys.path[0] = str(ROOT)

import argparse
import json
import os
import resource
import shutil
import subprocess
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import psycopg

from alerting.pack import default_document
from benchmarks import _fleet
from collector import copyrow
from storage.embedded import EmbeddedServer
from storage.migrate import migrate

START = datetime(2026, 3, 2, tzinfo=UTC)
INTERVAL_S = 15
WIDTH = 100
_ROWS = "SELECT layout_id, time, values FROM frame WHERE host_id = %s ORDER BY time"
DAY_FRAMES = 86_400 // INTERVAL_S


def stored(url: str, hosts: int, hours: float) -> int:
    """Frames of ``hosts`` hosts over ``hours``; returns how many."""
    shape = _fleet.layout(WIDTH)
    ticks = int(hours * 3600 / INTERVAL_S)
    well = [_fleet.healthy(shape, n / 40) for n in range(40)]
    hot = [[0.99, *values[1:]] for values in well]
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute("CREATE TABLE frame_of_benchmark PARTITION OF frame DEFAULT")
        machines = _fleet.make(conn, hosts, shape)
        with conn.cursor() as cursor, cursor.copy("COPY frame FROM STDIN (FORMAT BINARY)") as copy:
            copy.write(copyrow.HEADER)
            for number, machine in enumerate(machines):
                ids = (machine.tenant_id, machine.host_id, machine.layout_id)
                for tick in range(ticks):
                    busy = number % 20 == 0 and 240 <= tick % DAY_FRAMES < 480
                    values = (hot if busy else well)[(tick + number) % 40]
                    copy.write(copyrow.row(*ids, round(START.timestamp() + tick * INTERVAL_S) * 1000, values))
            copy.write(copyrow.TRAILER)
        conn.execute("VACUUM ANALYZE")
    return hosts * ticks


class DatabaseCpu:
    """CPU seconds of all PostgreSQL processes of a server, those that ended included."""

    def __init__(self, server: EmbeddedServer) -> None:
        pid = int((server.data_dir / "pgdata" / "postmaster.pid").read_text().split()[0])
        self._postmaster = psutil.Process(pid)

    def __call__(self) -> float:
        time.sleep(1.0)  # a session that has just ended is nobody's until the server has noticed
        times = self._postmaster.cpu_times()
        spent = times.user + times.system + times.children_user + times.children_system
        for child in self._postmaster.children(recursive=True):
            try:
                own = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            spent += own.user + own.system
        return float(spent)


def bare(url: str, frames: int) -> float:
    """CPU seconds of this process that fetch the same rows, host by host."""
    began = time.process_time()
    seen = 0
    with psycopg.connect(url) as conn:
        for (host_id,) in conn.execute("SELECT host_id FROM host ORDER BY host_id").fetchall():
            with conn.cursor("bare", binary=True) as cursor:
                cursor.execute(
                    "SELECT layout_id, time, values FROM frame WHERE host_id = %s ORDER BY time", (host_id,)
                )
                while rows := cursor.fetchmany(240):
                    seen += len(rows)
    assert seen == frames
    return time.process_time() - began


def replayed(url: str, pack: Path, hours: float) -> tuple[dict[str, Any], float, float, float]:
    """What the program said, its CPU seconds, the wall's, and its peak memory in MB."""
    end = START + timedelta(hours=hours)
    words = ["rules", "replay", "--rules", str(pack), "--json", "--database-url", url]
    words += ["--from", f"{START:%Y-%m-%dT%H:%M:%S}", "--to", f"{end:%Y-%m-%dT%H:%M:%S}"]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "ucx_proactive.main", *words],
        capture_output=True,
        check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return json.loads(done.stdout), cpu, wall, after.ru_maxrss / 1024


def measure(hosts: int, hours: float) -> dict[str, float]:
    """All figures."""
    folder = Path(tempfile.mkdtemp(prefix="ucx-replay-"))
    try:
        with EmbeddedServer(folder) as server:
            migrate(server.url)
            frames = stored(server.url, hosts, hours)
            pack = folder / "tried.yaml"
            pack.write_text(default_document())
            database = DatabaseCpu(server)
            spent = database()
            said, cpu, wall, peak = replayed(server.url, pack, hours)
            spent = database() - spent
            assert said["frames"] == frames, said
            assert said["then"]["alerts"] >= 1, "the hot host was not seen"
            us = 1e6 / frames
            return {
                "frames": frames,
                "frames_per_s": round(frames / (cpu + spent)),
                "minutes_1000_hosts": round((cpu + spent) * us * 1000 * DAY_FRAMES / 6e7, 2),
                "wall_minutes_1000_hosts": round(wall * us * 1000 * DAY_FRAMES / 6e7, 2),
                "program_us_per_frame": round(cpu * us, 1),
                "database_us_per_frame": round(spent * us, 1),
                "bare_us_per_frame": round(bare(server.url, frames) * us, 1),
                "peak_mb": round(peak, 1),
            }
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="half a minute instead of some minutes")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--hosts", type=int, help="how many hosts [20; with --quick 3]")
    parser.add_argument("--hours", type=float, default=24.0, help="of history [24]")
    given = parser.parse_args()
    result = measure(given.hosts or (3 if given.quick else 20), given.hours)
    if given.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:<24} {value}")


if __name__ == "__main__":
    main()
