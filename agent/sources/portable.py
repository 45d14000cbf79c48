"""Every system that psutil knows (Windows first of all)."""

from __future__ import annotations

import os
import sys
import time

import psutil

from agent.sources import CpuTimes, DiskCounters, Memory, Mount, NetCounters, Process, Usage
from wire.clock import utcnow


class PortableSource:
    """psutil behind the port."""

    def processors(self) -> int:
        return psutil.cpu_count() or 1

    def cpu(self) -> CpuTimes:
        times = psutil.cpu_times()
        iowait = getattr(times, "iowait", None)
        steal = getattr(times, "steal", None)
        interrupts = sum(getattr(times, name, 0.0) for name in ("irq", "softirq", "interrupt", "dpc"))
        user = times.user + getattr(times, "nice", 0.0)
        system = times.system + (interrupts if sys.platform != "win32" else 0.0)
        idle = times.idle + (iowait or 0.0)
        return CpuTimes(user + system + idle + (steal or 0.0), idle, user, system, iowait, steal)

    def load_1m(self) -> float | None:
        """Windows has no such number; psutil's imitation needs a thread that polls, so we leave it out."""
        if sys.platform == "win32":
            return None
        else:  # noqa: RET505 - type checkers follow the platform only through if and else
            return os.getloadavg()[0]

    def memory(self) -> Memory:
        ram, swap = psutil.virtual_memory(), psutil.swap_memory()
        return Memory(ram.total, ram.available, swap.total, swap.used)

    def mounts(self) -> list[Mount]:
        return [
            Mount(part.mountpoint, part.fstype, part.device) for part in psutil.disk_partitions(all=False)
        ]

    def usage(self, mountpoint: str) -> Usage:
        if sys.platform != "win32":
            from agent.sources.linux import usage_of

            return usage_of(os.statvfs(mountpoint))
        else:  # noqa: RET505
            space = psutil.disk_usage(mountpoint)
            return Usage(space.total, space.free, space.used, 0, 0)

    def disks(self) -> dict[str, DiskCounters]:
        counted = psutil.disk_io_counters(perdisk=True, nowrap=False) or {}
        return {name: _disk(counters) for name, counters in counted.items()}

    def interfaces(self) -> dict[str, NetCounters]:
        return {
            name: NetCounters(n.bytes_recv, n.bytes_sent, n.errin, n.errout, n.dropin, n.dropout)
            for name, n in psutil.net_io_counters(pernic=True, nowrap=False).items()
        }

    def pids(self) -> list[int]:
        return psutil.pids()

    def process(self, pid: int) -> Process | None:
        try:
            process = psutil.Process(pid)
            with process.oneshot():
                times, memory = process.cpu_times(), process.memory_info()
                name, started = process.name(), process.create_time()
        except psutil.Error:
            return None
        return Process(pid, name.removesuffix(".exe"), started, times.user + times.system, memory.rss)

    def command_line(self, pid: int) -> str:
        try:
            return " ".join(psutil.Process(pid).cmdline())
        except psutil.Error:
            return ""

    def uptime_s(self) -> float:
        """On Windows the monotonic clock counts from boot; elsewhere psutil knows the boot time."""
        if sys.platform == "win32":
            return time.monotonic()
        else:  # noqa: RET505
            return max(0.0, utcnow().timestamp() - psutil.boot_time())

    def boot_id(self) -> str:
        """Boot time to the nearest ten seconds: Windows shifts it a little with each clock correction."""
        return f"boot-{round(psutil.boot_time() / 10)}"

    def own_memory(self) -> int:
        return int(psutil.Process().memory_info().rss)


def _disk(counters: object) -> DiskCounters:
    def number(name: str) -> int:
        return int(getattr(counters, name, 0))

    busy = getattr(counters, "busy_time", None)
    return DiskCounters(
        read_bytes=number("read_bytes"),
        write_bytes=number("write_bytes"),
        reads=number("read_count"),
        writes=number("write_count"),
        read_s=number("read_time") / 1000,
        write_s=number("write_time") / 1000,
        busy_s=None if busy is None else busy / 1000,
    )
