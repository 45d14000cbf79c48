"""The system under load: a database, collectors, load generators, and what they use of the machine."""

from __future__ import annotations

import math
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil
import psycopg

from benchmarks import _fleet, _load
from storage.embedded import EmbeddedServer

ROOT = Path(__file__).resolve().parent.parent
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


@dataclass(frozen=True)
class Rate:
    """What came of a load, in samples."""

    samples: int
    seconds: float
    receiver_cpu_s: float
    """Of all processes of the receiving side."""
    generator_cpu_s: float
    limit: float = math.inf
    """Samples per second beyond which a process of the receiving side would need more than one core."""

    @property
    def as_measured(self) -> float:
        """Samples per second, the load generator on the same cores."""
        return self.samples / self.seconds

    @property
    def without_generator(self) -> float:
        """Samples per second had the generator been elsewhere: its CPU goes to the receiver, which on a
        machine without idle time turns it into samples at the same price - as far as its processes can."""
        used = self.receiver_cpu_s + self.generator_cpu_s
        return max(self.as_measured, min(self.as_measured * used / self.receiver_cpu_s, self.limit))

    @property
    def cpu_s_per_million(self) -> float:
        """CPU seconds of the receiving side."""
        return self.receiver_cpu_s / self.samples * 1e6


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

    def orders(self, ports: list[int], frames_per_s: float = 0.0, first_seq: int = 1) -> list[_load.Orders]:
        """What each load generator is to send."""
        agents = [(m.agent_id, m.private_key) for m in self.machines]
        given = orders(self.sizes, ports, agents, "batches")
        for each in given:
            each.frames_per_s, each.first_seq = frames_per_s / len(given), first_seq
        return given


def orders(
    sizes: Sizes, ports: list[int], agents: list[tuple[str, str]], kind: _load.Kind
) -> list[_load.Orders]:
    """The load shared out between the generators."""
    count = sizes.generators
    connections = sizes.connections // count
    return [
        _load.Orders(ports, agents[n::count], connections, WIDTH, sizes.seconds, kind) for n in range(count)
    ]


class Generators:
    """The load generators: connected, and every host has reported once, when made."""

    def __init__(self, given: list[_load.Orders]) -> None:
        self._running = [self._start(each) for each in given]
        for process in self._running:
            assert process.stdout is not None
            if process.stdout.readline() != b"ready\n":
                raise SystemExit("a load generator failed; its words are above")

    @staticmethod
    def _start(given: _load.Orders) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(given) + b"\n")
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
            port = free_port()
            command = [sys.executable, "-m", "ucx_proactive.main", "serve", "--roles", "ingest"]
            command += ["--database-url", url, "--port", str(port), "--log-level", "warning"]
            with (log / f"collector-{n}.log").open("wb") as out:
                process = subprocess.Popen(
                    command, stdout=out, stderr=out, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}
                )
            started.append((process, port))
        for process, port in started:
            await_ready(process, f"http://127.0.0.1:{port}/healthz")
        yield [(psutil.Process(process.pid), port) for process, port in started]
    finally:
        for process, _ in started:
            process.terminate()
        for process, _ in started:
            process.wait(30)


def free_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def await_ready(process: subprocess.Popen[bytes], url: str) -> None:
    """Return when ``url`` answers 200; ends the program when that does not happen within a minute."""
    given_up = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > given_up:
                raise SystemExit(f"{process.args!r} did not start") from None
            time.sleep(0.1)


class Memory(threading.Thread):
    """Resident memory of processes, once a second."""

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
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


def cpu(processes: Sequence[psutil.Process]) -> float:
    """CPU seconds of processes so far."""
    times = [process.cpu_times() for process in processes]
    return sum(t.user + t.system for t in times)


Buckets = dict[float, float]
"""Upper bound in seconds -> how many commits took no longer."""


def commits(ports: Sequence[int]) -> Buckets:
    """How long the collectors' commits took so far."""
    buckets: Buckets = {}
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        found = re.findall(r'ucx_collector_commit_seconds_bucket\{le="([^"]+)"\} ([0-9.e+]+)', text)
        for bound, count in found:
            buckets[float(bound)] = buckets.get(float(bound), 0.0) + float(count)
    return buckets


def p99_ms(before: Buckets, after: Buckets) -> float:
    """The 99th percentile of the commits between two looks, in ms: upper bound of its bucket."""
    counts = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    enough = 0.99 * max(counts.values())
    return next(bound for bound, count in sorted(counts.items()) if count >= enough) * 1000
