"""What the agent costs its host, beside what administrators know, on the same machine in the same run.

    python benchmarks/agent.py [--quick] [--json] [--interval 15] [--processes 300]

Contestants, all on loopback at the same interval:
  agent          `ucx-agent run` with every default check, its spool and signed delivery
  node_exporter  Debian's prometheus-node-exporter, default collectors, scraped at that interval
  psutil loop    `psutil.process_iter(attrs)` and the host's counters: what such agents usually do
  collectd       Debian's collectd-core with its usual plug-ins and processes, where it is installed
  zabbix-agent2  Debian's zabbix-agent2, asked for the items of its Linux template, where it is installed

Processor time is the kernel's own clock of each process (nanoseconds), counted from the first delivery (with
its layouts) to a later one; PSS is read at the end. `--quick` takes 12 intervals instead of 60.

Bytes on the wire are counted by the collector, both directions, HTTP heads included, TLS not. Frames come
about once a minute, the list of busiest processes every five minutes: a short run holds none of the latter or
one, so its share is counted by its own period: `wire_bytes_per_sample` says what a long run would."""

from __future__ import annotations

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
if os.path.abspath(sys.path[0]) == HERE:  # run as a script: never shadow the standard calendar or our rooms
    sys.path[0] = ROOT

# ruff: noqa: E402 - the path comes first, see above
import argparse
import copy
import json
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from agent.checks.top import TopCheck
from tests.agent.collector import Collector, Handler, Ledger
from wire.batch import FrameBatch

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


class Traffic:
    """Bytes that passed, by what they carried: frames and layouts, the list of busiest processes, others."""

    def __init__(self) -> None:
        self.bytes = {"frames": 0, "top": 0, "other": 0}
        self.requests = dict.fromkeys(self.bytes, 0)

    def note(self, kind: str, size: int) -> None:
        self.bytes[kind] += size
        self.requests[kind] += 1

    def since(self, before: Traffic) -> Traffic:
        """What has passed since ``before`` was copied."""
        passed = Traffic()
        for kind in self.bytes:
            passed.bytes[kind] = self.bytes[kind] - before.bytes[kind]
            passed.requests[kind] = self.requests[kind] - before.requests[kind]
        return passed


class Counting(Handler):
    """Counts each exchange, heads included."""

    server: CountingCollector

    def _handle(self) -> None:
        asked = len(self.requestline) + 2 + len(self.headers.as_bytes())
        answer: Any = self.wfile
        counter = self.wfile = Counter(answer)  # type: ignore[assignment]  # all that is used of it
        try:
            super()._handle()
        finally:
            self.wfile = answer
        self.server.traffic.note(self._kind(), asked + len(self.body) + counter.size)

    def _kind(self) -> str:
        if self.path.startswith("/v1/layouts/"):
            return "frames"
        last = self.server.ledger.batches[-1] if self.server.ledger.batches else None
        if isinstance(last, FrameBatch):
            return "frames"
        top = last is not None and any(event.event_id == "process.top" for event in last.events)
        return "top" if top else "other"


class Counter:
    """Passes bytes on and counts them."""

    def __init__(self, to: Any) -> None:
        self._to = to
        self.size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)
        self._to.write(data)

    def flush(self) -> None:
        self._to.flush()


class CountingCollector(Collector):
    """The tests' collector, with a count of what passes."""

    def __init__(self) -> None:
        super().__init__()
        self.RequestHandlerClass = Counting
        self.traffic = Traffic()


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


def start_collectd(folder: Path, interval: float) -> subprocess.Popen[bytes]:
    """Its usual plug-ins, with processes; values go to a file, as a network plug-in would send them."""
    plugins = ("cpu", "memory", "df", "disk", "interface", "load", "swap", "processes", "csv")
    lines = [f"LoadPlugin {name}" for name in plugins]
    lines += [f"Interval {interval:g}", f'BaseDir "{folder}"', f'PIDFile "{folder}/collectd.pid"']
    lines += [f'<Plugin csv>\n  DataDir "{folder}/csv"\n</Plugin>']
    config = folder / "collectd.conf"
    config.write_text("\n".join(lines) + "\n")
    return subprocess.Popen(["collectd", "-f", "-C", str(config)], stderr=subprocess.DEVNULL)


def start_zabbix(folder: Path, port: int) -> subprocess.Popen[bytes]:
    config = folder / "zabbix.conf"
    config.write_text(
        f"Server=127.0.0.1\nListenIP=127.0.0.1\nListenPort={port}\nLogType=file\nLogFile={folder}/zabbix.log\n"
        f"ControlSocket={folder}/zabbix.sock\nPluginSocket={folder}/zabbix-plugin.sock\nHostname=bench\n"
    )
    return subprocess.Popen(["zabbix_agent2", "-f", "-c", str(config)], stdout=2, stderr=subprocess.DEVNULL)


