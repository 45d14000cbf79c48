"""What judging costs: frames of healthy hosts under the default rules, against a bare Python loop.

    python benchmarks/evaluate.py [--quick] [--json]

The bare loop makes one comparison per value and nothing else: no plan, frontier or state. Judging does the
whole of ``alerting.evaluate.evaluate`` for one frame per host, as the ingest commit calls it.

    ns_per_binding        nanoseconds of judging per bound rule and instance
    ratio_vs_bare_loop    the same, as a multiple of the bare loop's time per value
    frames_per_s          frames judged per second on one core
    bytes_per_series      stored state per healthy series (growth from 1 to 200 series)
    promtool_ns_per_binding
                          where it is installed: CPU of ``promtool test rules`` for the same rules and series,
                          per series and evaluation, its own storing of the samples included
    promtool_ratio        the same, as a multiple of ours
    breaching_us          microseconds per frame in which one of the series breaches and has a track
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
if Path(sys.path[0]).resolve() == HERE:  # run as a script: never shadow the standard calendar
    sys.path[0] = str(HERE.parent)

import argparse  # noqa: E402 - see above
import json  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402
from datetime import UTC, datetime, timedelta  # noqa: E402

from alerting.evaluate import Evaluator, FrameInput, HostScope, HostState, evaluate  # noqa: E402
from alerting.pack import default_document, parse_pack  # noqa: E402
from alerting.state import dump  # noqa: E402
from wire.layout import Layout, Series, digest, encode  # noqa: E402

START = datetime(2026, 1, 5, tzinfo=UTC)
SERIES = 200
"""Series of one host: as many as a frame may have."""


def layout_of(count: int) -> Layout:
    """A host of ``count`` series, each of which a default rule watches."""
    metrics = ("process.cpu.utilization", "process.memory.utilization")
    names = [(metrics[n % 2], f"process-{n // 2}") for n in range(count)]
    return Layout(1, 15.0, tuple(Series(m, {"process.executable.name": p}) for m, p in names))


class Fleet:
    """Hosts with the same layout, each with its own state."""

    def __init__(self, hosts: int, breaching: int = 0, series: int = SERIES) -> None:
        self.evaluator = Evaluator(1, parse_pack(default_document()).rules)
        self.layout = layout_of(series)
        self.digest = digest(encode(self.layout))
        self.values = [0.97] * breaching + [0.1] * (series - breaching)
        self.scopes = [HostScope(1, "t", 1, "d", host, f"host-{host}") for host in range(1, hosts + 1)]
        self.states = {scope.host_id: HostState(1, scope.host_id) for scope in self.scopes}
        self.at = START

    def round(self) -> None:
        """One frame of every host."""
        self.at += timedelta(seconds=15)
        for scope in self.scopes:
            frame = FrameInput(self.digest, self.layout, self.at, self.values)
            outcome = evaluate(self.evaluator, scope, self.states[scope.host_id], [frame], self.at)
            self.states[scope.host_id] = outcome.state

    @property
    def bindings(self) -> int:
        return len(self.evaluator.plan(self.scopes[0], self.digest, self.layout).bindings)


def stored_bytes(series: int) -> int:
    """State kept between commits for one healthy host of so many series."""
    fleet = Fleet(1, series=series)
    fleet.round()
    return len(dump(fleet.states[1].memory) or b"")


def bare_loop(values: list[float], limits: list[float], times: int) -> int:
    """One comparison per value."""
    hits = 0
    for _ in range(times):
        for value, limit in zip(values, limits, strict=True):
            if value > limit:
                hits += 1
    return hits


def best_of(rounds: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of several runs: the others were disturbed."""
    spent = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return min(spent)


def measure(hosts: int, rounds: int) -> dict[str, float]:
    """All figures, for ``hosts`` x ``SERIES`` series a pass."""
    fleet, breaching = Fleet(hosts), Fleet(max(hosts // 20, 1), breaching=1)
    fleet.round()
    judged = best_of(rounds, fleet.round)
    limits = [0.8] * SERIES
    bare = best_of(rounds, lambda: bare_loop([0.1] * SERIES, limits, hosts))
    breaching.round()
    slow = best_of(rounds, breaching.round)
    return {
        "series": hosts * SERIES,
        "bindings": hosts * fleet.bindings,
        "pass_ms": round(judged * 1e3, 3),
        "bare_loop_ms": round(bare * 1e3, 3),
        "ns_per_binding": round(judged * 1e9 / (hosts * fleet.bindings), 2),
        "ratio_vs_bare_loop": round((judged / fleet.bindings) / (bare / SERIES), 3),
        "frames_per_s": round(hosts / judged),
        "bytes_per_series": (stored_bytes(SERIES) - stored_bytes(1)) / (SERIES - 1),
        "breaching_us": round(slow * 1e6 / len(breaching.scopes), 2),
    }


PROMTOOL_RULES = """
groups:
- name: default
  interval: 15s
  rules:
  - {alert: process.cpu, expr: process_cpu_utilization > 0.8, for: 15m}
  - {alert: process.memory, expr: process_memory_utilization > 0.5, for: 30m}
"""
"""What the default pack says of the fleet's two metrics."""


def promtool_s(folder: Path, hosts: int, ticks: int) -> float:
    """CPU seconds of promtool for ``ticks`` evaluations of ``hosts`` x ``SERIES`` healthy series."""
    names = ("process_cpu_utilization", "process_memory_utilization")
    series = [
        f"    - {{series: '{names[n % 2]}{{host=\"h{host}\", p=\"p{n // 2}\"}}', values: '0.1x{ticks}'}}"
        for host in range(hosts)
        for n in range(SERIES)
    ]
    head = ["rule_files: [rules.yml]", "evaluation_interval: 15s", "tests:", "  - interval: 15s"]
    last = f"    alert_rule_test: [{{eval_time: {15 * ticks}s, alertname: process.cpu}}]"
    (folder / "rules.yml").write_text(PROMTOOL_RULES)
    (folder / "test.yml").write_text("\n".join([*head, "    input_series:", *series, last]) + "\n")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(["promtool", "test", "rules", "test.yml"], cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def beside_promtool(hosts: int, ticks: int, ns_per_binding: float) -> dict[str, float]:
    """promtool's cost, from the difference of two runs: starting it costs nothing here."""
    with tempfile.TemporaryDirectory() as folder:
        spent = promtool_s(Path(folder), hosts, 2 * ticks) - promtool_s(Path(folder), hosts, ticks)
    theirs = spent * 1e9 / (hosts * SERIES * ticks)
    return {
        "promtool_ns_per_binding": round(theirs, 1),
        "promtool_ratio": round(theirs / ns_per_binding, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few seconds instead of a minute")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    given = parser.parse_args()
    result = measure(hosts=1000, rounds=5 if given.quick else 60)
    if shutil.which("promtool"):
        hosts, ticks = (5, 60) if given.quick else (20, 240)
        result |= beside_promtool(hosts, ticks, result["ns_per_binding"])
    if given.json:
        print(json.dumps(result))
        return
    for name, value in result.items():
        print(f"{name:<24} {value}")


if __name__ == "__main__":
    main()
