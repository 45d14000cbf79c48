"""The systems that people would use instead, fed with the same series and values: where installed.

    prometheus          a remote-write receiver (Debian's package ``prometheus``)
    victoria-metrics    a single node (Debian's package ``victoria-metrics``, or ``victoria-metrics-prod``)

Each gets one request per host and tick, as from a sender on each host; neither asks for a credential nor
judges a rule. On the disk: what their folder holds at the end, less what is no sample (caches, locks).
"""

from __future__ import annotations

import math
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks._system import WIDTH, Generators, Rate, Sizes, await_ready, cpu, free_port, orders


@dataclass(frozen=True)
class Peer:
    """One such system."""

    name: str
    programs: tuple[str, ...]
    arguments: Callable[[Path, int], list[str]]
    flush: str = ""
    """Address that makes it write what it holds in memory."""
    not_samples: tuple[str, ...] = ()
    """Folders that hold other things."""

    def program(self) -> str | None:
        """Where it is installed."""
        return next((found for name in self.programs if (found := shutil.which(name))), None)


@dataclass(frozen=True)
class Result:
    """One run."""

    rate: Rate
    bytes_per_sample: float


def _prometheus(folder: Path, port: int) -> list[str]:
    (folder / "prometheus.yml").write_text("global: {}\n")
    return [
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--web.max-connections=100000",
        "--log.level=error",
    ]


def _victoria(folder: Path, port: int) -> list[str]:
    return [
        f"-storageDataPath={folder}/data",
        f"-httpListenAddr=127.0.0.1:{port}",
        "-retentionPeriod=1",
        "-loggerLevel=ERROR",
    ]


PEERS = (
    Peer("prometheus", ("prometheus",), _prometheus),
    Peer(
        "victoria",
        ("victoria-metrics", "victoria-metrics-prod"),
        _victoria,
        "/internal/force_flush",
        ("data/cache", "data/tmp"),
    ),
)


def installed() -> list[Peer]:
    """Those that can be asked here."""
    return [peer for peer in PEERS if peer.program()]


def run(peer: Peer, sizes: Sizes) -> Result:
    """Feed it for ``sizes.seconds``."""
    folder, port = Path(tempfile.mkdtemp(prefix="ucx-bench-")), free_port()
    program = peer.program()
    assert program is not None
    process = subprocess.Popen(
        [program, *peer.arguments(folder, port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        await_ready(process, f"http://127.0.0.1:{port}/metrics")
        hosts = [(f"host-{n}", f"bench-{n // 100}") for n in range(sizes.hosts)]
        generators = Generators(orders(sizes, [port], hosts, "remote write"))
        watched = [psutil.Process(process.pid)]
        before = cpu(watched)
        reports = generators.run()
        used = cpu(watched) - before
        if peer.flush:
            urllib.request.urlopen(f"http://127.0.0.1:{port}{peer.flush}", timeout=60).close()
        process.terminate()
        process.wait(60)
        size = _size(folder, peer.not_samples)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)
    samples = sum(report.stored for report in reports) * WIDTH
    generator = sum(report.cpu_s for report in reports)
    rate = Rate(samples, max(report.seconds for report in reports), used, generator, math.inf)
    return Result(rate, size / (samples + sizes.hosts * WIDTH))


def _size(folder: Path, without: tuple[str, ...]) -> int:
    left_out = [folder / name for name in without]
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if not any(out in path.parents for out in left_out))