_ZABBIX_ITEMS = (
    *("system.cpu.util[,user]", "system.cpu.util[,system]", "system.cpu.util[,idle]", "system.cpu.load"),
    *("vm.memory.size[available]", "vm.memory.size[total]", "system.swap.size[,free]", "system.uptime"),
    *("proc.num", "proc.num[,,run]", "proc.num[sqlservr]", "proc.mem[sqlservr]", "proc.num[w3wp]"),
    *("vfs.fs.size[/,free]", "vfs.fs.size[/,pused]", "vfs.dev.read[,ops]", "vfs.dev.write[,ops]"),
    *("net.if.in[lo]", "net.if.out[lo]", "net.if.discovery", "vfs.fs.discovery"),
)


def ask_zabbix(port: int, interval: float, stop: threading.Event) -> None:
    """As its server asks: one connection per item (protocol ZBXD, version 1)."""
    while not stop.wait(interval):
        for item in _ZABBIX_ITEMS:
            try:
                with socket.create_connection(("127.0.0.1", port), 5) as line:
                    line.sendall(b"ZBXD\x01" + struct.pack("<Q", len(item)) + item.encode())
                    while line.recv(65_536):
                        pass
            except OSError:
                continue


def crowd(wanted: int) -> list[subprocess.Popen[bytes]]:
    """Sleeping processes, until the host has as many as wanted."""
    there = sum(name.isdecimal() for name in os.listdir("/proc"))
    return [subprocess.Popen(["sleep", "100000"]) for _ in range(max(0, wanted - there))]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def low_port() -> int:
    """A free port below 32768: zabbix-agent2 takes no other."""
    for port in range(20_000, 32_000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise SystemExit("no free port below 32000")


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


def start_others(folder: Path, interval: float, stop: threading.Event) -> dict[str, subprocess.Popen[bytes]]:
    """Everybody beside the agent who is installed."""
    running = {"naive": subprocess.Popen([sys.executable, "-c", _NAIVE, str(interval)])}
    if shutil.which(_EXPORTER):
        port = free_port()
        running["node_exporter"] = start_exporter(port)
        threading.Thread(target=scrape, args=(port, interval, stop), daemon=True).start()
    if shutil.which("collectd"):
        running["collectd"] = start_collectd(folder, interval)
    if shutil.which("zabbix_agent2"):
        port = low_port()
        running["zabbix_agent2"] = start_zabbix(folder, port)
        threading.Thread(target=ask_zabbix, args=(port, interval, stop), daemon=True).start()
    return running


def contest(state: Path, interval: float, ticks: int, processes: int) -> dict[str, float]:
    stop = threading.Event()
    others = crowd(processes)
    running: dict[str, subprocess.Popen[bytes]] = {}
    collector = CountingCollector()
    with collector:
        try:
            running["agent"] = start_agent(state, collector.url, interval)
            running |= start_others(state, interval, stop)
            await_delivery(collector.ledger)  # the first one, with the layouts
            before, known = copy.deepcopy(collector.traffic), samples(collector.ledger)
            began = time.monotonic()
            costs = measure(running, ticks * interval, lambda: await_delivery(collector.ledger))
            passed, known = collector.traffic.since(before), samples(collector.ledger) - known
            seconds = time.monotonic() - began
            top = await_top(collector, TopCheck.interval_s)
        finally:
            stop.set()
            for process in (*running.values(), *others):
                process.kill()
                process.wait()
    found = {"interval_s": interval, "seconds": round(seconds, 1), "samples": float(known)}
    return found | report(costs) | wire(passed, known, top * seconds / TopCheck.interval_s)


def await_top(collector: CountingCollector, period_s: float) -> float:
    """Mean size of an exchange that carries the list of busiest processes; waits until there was one."""
    end = time.monotonic() + 2 * period_s
    while not collector.traffic.requests["top"] and time.monotonic() < end:
        time.sleep(1.0)
    traffic = collector.traffic
    return traffic.bytes["top"] / max(1, traffic.requests["top"])


def wire(passed: Traffic, known: int, top_bytes: float) -> dict[str, float]:
    """Bytes per sample: of frames and other events as they came, of the list by its period."""
    frames, other = passed.bytes["frames"], passed.bytes["other"]
    return {
        "wire_requests": float(sum(passed.requests.values())),
        "wire_bytes_frames_per_sample": round(frames / known, 2),
        "wire_bytes_seen_per_sample": round(sum(passed.bytes.values()) / known, 2),
        "wire_bytes_per_sample": round((frames + other + top_bytes) / known, 2),
    }


def report(costs: dict[str, Cost]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, cost in costs.items():
        found[f"{name}_cpu_s_per_hour"] = round(cost.cpu_s_per_hour, 3)
        found[f"{name}_pss_mb"] = round(cost.pss_mb, 1)
    agent = costs["agent"]
    for name in costs.keys() - {"agent"}:
        label = "psutil_loop" if name == "naive" else name
        found[f"cpu_ratio_vs_{label}"] = round(agent.cpu_s_per_hour / costs[name].cpu_s_per_hour, 3)
        found[f"pss_ratio_vs_{label}"] = round(agent.pss_mb / costs[name].pss_mb, 3)
    return found


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
