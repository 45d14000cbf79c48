"""What a sample costs from the network to the disk, beside what PostgreSQL alone can do with COPY.

    python benchmarks/ingest.py [--quick] [--json] [--seconds S] [--hosts N] [--collectors N] [--no-peers]

End to end: real ``ucx-proactive serve`` processes, real HTTP with signed tokens and gzip as the agent sends
it, a connection per host, the default rules evaluated, each batch (one frame of 100 values) committed durably
before its receipt. In the same run, on the same machine: COPY of one row per sample into a keyed table (a),
COPY of the same frames (b), both with rows made beforehand, and the same series by remote write into (c)
Prometheus and (d) VictoriaMetrics, where they are installed (Debian: ``prometheus``, ``victoria-metrics``).
Machines differ and are shared: compare ratios.

The load comes from processes of its own. Their CPU is in no ``cpu_s``; and as they take it from the same
cores, ``samples_per_s`` is the measured rate x (CPU of receiver and generator) / (CPU of receiver), at most
what each of the receiver's processes can do on one core; ``..._as_measured`` is without that arithmetic.

    samples_per_s                end to end
    ratio_vs_bare_copy           the same / (a); above 1: faster than bare COPY of rows on one connection
    ratio_vs_bare_copy_by_cpu    the same by CPU alone, whoever else uses the machine: two whole cores for us,
                                 beside the one that the server process of a connection can use
    cpu_s_per_million_samples    CPU of collectors and PostgreSQL together
    cpu_vs_bare_copy             the same / (a)'s; cpu_vs_prometheus, cpu_vs_victoria likewise
    bytes_per_sample_hot         frames and their index, as written
    ledger_bytes_per_sample      what the guard against doubles adds, for 14 days
    p99_commit_ms                upper bound of the histogram's bucket
    memory_growth                of the collectors' resident memory after the first quarter of the run
    tokens                       signatures proven (an agent that reports every 15 s: 1 for 3 batches)
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
import math
import os
import shutil
import tempfile
from typing import Any

import psycopg

from benchmarks import _bare, _peers
from benchmarks._system import (
    SETTINGS,
    WIDTH,
    Fleet,
    Generators,
    Memory,
    Rate,
    Sizes,
    collectors,
    commits,
    cpu,
    p99_ms,
)
from storage.embedded import EmbeddedServer
from storage.migrate import migrate

CORES = 2
"""The goal is put for two."""


def end_to_end(fleet: Fleet, log: Path) -> dict[str, Any]:
    """The measured run; every host has reported once before it begins."""
    with collectors(fleet.url, fleet.sizes.collectors, log) as running:
        processes, ports = [process for process, _ in running], [port for _, port in running]
        generators = Generators(fleet.orders(ports))
        before, earlier = _stored(fleet.url), commits(ports)
        memory = Memory(processes)
        memory.start()
        spent = cpu(processes), fleet.database_cpu()
        reports = generators.run()
        used = cpu(processes) - spent[0], fleet.database_cpu() - spent[1]
        growth = memory.growth()
        p99 = p99_ms(earlier, commits(ports))
        after = _stored(fleet.url)
    batches = sum(report.stored for report in reports)
    if after["frames"] - before["frames"] != batches:
        raise SystemExit(
            f"{batches} batches were acknowledged, {after['frames'] - before['frames']} frames are stored"
        )
    samples, sent_by = batches * WIDTH, sum(report.cpu_s for report in reports)
    limit = fleet.sizes.collectors * samples / used[0]
    rate = Rate(samples, max(report.seconds for report in reports), sum(used), sent_by, limit)
    return {
        "samples_per_s": rate.without_generator,
        "samples_per_s_as_measured": rate.as_measured,
        "batches": batches,
        "cpu_s_per_million_samples": rate.cpu_s_per_million,
        "collector_cpu_s_per_million": used[0] / samples * 1e6,
        "database_cpu_s_per_million": used[1] / samples * 1e6,
        "generator_cpu_s_per_million": sent_by / samples * 1e6,
        "bytes_per_sample_hot": after["frame_bytes"] / (after["frames"] * WIDTH),
        "ledger_bytes_per_sample": after["ledger_bytes"] / (after["frames"] * WIDTH),
        "p50_ms": max(report.p50_ms for report in reports),
        "p99_ms": max(report.p99_ms for report in reports),
        "p99_commit_ms": p99,
        "busy_answers": sum(report.busy for report in reports),
        "tokens": sum(report.tokens for report in reports),
        "memory_growth": growth,
        "memory_mb": memory.seen[-1] / 1e6 if memory.seen else math.nan,
    }


def _stored(url: str) -> dict[str, int]:
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute(
            "SELECT (SELECT count(*) FROM frame), pg_total_relation_size('batch_ledger'),"
            " (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits"
            " WHERE inhparent = 'frame'::regclass)"
        ).fetchone()
    assert row is not None
    return {"frames": int(row[0]), "ledger_bytes": int(row[1]), "frame_bytes": int(row[2])}


def measure(sizes: Sizes, *, peers: bool) -> dict[str, Any]:
    """All runs in turn; (a) before and after, because the machine may be shared."""
    folder = Path(tempfile.mkdtemp(prefix="ucx-bench-"))
    folder.chmod(0o711)  # PostgreSQL, started by root, runs as another account
    try:
        with EmbeddedServer(folder / "data", settings=SETTINGS) as server:
            migrate(server.url)
            fleet = Fleet(server, sizes)

            def bare(kind: str) -> _bare.Result:
                return _bare.run(fleet.url, kind, sizes.bare_seconds, sizes.hosts, WIDTH, fleet.database_cpu)

            first = bare("rows")
            result = end_to_end(fleet, folder)
            second, frames = bare("rows"), bare("frames")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = (first.samples_per_s + second.samples_per_s) / 2
    rows_cpu = (first.cpu_s_per_million + second.cpu_s_per_million) / 2
    return {
        **result,
        "ratio_vs_bare_copy": result["samples_per_s"] / rows,
        "ratio_vs_bare_copy_by_cpu": CORES * rows_cpu / result["cpu_s_per_million_samples"],
        "cpu_vs_bare_copy": result["cpu_s_per_million_samples"] / rows_cpu,
        "bare_rows_samples_per_s": rows,
        "bare_rows_cpu_s_per_million": rows_cpu,
        "bare_rows_bytes_per_sample": second.bytes_per_sample,
        "bare_frames_samples_per_s": frames.samples_per_s,
        "bare_frames_cpu_s_per_million": frames.cpu_s_per_million,
        "bare_frames_bytes_per_sample": frames.bytes_per_sample,
        **(_others(sizes, result["cpu_s_per_million_samples"]) if peers else {}),
        "hosts": sizes.hosts,
        "collectors": sizes.collectors,
        "load_average": os.getloadavg()[0],
    }


def _others(sizes: Sizes, ours: float) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for peer in _peers.installed():
        result = _peers.run(peer, sizes)
        found |= {
            f"{peer.name}_samples_per_s": result.rate.without_generator,
            f"{peer.name}_cpu_s_per_million": result.rate.cpu_s_per_million,
            f"{peer.name}_bytes_per_sample": result.bytes_per_sample,
            f"cpu_vs_{peer.name}": ours / result.rate.cpu_s_per_million,
        }
    return found


_COLUMNS = ("samples_per_s", "cpu_s_per_million", "bytes_per_sample")
_ROWS = {
    "bare_rows": "(a) COPY of rows",
    "bare_frames": "(b) COPY of frames",
    "prometheus": "(c) Prometheus",
    "victoria": "(d) VictoriaMetrics",
}


def show(result: dict[str, Any]) -> None:
    """A table for people."""
    ours = ("samples_per_s", "cpu_s_per_million_samples", "bytes_per_sample_hot")
    rows = [("end to end", [result[column] for column in ours])]
    rows += [
        (title, [result[f"{name}_{column}"] for column in _COLUMNS])
        for name, title in _ROWS.items()
        if f"{name}_samples_per_s" in result
    ]
    print(f"{'':20}{'samples/s':>14}{'CPU s / million':>18}{'bytes / sample':>16}")
    for title, (speed, spent, size) in rows:
        print(f"{title:20}{speed:14,.0f}{spent:18.2f}{size:16.1f}")
    print(f"\nend to end / (a): {result['ratio_vs_bare_copy']:.2f} x")
    for name in sorted(set(result) - {"samples_per_s"}):
        print(f"  {name:32} {result[name]:,.3f}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="What a sample costs from the network to the disk.")
    parser.add_argument("--quick", action="store_true", help="ends within a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--seconds", type=float, help="length of the measured run")
    parser.add_argument("--hosts", type=int, default=2000)
    parser.add_argument("--connections", type=int, help="default: one per host")
    parser.add_argument("--collectors", type=int, default=2)
    parser.add_argument("--generators", type=int, default=1)
    parser.add_argument("--no-peers", action="store_true", help="leave (c) and (d) out")
    given = parser.parse_args()
    sizes = Sizes(
        given.seconds or (8.0 if given.quick else 60.0),
        2.5 if given.quick else 10.0,
        given.hosts,
        given.connections or given.hosts,
        given.collectors,
        given.generators,
    )
    result = measure(sizes, peers=not given.no_peers)
    if given.json:
        print(
            json.dumps(
                {name: None if isinstance(v, float) and math.isnan(v) else v for name, v in result.items()}
            )
        )
    else:
        show(result)


if __name__ == "__main__":
    main()
