"""Layouts: the ordered list of series that the values of a frame stand in.

A layout is named by its content (SHA-256 of its canonical bytes), uploaded once, apart from batches.
Canonical bytes: MessagePack of ``Layout`` with attributes sorted by name - made by ``encode`` only.
"""

from __future__ import annotations

import hashlib

import msgspec

VERSION = 1


class Series(msgspec.Struct, frozen=True, array_like=True):
    """One column of a layout: a metric with its attributes."""

    metric: str
    """Name from the catalogue (OpenTelemetry semantic conventions), e.g. ``system.cpu.utilization``."""
    attributes: dict[str, str] = {}
    """Attributes that tell this series from others of the metric, e.g. ``{"system.device": "sda"}``."""


class Layout(msgspec.Struct, frozen=True, array_like=True):
    """An ordered list of series of one host, all measured at the same interval."""

    version: int
    interval_s: float
    """Seconds between two frames of this layout."""
    series: tuple[Series, ...]
    """1 .. 200 series; a frame's ``values[i]`` belongs to ``series[i]``."""


def encode(layout: Layout) -> bytes:
    """Canonical bytes of a layout."""
    ordered = tuple(Series(s.metric, dict(sorted(s.attributes.items()))) for s in layout.series)
    return msgspec.msgpack.encode(Layout(layout.version, layout.interval_s, ordered))


def digest(body: bytes) -> bytes:
    """The layout's name: 32 bytes, SHA-256 of its canonical bytes."""
    return hashlib.sha256(body).digest()
