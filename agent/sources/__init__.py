"""Where the checks' numbers come from: one port, two ways.

``linux`` reads /proc and /sys itself (cached descriptors, no copies); ``portable`` asks psutil and serves
every other system. Both give the same types, and a test on Linux holds one against the other.
"""

from __future__ import annotations

import sys
from typing import NamedTuple, Protocol


class CpuTimes(NamedTuple):
    """Processor time since boot, all processors together, in seconds."""

    total: float
    idle: float
    """Idle, waiting for disks included."""
    user: float
    system: float
    iowait: float | None
    """None where the system does not count it."""
    steal: float | None


class Memory(NamedTuple):
    """Bytes."""

    total: int
    available: int
    swap_total: int
    swap_used: int


class Mount(NamedTuple):
    """A mounted file system."""

    mountpoint: str
    kind: str
    """File system type: ext4, ntfs, nfs4."""
    device: str


class Usage(NamedTuple):
    """How full a volume is."""

    total: int
    """Bytes of the volume."""
    free: int
    """Bytes that an ordinary program can still write."""
    used: int
    inodes_total: int
    """0 where the file system does not count inodes."""
    inodes_used: int


class DiskCounters(NamedTuple):
    """Since boot: bytes, completed operations, seconds spent."""

    read_bytes: int
    write_bytes: int
    reads: int
    writes: int
    read_s: float
    write_s: float
    busy_s: float | None


class NetCounters(NamedTuple):
    """Since boot: bytes and packets."""

    received_bytes: int
    sent_bytes: int
    receive_errors: int
    send_errors: int
    receive_drops: int
    send_drops: int


class Process(NamedTuple):
    """One process as far as we look at it: never its arguments, user or environment."""

    pid: int
    name: str
    """Name of the executable, without directories (and without ``.exe``)."""
    started: float
    """Start, in a unit of the source's own; with the pid it identifies the process."""
    cpu_s: float
    """Processor time used since its start, in seconds."""
    memory: int
    """Resident bytes."""


class Source(Protocol):
    """The port. Each call may raise OSError; the check then fails, and only that check."""

    def processors(self) -> int: ...
    def cpu(self) -> CpuTimes: ...
    def load_1m(self) -> float | None: ...
    def memory(self) -> Memory: ...
    def mounts(self) -> list[Mount]: ...
    def usage(self, mountpoint: str) -> Usage: ...
    def disks(self) -> dict[str, DiskCounters]: ...
    def interfaces(self) -> dict[str, NetCounters]: ...
    def pids(self) -> list[int]: ...
    def process(self, pid: int) -> Process | None: ...
    def command_line(self, pid: int) -> str: ...
    def uptime_s(self) -> float: ...
    def boot_id(self) -> str: ...
    def own_memory(self) -> int: ...


def for_this_system() -> Source:
    """The cheapest source that this system offers."""
    if sys.platform == "linux":
        from agent.sources.linux import LinuxSource

        return LinuxSource()
    else:  # noqa: RET505 - type checkers follow the platform only through if and else
        from agent.sources.portable import PortableSource

        return PortableSource()
