"""Layouts: the ordered list of series that the values of a frame stand in.

A layout is named by its content (SHA-256 of its canonical bytes), uploaded once, apart from batches.
Canonical bytes: MessagePack of ``Layout`` with attributes sorted by name - made by ``encode`` only.
"""

from __future__ import annotations

import hashlib
from typing import Annotated

import msgspec
from msgspec import Meta

from wire import limits

VERSION = 1

MetricName = Annotated[
    str,
    Meta(max_length=limits.MAX_NAME, pattern=r"\A[a-z][a-z0-9_]*(\.[a-z0-9][a-z0-9_]*)+\Z"),
]
"""OpenTelemetry style: lower case, at least two parts joined by dots, as in ``system.cpu.utilization``."""
AttributeName = Annotated[
    str,
    Meta(max_length=limits.MAX_NAME, pattern=r"\A[a-z][a-z0-9_]*(\.[a-z0-9][a-z0-9_]*)*\Z"),
]
AttributeValue = Annotated[str, Meta(max_length=limits.MAX_ATTRIBUTE_VALUE)]


class Series(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One column of a layout: a metric with its attributes."""

    metric: MetricName
    """Name from the catalogue (OpenTelemetry semantic conventions), e.g. ``system.cpu.utilization``."""
    attributes: Annotated[dict[AttributeName, AttributeValue], Meta(max_length=limits.MAX_ATTRIBUTES)] = {}
    """Attributes that tell this series from others of the metric, e.g. ``{"system.device": "sda"}``."""


class Layout(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An ordered list of series of one host, all measured at the same interval."""

    version: int
    interval_s: Annotated[float, Meta(gt=0, le=limits.MAX_INTERVAL_S)]
    """Seconds between two frames of this layout."""
    series: Annotated[tuple[Series, ...], Meta(min_length=1, max_length=limits.MAX_SERIES_PER_LAYOUT)]
    """1 .. 200 series; a frame's ``values[i]`` belongs to ``series[i]``."""


def encode(layout: Layout) -> bytes:
    """Canonical bytes of a layout: attributes sorted by name, the interval always written as a float."""
    ordered = tuple(Series(s.metric, dict(sorted(s.attributes.items()))) for s in layout.series)
    return msgspec.msgpack.encode(Layout(layout.version, float(layout.interval_s), ordered))


def digest(body: bytes) -> bytes:
    """The layout's name: 32 bytes, SHA-256 of its canonical bytes."""
    return hashlib.sha256(body).digest()
