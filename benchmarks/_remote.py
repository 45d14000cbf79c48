"""Prometheus remote write, version 1, as its senders write it: protobuf by hand, Snappy by a wheel.

    WriteRequest  repeated TimeSeries = 1
    TimeSeries    repeated Label = 1 {name = 1, value = 2},
                  repeated Sample = 2 {double value = 1, int64 ms = 2}

One request carries one frame: the hundred series of one host at one time, like our batch. What does not
change between two frames of a host is encoded once, as any sender would.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import cramjam

from wire.layout import Layout, Series

_DOUBLE = struct.Struct("<d")


def packed(body: bytes) -> bytes:
    """Snappy's block format."""
    return bytes(cramjam.snappy.compress_raw(body))


def heads(shape: Layout, host: str, tenant: str) -> list[bytes]:
    """Of each series of a host: all of its TimeSeries but the sample."""
    return [_head(series, host, tenant) for series in shape.series]


def _head(series: Series, host: str, tenant: str) -> bytes:
    labels = {"__name__": series.metric.replace(".", "_"), "host": host, "tenant": tenant}
    labels |= {name.replace(".", "_"): value for name, value in series.attributes.items()}
    body = b"".join(_field(1, _label(name, labels[name])) for name in sorted(labels))
    return b"\x0a" + varint(len(body) + _SAMPLE_BYTES) + body


def _label(name: str, value: str) -> bytes:
    return _field(1, name.encode()) + _field(2, value.encode())


def _field(number: int, body: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(body)) + body


def varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def cells(values: Sequence[float]) -> list[bytes]:
    """Of each value: the sample's field up to its time."""
    return [b"\x12\x10\x09" + _DOUBLE.pack(value) + b"\x10" for value in values]


_SAMPLE_BYTES = 18
"""A sample's field: tag and length, a double with its tag, a time of six bytes with its tag."""


def request(host: Sequence[bytes], frame: Sequence[bytes], time_ms: int) -> bytes:
    """The body of one request: ``heads`` of a host with the ``cells`` of a frame."""
    at = varint(time_ms)
    assert len(at) == 6, "a time between the years 2004 and 2109"
    parts = [at] * (3 * len(host))
    parts[0::3] = host
    parts[1::3] = frame
    return packed(b"".join(parts))
