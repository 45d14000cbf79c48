"""What a sample costs from the network to the disk, beside what PostgreSQL alone can do with COPY.

    python benchmarks/ingest.py [--quick] [--json] [--seconds S] [--hosts N] [--collectors N]

End to end: real ``ucx-proactive serve`` processes, real HTTP with signed tokens, the default rules evaluated,
each batch (one frame of 100 values) committed durably before its receipt. The load comes from processes of
its own, whose CPU is left out. In the same run, on the same server: COPY of one row per sample into a keyed
table (a), and COPY of the same frames (b), both with rows made beforehand. Machines differ and are shared:
compare ratios.

    samples_per_s                end to end
    ratio_vs_bare_copy           the same / (a); above 1: faster than bare COPY of rows
    cpu_s_per_million_samples    CPU of collector and PostgreSQL together
    bytes_per_sample_hot         frames and their index, as written
    ledger_bytes_per_sample      what the guard against doubles adds, for 14 days
    p99_commit_ms                upper bound of the histogram's bucket
    memory_growth                of the collectors' resident memory after the first quarter of the run
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
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import psutil
import psycopg

from benchmarks import _bare, _fleet, _load
from storage.embedded import EmbeddedServer
from storage.migrate import migrate

WIDTH = 100
SETTINGS = {"shared_buffers": "512MB", "max_wal_size": "4GB"}
"""What docs/operations.md recommends for a machine of this kind; everything durable."""


@dataclass(frozen=True)
class Sizes:
    """How much to do."""

    seconds: float
    bare_seconds: float
    hosts: int
    connections: int
    collectors: int
    generators: int


class Fleet:
    """Hosts in the database, collectors and load generators around it."""

    def __init__(self, server: EmbeddedServer, sizes: Sizes) -> None:
        self.url = server.url
        self.sizes = sizes
        with psycopg.connect(self.url, autocommit=True) as conn:
            self.machines = _fleet.make(conn, sizes.hosts, _fleet.layout(WIDTH))
        self.postmaster = psutil.Process(int((server.pgdata / "postmaster.pid").read_text().split()[0]))

    def database_cpu(self) -> float:
        """CPU seconds of all PostgreSQL processes so far, ended ones included."""
        own = self.postmaster.cpu_times()
        total = own.user + own.system + own.children_user + own.children_system
        for child in self.postmaster.children():
            try:
                times = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            total += times.user + times.system
        return total

    def orders(self, ports: list[int]) -> list[_load.Orders]:
        """What each load generator is to send."""
        sizes, count = self.sizes, self.sizes.generators
        agents = [(m.agent_id, m.private_key) for m in self.machines]
        return [
            _load.Orders(ports, agents[n::count], sizes.connections // count, WIDTH, sizes.seconds)
            for n in range(count)
        ]


class Generators:
    """The load generators: connected, and every host has reported once, when made."""

    def __init__(self, orders: list[_load.Orders]) -> None:
        self._running = [self._start(each) for each in orders]
        for process in self._running:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise SystemExit("a load generator failed; its words are above")

    @staticmethod
    def _start(orders: _load.Orders) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(orders) + b"\n")
        process.stdin.flush()
        return process

    def run(self) -> list[_load.Report]:
        """Send, to the end."""
        for process in self._running:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        answers = [process.communicate()[0] for process in self._running]
        if any(process.returncode for process in self._running):
            raise SystemExit("a load generator failed; its words are above")
        return [msgspec.json.decode(answer, type=_load.Report) for answer in answers]


@contextmanager
def collectors(url: str, count: int, log: Path) -> Iterator[list[tuple[psutil.Process, int]]]:
    """``count`` collector processes and their ports."""
    started = []
    try:
        for n in range(count):
            port = _free_port()
            command = [sys.executable, "-m", "ucx_proactive.main", "serve", "--roles", "ingest"]
            command += ["--database-url", url, "--port", str(port), "--log-level", "warning"]
            with (log / f"collector-{n}.log").open("wb") as out:
                process = subprocess.Popen(
                    command, stdout=out, stderr=out, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
                )
            started.append((process, port))
        for process, port in started:
            _await_ready(process, port, log)
        yield [(psutil.Process(process.pid), port) for process, port in started]
    finally:
        for process, _ in started:
            process.terminate()
        for process, _ in started:
            process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    given_up = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > given_up:
                raise SystemExit(f"the collector did not start; see {log}") from None
            time.sleep(0.1)


class Memory(threading.Thread):
    """Resident memory of processes, once a second."""

    def __init__(self, processes: list[psutil.Process]) -> None:
        super().__init__(daemon=True)
        self._processes = processes
        self._over = threading.Event()
        self.seen: list[int] = []

    def run(self) -> None:
        while not self._over.wait(1.0):
            self.seen.append(sum(process.memory_info().rss for process in self._processes))

    def growth(self) -> float:
        """From the end of the first quarter (at most a minute) to the end, as a part of the former."""
        self._over.set()
        self.join()
        if len(self.seen) < 4:
            return math.nan
        settled = self.seen[min(60, len(self.seen) // 4)]
        return self.seen[-1] / settled - 1


def end_to_end(fleet: Fleet, log: Path) -> dict[str, Any]:
    """The measured run; every host has reported once before it begins."""
    with collectors(fleet.url, fleet.sizes.collectors, log) as running:
        processes, ports = [process for process, _ in running], [port for _, port in running]
        generators = Generators(fleet.orders(ports))
        before = _stored(fleet.url)
        memory = Memory(processes)
        memory.start()
        cpu = _cpu(processes), fleet.database_cpu()
        reports = generators.run()
        used = _cpu(processes) - cpu[0], fleet.database_cpu() - cpu[1]
        growth = memory.growth()
        p99 = max(_p99_ms(port) for port in ports)
        after = _stored(fleet.url)
    batches = sum(report.stored for report in reports)
    samples = batches * WIDTH
    if after["frames"] - before["frames"] != batches:
        raise SystemExit(
            f"{batches} batches were acknowledged, {after['frames'] - before['frames']} frames are stored"
        )
    return {
        "samples_per_s": samples / max(report.seconds for report in reports),
        "batches": batches,
        "cpu_s_per_million_samples": sum(used) / samples * 1e6,
        "collector_cpu_s_per_million": used[0] / samples * 1e6,
        "database_cpu_s_per_million": used[1] / samples * 1e6,
        "generator_cpu_s_per_million": sum(report.cpu_s for report in reports) / samples * 1e6,
        "bytes_per_sample_hot": after["frame_bytes"] / (after["frames"] * WIDTH),
        "ledger_bytes_per_sample": after["ledger_bytes"] / (after["frames"] * WIDTH),
        "p50_ms": max(report.p50_ms for report in reports),
        "p99_ms": max(report.p99_ms for report in reports),
        "p99_commit_ms": p99,
        "busy_answers": sum(report.busy for report in reports),
        "memory_growth": growth,
        "memory_mb": memory.seen[-1] / 1e6 if memory.seen else math.nan,
    }


def _cpu(processes: list[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return sum(t.user + t.system for t in times)


def _stored(url: str) -> dict[str, int]:
    with psycopg.connect(url, autocommit=True) as conn:
        row = conn.execute(
            "SELECT (SELECT count(*) FROM frame), pg_total_relation_size('batch_ledger'),"
            " (SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits"
            " WHERE inhparent = 'frame'::regclass)"
        ).fetchone()
    assert row is not None
    return {"frames": int(row[0]), "ledger_bytes": int(row[1]), "frame_bytes": int(row[2])}


def _p99_ms(port: int) -> float:
    """Upper bound of the bucket in which the 99th percentile of the commits lies, in ms."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found = re.findall(r'ucx_collector_commit_seconds_bucket\{le="([^"]+)"\} ([0-9.e+]+)', text)
    buckets = [(float(bound), float(count)) for bound, count in found]
    return next(bound for bound, count in buckets if count >= 0.99 * buckets[-1][1]) * 1000


def measure(sizes: Sizes) -> dict[str, Any]:
    """All runs on one server, in turn; (a) before and after, because the machine may be shared."""
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
    return {
        **result,
        "ratio_vs_bare_copy": result["samples_per_s"] / rows,
        "bare_rows_samples_per_s": rows,
        "bare_rows_cpu_s_per_million": (first.cpu_s_per_million + second.cpu_s_per_million) / 2,
        "bare_rows_bytes_per_sample": second.bytes_per_sample,
        "bare_frames_samples_per_s": frames.samples_per_s,
        "bare_frames_cpu_s_per_million": frames.cpu_s_per_million,
        "bare_frames_bytes_per_sample": frames.bytes_per_sample,
        "hosts": sizes.hosts,
        "collectors": sizes.collectors,
        "load_average": os.getloadavg()[0],
    }


def show(result: dict[str, Any]) -> None:
    """A table for people."""
    rows = [
        (
            "end to end",
            result["samples_per_s"],
            result["cpu_s_per_million_samples"],
            result["bytes_per_sample_hot"],
        ),
        (
            "(a) COPY of rows",
            result["bare_rows_samples_per_s"],
            result["bare_rows_cpu_s_per_million"],
            result["bare_rows_bytes_per_sample"],
        ),
        (
            "(b) COPY of frames",
            result["bare_frames_samples_per_s"],
            result["bare_frames_cpu_s_per_million"],
            result["bare_frames_bytes_per_sample"],
        ),
    ]
    print(f"{'':20}{'samples/s':>14}{'CPU s / million':>18}{'bytes / sample':>16}")
    for name, speed, cpu, size in rows:
        print(f"{name:20}{speed:14,.0f}{cpu:18.2f}{size:16.1f}")
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
    parser.add_argument("--connections", type=int, default=256)
    parser.add_argument("--collectors", type=int, default=1)
    parser.add_argument("--generators", type=int, default=1)
    given = parser.parse_args()
    seconds = given.seconds or (10.0 if given.quick else 60.0)
    sizes = Sizes(
        seconds,
        4.0 if given.quick else 10.0,
        given.hosts,
        given.connections,
        given.collectors,
        given.generators,
    )
    result = measure(sizes)
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
