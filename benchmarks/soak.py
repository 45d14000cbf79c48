"""A collector under the highest load that it sustains for a quarter of an hour: does it grow, or slow down?

    python benchmarks/soak.py [--quick] [--json] [--seconds S] [--hosts N] [--load PART]

First a short run finds the highest rate; then ``PART`` of it (default 0.9: above it, what is measured is how
long the queue is) is sent for 15 minutes (``--quick``: one) by as many hosts, over one connection each.

    memory_growth         of the collector's resident memory since the first minute (``--quick``: quarter)
    memory_mb             at the end
    p99_commit_ms         upper bound of the histogram's bucket, over the whole run
    p99_commit_ms_last    the same over the last quarter
    samples_per_s         sent and stored
    busy_answers          429 and 503: the load was too high after all
"""

from __future__ import annotations

# ruff: noqa: E402 - imports come after the line that finds them
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
if sys.path[0] == str(
    ROOT / "benchmarks"
):  # run as a file: its neighbour calendar.py would hide Python's own
    sys.path[0] = str(ROOT)

import argparse
import dataclasses
import json
import os
import shutil
import tempfile
import threading
from typing import Any

from benchmarks._system import (
    SETTINGS,
    WIDTH,
    Buckets,
    Fleet,
    Generators,
    Memory,
    Sizes,
    collectors,
    commits,
    p99_ms,
)
from storage.embedded import EmbeddedServer
from storage.migrate import migrate

PROBE_S = 10.0


def measure(sizes: Sizes, part: float) -> dict[str, Any]:
    """Both runs, one collector."""
    folder = Path(tempfile.mkdtemp(prefix="ucx-bench-"))
    folder.chmod(0o711)  # PostgreSQL, started by root, runs as another account
    try:
        with EmbeddedServer(folder / "data", settings=SETTINGS) as server:
            migrate(server.url)
            fleet = Fleet(server, dataclasses.replace(sizes, seconds=PROBE_S))
            with collectors(fleet.url, 1, folder) as running:
                processes, ports = [process for process, _ in running], [port for _, port in running]
                found = Generators(fleet.orders(ports)).run()
                highest = sum(report.stored for report in found) / max(report.seconds for report in found)
                fleet.sizes = sizes
                generators = Generators(fleet.orders(ports, highest * part, first_seq=100_000))
                memory = Memory(processes)
                early = commits(ports)
                late: list[Buckets] = []
                look = threading.Timer(0.75 * sizes.seconds, lambda: late.append(commits(ports)))
                memory.start()
                look.start()
                reports = generators.run()
                growth = memory.growth()
                look.join()
                end = commits(ports)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    stored = sum(report.stored for report in reports)
    return {
        "seconds": sizes.seconds,
        "samples_per_s_highest": highest * WIDTH,
        "samples_per_s": stored * WIDTH / max(report.seconds for report in reports),
        "batches": stored,
        "memory_growth": growth,
        "memory_mb": memory.seen[-1] / 1e6,
        "p50_ms": max(report.p50_ms for report in reports),
        "p99_ms": max(report.p99_ms for report in reports),
        "p99_commit_ms": p99_ms(early, end),
        "p99_commit_ms_last": p99_ms(late[0], end),
        "busy_answers": sum(report.busy for report in reports),
        "tokens": sum(report.tokens for report in reports),
        "load_average": os.getloadavg()[2],
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="A collector under load for a quarter of an hour.")
    parser.add_argument("--quick", action="store_true", help="one minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, help="length of the run")
    parser.add_argument("--hosts", type=int, default=2000)
    parser.add_argument("--load", type=float, default=0.9, help="part of the highest rate")
    given = parser.parse_args()
    seconds = given.seconds or (60.0 if given.quick else 900.0)
    result = measure(Sizes(seconds, 0.0, given.hosts, given.hosts, 1, 1), given.load)
    if given.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:24} {value:,.3f}")


if __name__ == "__main__":
    main()
