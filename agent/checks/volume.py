"""Volumes: how full each is.

Local volumes are found by themselves; memory-backed and pseudo file systems are left out, and network mounts
unless the configuration names them. A network mount is asked in a thread of its own: when its server is gone
the call may never return, and then only this mount's values are missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import ClassVar

from agent.bounded import Bounded, Deadline
from agent.checks import share
from agent.reading import Column, Reading, columns
from agent.sources import Mount, Source, Usage

_METRICS = (
    "system.filesystem.free_ratio",
    "system.filesystem.free",
    "system.filesystem.utilization",
    "system.filesystem.limit",
    "ucx.filesystem.inodes.utilization",
)
_REAL = frozenset(
    (
        *("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs"),
        *("ntfs", "ntfs3", "fuseblk", "refs", "csvfs", "vfat", "fat", "fat32", "exfat", "apfs", "hfs", "ufs"),
    )
)
"""File systems on disks. Everything else is memory, kernel bookkeeping, an image, or a network mount."""
_NETWORK = frozenset(
    (
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "9p", "afs", "ncpfs"),
        *("fuse.sshfs", "fuse.glusterfs", "fuse.s3fs", "fuse.rclone"),
    )
)
_MAX_VOLUMES = 32
_NETWORK_DEADLINE_S = 2.0


class VolumeCheck:
    name: ClassVar[str] = "volume"
    interval_s: ClassVar[float] = 60.0

    def __init__(self, source: Source, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        self._source = source
        self._include, self._exclude = tuple(include), tuple(exclude)
        self._points: tuple[str, ...] = ()
        self._columns: tuple[Column, ...] = ()
        self._remote: dict[str, Bounded[Usage]] = {}

    def read(self, now_s: float) -> Reading:
        chosen = choose(self._source.mounts(), self._include, self._exclude)
        points = tuple(printable(mount.mountpoint) for mount in chosen)
        if points != self._points:
            self._points = points
            self._columns = tuple(
                c for p in points for c in columns(_METRICS, system__filesystem__mountpoint=p)
            )
        for mount in chosen:
            if _is_network(mount):
                self._bounded(mount.mountpoint).start()
        left = Deadline(_NETWORK_DEADLINE_S)
        return Reading(
            self._columns, [value for mount in chosen for value in values(self._usage(mount, left))]
        )

    def _usage(self, mount: Mount, left: Deadline) -> Usage | None:
        """None for a volume that cannot be asked now: the others are not to suffer for it."""
        try:
            if not _is_network(mount):
                return self._source.usage(mount.mountpoint)
            return self._bounded(mount.mountpoint).result(left.seconds())
        except OSError:
            return None

    def _bounded(self, point: str) -> Bounded[Usage]:
        if point not in self._remote:
            self._remote[point] = Bounded(lambda: self._source.usage(point))
        return self._remote[point]


def choose(mounts: Iterable[Mount], include: Sequence[str], exclude: Sequence[str]) -> list[Mount]:
    """The volumes to watch, sorted by mountpoint: each device once (where it is mounted first), the last of
    several mounts on one point (it hides the others). What the configuration names is always watched."""
    by_point = {mount.mountpoint: mount for mount in mounts}
    seen: set[str] = set()
    chosen = []
    for mount in sorted(by_point.values(), key=lambda mount: (len(mount.mountpoint), mount.mountpoint)):
        named = _matches(mount, include)
        if _matches(mount, exclude) or not (named or (_is_local(mount) and mount.device not in seen)):
            continue
        if mount.device.startswith("/"):
            seen.add(mount.device)
        chosen.append(mount)
    return sorted(chosen[:_MAX_VOLUMES])


def _matches(mount: Mount, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(mount.mountpoint, pattern) for pattern in patterns)


def _is_network(mount: Mount) -> bool:
    return mount.kind.lower() in _NETWORK


def _is_local(mount: Mount) -> bool:
    kind = mount.kind.lower()
    return kind in _REAL or (kind == "overlay" and mount.mountpoint == "/")


def values(usage: Usage | None) -> list[float | None]:
    """In the order of the metrics; a volume of size 0 (an empty drive) has no values."""
    if usage is None or usage.total <= 0:
        return [None] * len(_METRICS)
    used = share(usage.used, usage.used + usage.free)
    return [
        None if used is None else 1.0 - used,
        usage.free,
        used,
        usage.total,
        share(usage.inodes_used, usage.inodes_total),
    ]


def printable(text: str) -> str:
    """A mountpoint that is not UTF-8 (or not printable) still needs a name that travels."""
    clean = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace").replace("\0", "\\0")
    return clean[:512]
