"""What a sample costs at the pace at which hosts really send, not at the highest that a machine can take.

    python benchmarks/pace.py [--quick] [--json] [--seconds S] [--fleets 1000 10000 30000]

For each fleet: as many frames a second as so many hosts send at one frame in 15 s, evenly spread, to one
collector (by a thousand hosts, each as often as that takes). At a low pace few batches come at the same time,
and a transaction costs as much as many batches: so the price of a sample rises, and the pause in which
batches wait for company decides by how much. The same fleet is run with and without that pause, in the same
run: compare ratios.

    batches_per_commit           how many shared a transaction
    cpu_s_per_million            CPU of the collector and PostgreSQL together
    database_part                PostgreSQL's part of that
    cores                        the same per second of the run: what the fleet needs of a machine
    ..._without_pause            with ``linger_s`` 0
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
import json
import os
import shutil
import tempfile
from typing import Any

from benchmarks._system import SETTINGS, WIDTH, Fleet, Generators, Sizes, collectors, commits, cpu
from storage.embedded import EmbeddedServer
from storage.migrate import migrate

INTERVAL_S = 15
CONNECTIONS = 1_000
"""As many hosts send; the pace is that of the fleet."""
PAUSE = "UCX_COLLECTOR__LINGER_S"


def measure(fleets: list[int], seconds: float) -> dict[str, Any]:
    """Every fleet, with the pause and without."""
    found: dict[str, Any] = {"interval_s": INTERVAL_S}
    folder = Path(tempfile.mkdtemp(prefix="ucx-bench-"))
    folder.chmod(0o711)  # PostgreSQL, started by root, runs as another account
    try:
        with EmbeddedServer(folder / "data", settings=SETTINGS) as server:
            migrate(server.url)
            fleet = Fleet(server, Sizes(seconds, 0.0, CONNECTIONS, CONNECTIONS, 1, 1))
            first_seq = 1
            for n, hosts in enumerate(fleets):
                ways = [("", None), ("_without_pause", "0")]
                for suffix, pause in reversed(ways) if n % 2 else ways:  # neither always comes first
                    result = _run(fleet, hosts / INTERVAL_S, first_seq, folder, pause)
                    found |= {f"{name}_{hosts}{suffix}": value for name, value in result.items()}
                    first_seq += 1_000_000
                found[f"ratio_{hosts}"] = (
                    found[f"cpu_s_per_million_{hosts}"] / found[f"cpu_s_per_million_{hosts}_without_pause"]
                )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return found | {"load_average": os.getloadavg()[0]}


def _run(
    fleet: Fleet, frames_per_s: float, first_seq: int, folder: Path, pause: str | None
) -> dict[str, Any]:
    before = os.environ.get(PAUSE)
    if pause is not None:
        os.environ[PAUSE] = pause
    try:
        with collectors(fleet.url, 1, folder) as running:
            processes, ports = [process for process, _ in running], [port for _, port in running]
            generators = Generators(fleet.orders(ports, frames_per_s, first_seq))
            started, spent = commits(ports), (cpu(processes), fleet.database_cpu())
            reports = generators.run()
            parts = cpu(processes) - spent[0], fleet.database_cpu() - spent[1]
            transactions = max(commits(ports).values()) - max(started.values())
    finally:
        os.environ.pop(PAUSE, None)
        if before is not None:
            os.environ[PAUSE] = before
    batches, used = sum(report.stored for report in reports), sum(parts)
    return {
        "batches": batches,
        "batches_per_commit": batches / transactions,
        "cpu_s_per_million": used / (batches * WIDTH) * 1e6,
        "database_part": parts[1] / used,
        "cores": used / max(report.seconds for report in reports),
        "p50_ms": max(report.p50_ms for report in reports),
        "p99_ms": max(report.p99_ms for report in reports),
    }


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What a sample costs at the pace of a fleet.")
    parser.add_argument("--quick", action="store_true", help="about a minute and a half")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, help="length of each run")
    parser.add_argument("--fleets", type=int, nargs="+", default=[1_000, 10_000, 30_000], metavar="HOSTS")
    given = parser.parse_args()
    result = measure(given.fleets, given.seconds or (10.0 if given.quick else 60.0))
    if given.json:
        print(json.dumps(result))
        return
    columns = ("batches_per_commit", "cpu_s_per_million", "database_part", "cores", "p99_ms")
    print(f"{'hosts':>8}" + "".join([f"{column:>20}" for column in (*columns, "without the pause")]))
    for hosts in given.fleets:
        row = "".join([f"{result[f'{column}_{hosts}']:20.3f}" for column in columns])
        print(f"{hosts:8,}{row}{1 / result[f'ratio_{hosts}']:18.1f} x")


if __name__ == "__main__":
    main()
