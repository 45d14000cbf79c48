"""How a batch travels: zstd where this host has the library (extra ``[zstd]``), else gzip.

Which of them the collector takes is found out by asking: one that answers 415 gets gzip from then on.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

COMPRESS_FROM = 512
"""Smaller bodies do not get smaller, in bytes."""
_OWN_TABLE_FROM = 2048
"""gzip: larger bodies get a table of their own, in bytes."""
_ZSTD_LEVEL = 12
"""For bodies of a kilobyte or two it takes a fraction of a millisecond, and a sixth off gzip's size."""

Pack = Callable[[bytes], bytes]


class Packer:
    """What the collector takes, as far as it is known."""

    def __init__(self) -> None:
        self._zstd = zstd()

    def pack(self, body: bytes) -> tuple[bytes, dict[str, str]]:
        """The body as it is sent, and the headers that say so."""
        if len(body) < COMPRESS_FROM:
            return body, {}
        if self._zstd is not None:
            return self._zstd(body), {"Content-Encoding": "zstd"}
        return gzipped(body), {"Content-Encoding": "gzip"}

    def give_way(self, status: int) -> bool:
        """True when an answer means that the body should be packed in another way, and sent again."""
        if status != 415 or self._zstd is None:
            return False
        self._zstd = None
        return True


def gzipped(body: bytes) -> bytes:
    """RFC 1952, the same bytes for the same input."""
    # One table for all saves building and reading one of its own, which a small body does not earn.
    strategy = zlib.Z_FIXED if len(body) < _OWN_TABLE_FROM else zlib.Z_DEFAULT_STRATEGY
    packer = zlib.compressobj(6, zlib.DEFLATED, 31, zlib.DEF_MEM_LEVEL, strategy)
    return packer.compress(body) + packer.flush()


def zstd() -> Pack | None:
    """RFC 8878, where the library is installed."""
    try:
        import zstandard
    except ImportError:
        return None
    packer = zstandard.ZstdCompressor(level=_ZSTD_LEVEL)
    return packer.compress
