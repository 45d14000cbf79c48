"""The other nodes' clocks against this host's, by SNTP (RFC 4330): one small question by UDP to each.

A node answers when it runs a time service (chronyd, ntpd, Windows' w32time as a server). Offset = node minus
host, corrected by half the way; a node that does not answer, or says that it does not know the time itself,
gives no value.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from agent.bounded import Bounded, Deadline, TimedOut
from agent.reading import Column, Reading

_ANSWER_S = 1.0
_TOTAL_S = 3.0
_SIZE = 48
_SINCE_1970 = 2_208_988_800
"""Seconds from 1900, NTP's beginning, to 1970."""
_ERA = 2**32
_ASKING = 0x23
"""Version 4, mode 3 (client)."""
_SERVER_MODE = 4
_UNSYNCHRONISED = 3


class PeerRule(NamedTuple):
    """One node."""

    name: str
    """Value of ``ucx.cluster.node``."""
    host: str
    port: int = 123


class PeersCheck:
    name: ClassVar[str] = "peers"
    interval_s: ClassVar[float] = 60.0

    def __init__(self, rules: Sequence[PeerRule], now_s: Callable[[], float]) -> None:
        self._rules = tuple(rules)
        self._now_s = now_s
        self._asked = [Bounded(self._asking(rule)) for rule in self._rules]
        self._columns = tuple(
            Column("ucx.cluster.clock.offset", (("ucx.cluster.node", rule.name),)) for rule in self._rules
        )

    def read(self, now_s: float) -> Reading:
        """All nodes at the same time: several that are silent cost one wait."""
        for asked in self._asked:
            asked.start()
        left = Deadline(_TOTAL_S)
        return Reading(self._columns, [_told(asked, left.seconds()) for asked in self._asked])

    def _asking(self, rule: PeerRule) -> Callable[[], float | None]:
        return lambda: self._offset(rule)

    def _offset(self, rule: PeerRule) -> float | None:
        try:
            family, kind, _, _, address = socket.getaddrinfo(rule.host, rule.port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, kind) as line:
                line.settimeout(_ANSWER_S)
                line.connect(address)
                mark = os.urandom(8)
                sent = self._now_s()
                line.send(question(mark))
                answer = line.recv(512)
                return offset(answer, mark, sent, self._now_s())
        except OSError:
            return None


def _told(asked: Bounded[float | None], left_s: float) -> float | None:
    try:
        return asked.result(left_s)
    except TimedOut:  # its name could not even be looked up
        return None


def question(mark: bytes) -> bytes:
    """A client's packet; ``mark`` (8 bytes, random) comes back, so that nobody can answer unasked."""
    return bytes([_ASKING]) + bytes(39) + mark


def offset(answer: bytes, mark: bytes, sent_s: float, received_s: float) -> float | None:
    """Node minus host in seconds; None for what is no answer to this question. Pure."""
    if len(answer) < _SIZE or answer[24:32] != mark or answer[0] & 7 != _SERVER_MODE:
        return None
    if answer[0] >> 6 == _UNSYNCHRONISED or not 1 <= answer[1] <= 15:
        return None
    heard, answered = (_seconds(answer[at : at + 8], sent_s) for at in (32, 40))
    return ((heard - sent_s) + (answered - received_s)) / 2


def _seconds(stamp: bytes, near_s: float) -> float:
    """A stamp as seconds since 1970, in the era that is nearest (NTP counts 136 years, then begins anew)."""
    whole, part = struct.unpack("!II", stamp)
    seconds = whole - _SINCE_1970 + part / _ERA
    return float(seconds + round((near_s - seconds) / _ERA) * _ERA)
