"""The demo's rule pack: the shipped pack's ideas with durations short enough to watch, the fault at P1.

Limits on RAM and disk are set from a reading of this machine, so that a bounded fault crosses them.
"""

from __future__ import annotations

from pathlib import Path

import psutil

from ucx_proactive.demo import faults
from ucx_proactive.demo.faults import Fault

FOR_S = 8
"""Seconds that a condition must hold in the demo (the shipped pack: minutes)."""

_EXPLAINED = {
    Fault.CPU: "CPU above 85 % for 8 s is P{priority} here (shipped rule: above 95 % for 10 min, P2)",
    Fault.MEMORY: "RAM above a limit just over this machine's present use, for 8 s, is P{priority} here "
    "(shipped rule: above 95 % for 10 min, P2)",
    Fault.DISK: "free space below a limit just under this volume's present one, for 8 s, is P{priority} here "
    "(shipped rule: below 500 MB for 2 min, P1)",
    Fault.PROCESS: "a platform process missing for 8 s is P{priority} here "
    "(shipped rule: a core service down for 3 polls, P1)",
    Fault.AGENT_SILENT: "a host silent for 60 s is P{priority} here (shipped rule: 10 min, P2)",
}

_HEAD = """version: 1
name: demo
rules:
  - id: demo.{fault}
    name: {name}
    component: host
    rationale: Shows the chain within two minutes; the shipped pack waits longer.
    runbook: Nothing to do - the demo makes this fault and undoes it.
    summary: "{summary}"
"""

_CPU = """    metric: system.cpu.utilization
    levels:
      - priority: P{priority}
        when: value > 85 %
        for: {for_s} s
        clear: value < 75 %
        clear_for: {for_s} s
"""

_MEMORY = """    metric: system.memory.available
    levels:
      - priority: P{priority}
        when: value < {limit} MiB
        for: {for_s} s
        clear: value > {limit} MiB
        clear_for: {for_s} s
"""

_DISK = """    metric: system.filesystem.free
    where: {{system.filesystem.mountpoint: "{mountpoint}"}}
    instance: [system.filesystem.mountpoint]
    levels:
      - priority: P{priority}
        when: value < {limit} MiB
        for: {for_s} s
        clear: value > {limit} MiB
        clear_for: {for_s} s
"""

_PROCESS = """    metric: ucx.process.count
    where: {{process.executable.name: {process}}}
    instance: [process.executable.name]
    levels:
      - {{priority: P{priority}, when: value < 1, for: {for_s} s, clear: value >= 1, clear_for: {for_s} s}}
"""

_SILENT = """    silent: {{of: host, clear_reports: 2}}
    levels:
      - {{priority: P{priority}, after: 60 s}}
"""

_MIB = 1024**2


def explained(fault: Fault, priority: int) -> str:
    """What the demo's rule changes, to be told to who watches."""
    return _EXPLAINED[fault].format(priority=priority)


def pack(fault: Fault, directory: Path, priority: int = 1) -> str:
    """The pack's YAML for ``fault`` on this machine; ``directory`` lies on the volume of the disk fault."""
    common = {"priority": priority, "for_s": FOR_S}
    match fault:
        case Fault.CPU:
            return _head(fault, "CPU", "CPU of {host} is saturated") + _CPU.format(**common)
        case Fault.MEMORY:
            limit = (psutil.virtual_memory().available - faults.memory_to_take() * 2 // 3) // _MIB
            text = _MEMORY.format(limit=limit, **common)
            return _head(fault, "RAM", "RAM of {host} is exhausted") + text
        case Fault.DISK:
            text = _DISK.format(limit=_limit(directory), mountpoint=mountpoint(directory), **common)
            return _head(fault, "Disk", "Volume {instance} of {host} is filling up") + text
        case Fault.PROCESS:
            text = _PROCESS.format(process=faults.PLATFORM_PROCESS, **common)
            return _head(fault, "Platform process", "{instance} does not run on {host}") + text
        case Fault.AGENT_SILENT:
            text = _SILENT.format(priority=priority)
            return _head(fault, "Agent silent", "Nothing is heard from {host}") + text


def _head(fault: Fault, name: str, summary: str) -> str:
    return _HEAD.format(fault=fault, name=name, summary=summary)


def _limit(directory: Path) -> int:
    """MiB of free space below which the disk fault shows."""
    free = psutil.disk_usage(str(directory)).free
    return (free - faults.disk_to_take(directory) * 2 // 3) // _MIB


def mountpoint(directory: Path) -> str:
    """Where the volume that ``directory`` lies on is mounted."""
    place = directory.resolve()
    while not place.is_mount():
        place = place.parent
    return str(place)
