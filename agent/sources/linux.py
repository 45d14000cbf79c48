"""Linux: /proc and /sys, read directly. Formats: proc(5), Documentation/admin-guide/iostats.rst."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from agent.sources import CpuTimes, DiskCounters, Memory, Mount, NetCounters, Process, Usage

assert sys.platform != "win32"  # read by type checkers too

_SECTOR = 512
"""Unit of sectors in /proc/diskstats, in bytes, whatever the disk's own sector is."""
_OWN_DISK_PREFIXES = ("loop", "ram", "zram", "fd", "sr", "dm-", "md")
"""Not disks of their own: images, memory, and layers over disks that are counted themselves."""
_COMM_MAX = 15
"""The kernel cuts a process name here; the full one is then in its command line."""


class LinuxSource:
    """Reads each file through a descriptor that stays open: one system call per reading."""

    def __init__(self, proc: str = "/proc", sysfs: str = "/sys") -> None:
        self._proc = proc
        self._sysfs = sysfs
        self._open: dict[str, int] = {}
        self._whole_disks: dict[str, bool] = {}
        self._tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")

    def close(self) -> None:
        """Give the descriptors back."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _head(self, name: str, size: int = 8192) -> bytes:
        """The first ``size`` bytes of a file below /proc."""
        descriptor = self._open.get(name)
        if descriptor is None:
            descriptor = self._open[name] = os.open(f"{self._proc}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        return os.pread(descriptor, size, 0)

    def _whole(self, name: str) -> str:
        """All of a file below /proc that may be long."""
        size = 65536
        data = self._head(name, size)
        while len(data) == size:
            size *= 4
            data = self._head(name, size)
        return data.decode("utf-8", "surrogateescape")

    # ---- processor and memory

    def processors(self) -> int:
        return os.cpu_count() or 1

    def cpu(self) -> CpuTimes:
        first = self._head("stat", 512).split(b"\n", 1)[0]
        user, nice, system, idle, iowait, irq, softirq, steal = (int(n) for n in first.split()[1:9])
        total = user + nice + system + idle + iowait + irq + softirq + steal
        tick = self._tick_s
        return CpuTimes(
            total * tick,
            (idle + iowait) * tick,
            (user + nice) * tick,
            (system + irq + softirq) * tick,
            iowait * tick,
            steal * tick,
        )

    def load_1m(self) -> float | None:
        return float(self._head("loadavg", 256).split(b" ", 1)[0])

    def memory(self) -> Memory:
        kib = {}
        for line in self._head("meminfo").split(b"\n"):
            name, _, rest = line.partition(b":")
            if name in _MEMORY_LINES:
                kib[name] = int(rest.split()[0]) * 1024
        swap = kib.get(b"SwapTotal", 0)
        available = min(kib[b"MemAvailable"], kib[b"MemTotal"])
        return Memory(kib[b"MemTotal"], available, swap, swap - kib.get(b"SwapFree", 0))

    # ---- volumes

    def mounts(self) -> list[Mount]:
        found = []
        for line in self._whole("self/mounts").splitlines():
            device, mountpoint, kind, *_ = line.split(" ")
            found.append(Mount(_unescaped(mountpoint), kind, _unescaped(device)))
        return found

    def usage(self, mountpoint: str) -> Usage:
        return usage_of(os.statvfs(mountpoint))

    # ---- disks and network

    def disks(self) -> dict[str, DiskCounters]:
        found = {}
        for line in self._whole("diskstats").splitlines():
            fields = line.split()
            if self._is_whole_disk(fields[2]):
                found[fields[2]] = _disk(fields)
        return found

    def _is_whole_disk(self, name: str) -> bool:
        known = self._whole_disks.get(name)
        if known is None:
            listed = os.path.exists(f"{self._sysfs}/block/{name.replace('/', '!')}")
            known = self._whole_disks[name] = listed and not name.startswith(_OWN_DISK_PREFIXES)
        return known

    def interfaces(self) -> dict[str, NetCounters]:
        found = {}
        for line in self._whole("net/dev").splitlines()[2:]:
            name, _, rest = line.partition(":")
            n = [int(field) for field in rest.split()]
            found[name.strip()] = NetCounters(n[0], n[8], n[2], n[10], n[3], n[11])
        return found

    # ---- processes

    def pids(self) -> list[int]:
        return [int(name) for name in os.listdir(self._proc) if name.isdecimal()]

    def process(self, pid: int) -> Process | None:
        try:
            with open(f"{self._proc}/{pid}/stat", "rb", buffering=0) as file:
                data = file.read(1024)
        except OSError:  # gone, or hidden from us
            return None
        end = data.rfind(b")")
        fields = data[end + 2 :].split()
        name = data[data.find(b"(") + 1 : end].decode("utf-8", "replace")
        if len(name) >= _COMM_MAX:
            name = self._full_name(pid, name)
        cpu = (int(fields[11]) + int(fields[12])) * self._tick_s
        return Process(pid, name, float(fields[19]), cpu, int(fields[21]) * self._page)

    def _full_name(self, pid: int, cut: str) -> str:
        """The name before the kernel cut it, when the command line confirms it."""
        first = self.command_line(pid).split(" ", 1)[0].rsplit("/", 1)[-1]
        return first if first.startswith(cut) else cut

    def command_line(self, pid: int) -> str:
        try:
            data = Path(f"{self._proc}/{pid}/cmdline").read_bytes()
        except OSError:
            return ""
        return data.rstrip(b"\0").replace(b"\0", b" ").decode("utf-8", "replace")

    # ---- host

    def uptime_s(self) -> float:
        return float(self._head("uptime", 256).split()[0])

    def boot_id(self) -> str:
        return self._head("sys/kernel/random/boot_id", 64).decode().strip()

    def own_memory(self) -> int:
        return int(self._head("self/statm", 256).split()[1]) * self._page


_MEMORY_LINES = frozenset((b"MemTotal", b"MemAvailable", b"SwapTotal", b"SwapFree"))


def usage_of(stat: os.statvfs_result) -> Usage:
    """Space as ordinary programs see it: the part reserved for root counts as neither used nor free."""
    block = stat.f_frsize
    return Usage(
        total=stat.f_blocks * block,
        free=stat.f_bavail * block,
        used=(stat.f_blocks - stat.f_bfree) * block,
        inodes_total=stat.f_files,
        inodes_used=stat.f_files - stat.f_ffree,
    )


def _disk(fields: list[str]) -> DiskCounters:
    n = [int(field) for field in fields[3:13]]
    return DiskCounters(
        read_bytes=n[2] * _SECTOR,
        write_bytes=n[6] * _SECTOR,
        reads=n[0],
        writes=n[4],
        read_s=n[3] / 1000,
        write_s=n[7] / 1000,
        busy_s=n[9] / 1000,
    )


def _unescaped(text: str) -> str:
    """/proc/mounts writes blank, tab, newline and backslash in octal."""
    if "\\" not in text:
        return text
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text
