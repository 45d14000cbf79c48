"""Processes that the configuration names: processor time, memory, how many run.

Looking at every process at each tick is what makes agents expensive. Here a tick lists the pids, looks at new
ones (twice: a process is born under its parent's name) and at those that match; every five minutes
everything is looked at again, so that a reused pid cannot hide for longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, NamedTuple

from agent.checks import share
from agent.reading import Reading, columns
from agent.sources import Process, Source

_METRICS = (
    "process.cpu.utilization",
    "process.memory.usage",
    "process.memory.utilization",
    "ucx.process.count",
)
_LOOKS = 2
"""How often a new pid is looked at before it counts as not ours."""
_FULL_SCAN_S = 300.0
"""Pids are reused after millions of others; this also finds a program that became another late (exec)."""


class ProcessRule(NamedTuple):
    """One configured name: which processes belong to it."""

    name: str
    """Value of ``process.executable.name``."""
    pattern: str
    """Glob over the executable's name, lower case, without ``.exe``."""
    arguments: str = ""
    """Glob over the whole command line; empty = any. The command line never leaves the host."""


class Seen(NamedTuple):
    """A matching process at the previous tick."""

    rule: int
    process: Process


class ProcessCheck:
    name: ClassVar[str] = "process"
    interval_s: ClassVar[float] = 15.0

    def __init__(self, source: Source, rules: Sequence[ProcessRule]) -> None:
        self._source = source
        self._rules = tuple(rules)
        self._columns = tuple(
            column for rule in rules for column in columns(_METRICS, process__executable__name=rule.name)
        )
        self._looks: dict[int, int] = {}
        self._matched: dict[int, Seen] = {}
        self._before_s: float | None = None
        self._full_scan_s = float("-inf")

    def read(self, now_s: float) -> Reading:
        if not self._rules:
            return Reading((), ())
        found = self._find(now_s)
        elapsed_s = None if self._before_s is None else now_s - self._before_s
        readings = values(
            len(self._rules),
            found,
            self._matched,
            elapsed_s,
            self._source.processors(),
            self._source.memory().total,
        )
        self._matched, self._before_s = found, now_s
        return Reading(self._columns, readings)

    def _find(self, now_s: float) -> dict[int, Seen]:
        """All matching processes that run now."""
        if now_s - self._full_scan_s >= _FULL_SCAN_S:
            self._looks, self._full_scan_s = {}, now_s
        looks, found = {}, {}
        for pid in self._source.pids():
            looked = self._looks.get(pid, 0)
            looks[pid] = min(looked + 1, _LOOKS)
            if looked < _LOOKS or pid in self._matched:
                seen = self._look(pid)
                if seen is not None:
                    found[pid] = seen
        self._looks = looks
        return found

    def _look(self, pid: int) -> Seen | None:
        process = self._source.process(pid)
        if process is None:
            return None
        rule = self._rule_of(process)
        return None if rule is None else Seen(rule, process)

    def _rule_of(self, process: Process) -> int | None:
        """The first rule that matches: a process counts once."""
        name = process.name.lower()
        for index, rule in enumerate(self._rules):
            if fnmatchcase(name, rule.pattern) and self._arguments_match(process.pid, rule):
                return index
        return None

    def _arguments_match(self, pid: int, rule: ProcessRule) -> bool:
        return not rule.arguments or fnmatchcase(self._source.command_line(pid), rule.arguments)


def values(
    rules: int,
    found: dict[int, Seen],
    before: dict[int, Seen],
    elapsed_s: float | None,
    processors: int,
    ram: int,
) -> list[float | None]:
    """In the order of the columns. Processor shares are of the whole host; None at the first reading."""
    cpu_s, memory, count = [0.0] * rules, [0] * rules, [0] * rules
    for pid, seen in found.items():
        earlier = before.get(pid)
        cpu_s[seen.rule] += used_since(seen.process, earlier.process if earlier else None)
        memory[seen.rule] += seen.process.memory
        count[seen.rule] += 1
    result: list[float | None] = []
    for rule in range(rules):
        busy = share(cpu_s[rule], elapsed_s * processors) if elapsed_s else None
        result += [busy, memory[rule], share(memory[rule], ram), count[rule]]
    return result


def used_since(now: Process, before: Process | None) -> float:
    """Processor seconds since the previous tick; a process that was not there then has used all of its own
    since, and a reused pid is another process."""
    if before is None or before.started != now.started:
        return now.cpu_s
    return max(0.0, now.cpu_s - before.cpu_s)
