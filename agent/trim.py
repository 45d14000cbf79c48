"""Leaving out the series that the collector has no room for. Pure.

A collector refuses a layout with more live series than a limit allows and names those that are over. They
alone are left out: the others go on in a smaller layout of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import msgspec

from wire import layout as wire_layout
from wire.batch import Frame
from wire.layout import Layout

ASK_AGAIN_S = 6 * 3600.0
"""After this time series that found no room are sent again: there may be room now, in seconds."""


class Trim(NamedTuple):
    """What becomes of frames of one layout."""

    digest: bytes
    """Of the smaller layout; empty: no series is left."""
    body: bytes
    """Its canonical bytes."""
    keep: tuple[int, ...]
    """Indexes of the values that stay, in order."""
    dropped: int
    """Values that each frame loses."""


def trim_of(body: bytes, over: Collection[int]) -> Trim | None:
    """How frames of the layout ``body`` are cut; None when ``over`` names none of its series."""
    layout = msgspec.msgpack.decode(body, type=Layout)
    keep = tuple(n for n in range(len(layout.series)) if n not in over)
    dropped = len(layout.series) - len(keep)
    if not dropped:
        return None
    if not keep:
        return Trim(b"", b"", (), dropped)
    series = tuple(layout.series[n] for n in keep)
    smaller = wire_layout.encode(Layout(layout.version, layout.interval_s, series))
    return Trim(wire_layout.digest(smaller), smaller, keep, dropped)


def cut(frame: Frame, trim: Trim) -> Frame | None:
    """The frame without what is left out; None when nothing stays."""
    if not trim.keep:
        return None
    return Frame(trim.digest, frame.time_ms, [frame.values[n] for n in trim.keep])


class Trims:
    """The layouts that are cut at present, each for ``ASK_AGAIN_S``."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Trim, float]] = {}

    def note(self, digest: bytes, trim: Trim, now_s: float) -> bool:
        """Cut frames of this layout from now on (monotonic seconds); True when they were not cut before."""
        fresh = digest not in self._known
        self._known[digest] = (trim, now_s + ASK_AGAIN_S)
        return fresh

    def apply(self, frames: list[Frame], now_s: float) -> tuple[list[Frame], int]:
        """What is left of ``frames``, and how many values were left out."""
        if not self._known:
            return frames, 0
        self._known = {digest: found for digest, found in self._known.items() if found[1] > now_s}
        return cut_all(frames, {digest: trim for digest, (trim, _) in self._known.items()})


def cut_all(frames: list[Frame], trims: Mapping[bytes, Trim]) -> tuple[list[Frame], int]:
    """What is left of ``frames``, and how many values were left out."""
    kept, lost = [], 0
    for frame in frames:
        trim = trims.get(frame.layout)
        lost += trim.dropped if trim else 0
        whole = cut(frame, trim) if trim else frame
        kept += [whole] if whole else []
    return kept, lost
