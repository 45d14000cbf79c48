"""The busiest processes of the last minutes, as an event: a list that changes is no series.

Only names, processor share and memory: no arguments, no users.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, NamedTuple

from agent.checks import share
from agent.checks.process import used_since
from agent.reading import Reading
from agent.sources import Process, Source

_LISTED = 8


class Consumer(NamedTuple):
    """All processes of one name together."""

    name: str
    cpu: float
    """Share of the whole host's processor time, 0..1."""
    memory: int
    """Resident bytes."""
    processes: int


class TopCheck:
    name: ClassVar[str] = "top"
    interval_s: ClassVar[float] = 300.0

    def __init__(self, source: Source, emit: Callable[[str, str, dict[str, str]], None]) -> None:
        self._source = source
        self._emit = emit
        self._before: dict[int, Process] = {}
        self._before_s = 0.0

    def read(self, now_s: float) -> Reading:
        scanned = (self._source.process(pid) for pid in self._source.pids())
        now = {process.pid: process for process in scanned if process is not None}
        if self._before:
            capacity = (now_s - self._before_s) * self._source.processors()
            self._emit("process.top", *describe(busiest(now, self._before, capacity)))
        self._before, self._before_s = now, now_s
        return Reading((), ())


def busiest(now: dict[int, Process], before: dict[int, Process], capacity_s: float) -> list[Consumer]:
    """By name, the busiest first (by processor share, then by memory)."""
    used: dict[str, list[float]] = {}
    for pid, process in now.items():
        sums = used.setdefault(process.name, [0.0, 0, 0])
        sums[0] += used_since(process, before.get(pid))
        sums[1] += process.memory
        sums[2] += 1
    consumers = [
        Consumer(name, share(cpu, capacity_s) or 0.0, int(memory), int(count))
        for name, (cpu, memory, count) in used.items()
    ]
    consumers.sort(key=lambda consumer: (-round(consumer.cpu, 3), -consumer.memory, consumer.name))
    return consumers[:_LISTED]


def describe(top: list[Consumer]) -> tuple[str, dict[str, str]]:
    """Message for people and attributes for programs."""
    lines = [f"{c.name} {c.cpu:.1%} CPU, {c.memory / 2**20:.0f} MB" for c in top]
    attributes = {}
    for place, consumer in enumerate(top, 1):
        attributes[f"top.{place}.name"] = consumer.name[:512]
        attributes[f"top.{place}.cpu"] = f"{consumer.cpu:.4f}"
        attributes[f"top.{place}.memory"] = str(consumer.memory)
        attributes[f"top.{place}.count"] = str(consumer.processes)
    return "Busiest processes: " + "; ".join(lines), attributes
