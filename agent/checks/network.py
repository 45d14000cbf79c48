"""Network interfaces: bytes, faults and drops per second."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import ClassVar

from agent.checks import rate
from agent.checks.counted import Counted
from agent.reading import Column, Reading
from agent.sources import NetCounters, Source

_METRICS = ("system.network.io", "system.network.errors", "system.network.packet.dropped")
_VIRTUAL = (
    *("lo", "veth*", "docker*", "br-*", "virbr*", "vnet*", "tap*", "tun*", "cali*", "flannel*", "cni*"),
    *("dummy*", "sit0", "ip6tnl0", "tunl0", "gre*", "ifb*", "teql*"),
    *("Loopback*", "isatap*", "Teredo*", "*Pseudo-Interface*"),
)
"""Interfaces inside the host: containers come and go and would make a new layout each time."""
_MAX_INTERFACES = 16


class NetworkCheck:
    name: ClassVar[str] = "network"
    interval_s: ClassVar[float] = 15.0

    def __init__(self, source: Source, exclude: Sequence[str] = ()) -> None:
        self._source = source
        self._exclude = (*_VIRTUAL, *exclude)
        self._wanted: dict[str, bool] = {}
        self._counted = Counted(_columns, values)

    def read(self, now_s: float) -> Reading:
        counters = self._source.interfaces()
        names = tuple(sorted(filter(self._is_wanted, counters)))[:_MAX_INTERFACES]
        return self._counted.read(counters, names, now_s)

    def _is_wanted(self, name: str) -> bool:
        """Remembered per name, forgotten when containers have filled the memory with names."""
        if len(self._wanted) > 4096:
            self._wanted.clear()
        if name not in self._wanted:
            self._wanted[name] = not any(fnmatchcase(name, pattern) for pattern in self._exclude)
        return self._wanted[name]


def _columns(interface: str) -> tuple[Column, ...]:
    of = ("network.interface.name", interface[:512])
    directions = (("network.io.direction", "receive"), ("network.io.direction", "transmit"))
    return tuple(Column(metric, (of, direction)) for metric in _METRICS for direction in directions)


def values(now: NetCounters, before: NetCounters | None, elapsed_s: float) -> list[float | None]:
    """In the order of the columns; None at the first reading and when the counters were reset."""
    if before is None:
        return [None] * len(now)
    return [rate(n, b, elapsed_s) for n, b in zip(now, before, strict=True)]
