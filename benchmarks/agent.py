"""What the agent costs its host, beside what administrators know, on the same machine in the same run.

    python benchmarks/agent.py [--quick] [--json] [--interval 15] [--processes 300]

Contestants, all on loopback at the same interval:
  agent          `ucx-agent run` with every default check, its spool and signed delivery
  node_exporter  Debian's prometheus-node-exporter, default collectors, scraped at that interval
  psutil loop    `psutil.process_iter(attrs)` and the host's counters: what such agents usually do

Processor time is the kernel's own clock of each process (nanoseconds), counted from the first delivery (with
its layouts) to a later one; PSS is read at the end. Bytes on the wire are counted by a relay between agent
and collector, both directions, HTTP heads included, TLS not. `--quick` takes 12 intervals instead of 60.
"""

from __future__ import annotations

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
if os.path.abspath(sys.path[0]) == HERE:  # run as a script: never shadow the standard calendar or our rooms
    sys.path[0] = ROOT

# ruff: noqa: E402 - the path comes first, see above
import argparse
import json
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tests.agent.collector import Collector, Ledger

_EXPORTER = "prometheus-node-exporter"
_NAIVE = """
import sys, time, psutil
while True:
    for process in psutil.process_iter(["pid", "name", "cpu_times", "memory_info", "status", "num_threads"]):
        process.info
    psutil.cpu_times(); psutil.virtual_memory(); psutil.disk_io_counters(perdisk=True)
    psutil.net_io_counters(pernic=True); [psutil.disk_usage(p.mountpoint) for p in psutil.disk_partitions()]
    time.sleep(float(sys.argv[1]))
"""


class Cost(NamedTuple):
    """Of one contestant."""

    cpu_s_per_hour: float
    pss_mb: float


class Relay:
    """Counts what passes between one client and a server."""

    def __init__(self, port: int) -> None:
        self.bytes = 0
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._server.accept()
            server = socket.create_connection(("127.0.0.1", self._target))
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                self.bytes += len(data)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            return


def cpu_s(pid: int) -> float:
    """Processor time of a process, all threads: clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def pss_mb(pid: int) -> float:
    """Memory of a process, shared pages counted in part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise ValueError("no Pss")


def samples(ledger: Ledger) -> int:
    return sum(value is not None for _, _, values in ledger.frames for value in values)


def start_agent(state: Path, url: str, interval: float) -> subprocess.Popen[bytes]:
    """Enrolled, and with the intervals that are 15 s by default set to ``interval``."""
    config = state / "agent.yaml"
    wanted = ", ".join(f"{name}: {interval:g}" for name in ("cpu", "memory", "disk", "network", "process"))
    config.write_text(f"processes: [sqlservr, w3wp]\nintervals: {{{wanted}}}\n")
    base = [sys.executable, "-m", "agent", "--state-dir", str(state), "--config", str(config)]
    enrol = [*base, "enrol", "--collector", url, "--token", "ucxe_good"]
    subprocess.run(enrol, cwd=ROOT, check=True, stdout=2)
    return subprocess.Popen([*base, "run", "--log-level", "error"], cwd=ROOT)


def start_exporter(port: int) -> subprocess.Popen[bytes]:
    command = [_EXPORTER, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def scrape(port: int, interval: float, stop: threading.Event) -> None:
    while not stop.wait(interval):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
            answer.read()


def crowd(wanted: int) -> list[subprocess.Popen[bytes]]:
    """Sleeping processes, until the host has as many as wanted."""
    there = sum(name.isdecimal() for name in os.listdir("/proc"))
    return [subprocess.Popen(["sleep", "100000"]) for _ in range(max(0, wanted - there))]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def await_delivery(ledger: Ledger) -> None:
    """Until frames arrive, and their receipt has gone back: whole cycles are counted, not parts of one."""
    known = len(ledger.frames)
    while len(ledger.frames) == known:
        time.sleep(0.2)
    time.sleep(1.0)


def measure(
    running: dict[str, subprocess.Popen[bytes]], seconds: float, end: Callable[[], None]
) -> dict[str, Cost]:
    before = {name: cpu_s(process.pid) for name, process in running.items()}
    begun = time.monotonic()
    time.sleep(seconds)
    end()
    elapsed = time.monotonic() - begun
    costs = {}
    for name, process in running.items():
        if process.poll() is not None:
            raise SystemExit(f"{name} has ended: nothing to compare")
        costs[name] = Cost((cpu_s(process.pid) - before[name]) * 3600 / elapsed, pss_mb(process.pid))
    return costs


def contest(state: Path, interval: float, ticks: int, processes: int) -> dict[str, float]:
    stop = threading.Event()
    others = crowd(processes)
    running: dict[str, subprocess.Popen[bytes]] = {}
    with Collector() as collector:
        relay = Relay(int(collector.server_address[1]))
        port = free_port()
        try:
            running["agent"] = start_agent(state, f"http://127.0.0.1:{relay.port}", interval)
            running["naive"] = subprocess.Popen([sys.executable, "-c", _NAIVE, str(interval)])
            if shutil.which(_EXPORTER):
                running["node_exporter"] = start_exporter(port)
                threading.Thread(target=scrape, args=(port, interval, stop), daemon=True).start()
            await_delivery(collector.ledger)  # the first one, with the layouts
            sent, known = relay.bytes, samples(collector.ledger)
            costs = measure(running, ticks * interval, lambda: await_delivery(collector.ledger))
            sent, known = relay.bytes - sent, samples(collector.ledger) - known
        finally:
            stop.set()
            for process in (*running.values(), *others):
                process.kill()
                process.wait()
    return report(costs, sent, known, interval, ticks)


def report(costs: dict[str, Cost], sent: int, known: int, interval: float, ticks: int) -> dict[str, float]:
    found = {"interval_s": interval, "seconds": interval * ticks, "samples": float(known)}
    for name, cost in costs.items():
        found[f"{name}_cpu_s_per_hour"] = round(cost.cpu_s_per_hour, 3)
        found[f"{name}_pss_mb"] = round(cost.pss_mb, 1)
    agent = costs["agent"]
    for name, key in (("node_exporter", "node_exporter"), ("naive", "psutil_loop")):
        if name in costs:
            found[f"cpu_ratio_vs_{key}"] = round(agent.cpu_s_per_hour / costs[name].cpu_s_per_hour, 3)
            found[f"pss_ratio_vs_{key}"] = round(agent.pss_mb / costs[name].pss_mb, 3)
    return found | {"wire_bytes_per_sample": round(sent / known, 2)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="12 intervals instead of 60")
    parser.add_argument("--json", action="store_true", help="one line for programs")
    parser.add_argument("--interval", type=float, default=15.0, help="seconds between readings (default 15)")
    parser.add_argument("--processes", type=int, default=300, help="processes on the host (default 300)")
    parsed = parser.parse_args()
    if sys.platform != "linux":
        parser.error("reads /proc: Linux only")
    with tempfile.TemporaryDirectory() as folder:
        found = contest(Path(folder), parsed.interval, 12 if parsed.quick else 60, parsed.processes)
    if parsed.json:
        print(json.dumps(found))
    else:
        print("\n".join(f"{name:<32} {value:g}" for name, value in found.items()))
    if "cpu_ratio_vs_node_exporter" not in found:
        print(f"{_EXPORTER} is not installed: no ratio against it", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
