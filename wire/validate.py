"""Reading what came over the network: bytes in, a checked value or a ``Refusal`` out - nothing else.

The typed decoder checks types and bounds while it reads (a frame of 100 values takes a few microseconds);
what types cannot say - NUL characters, repeated frames, canonical layouts - is checked here. The verdict
depends on the bytes alone, never on a clock or a database: so a refusal holds for ever, and a receipt may
say so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from wire import batch as _batch
from wire import layout as _layout
from wire import limits
from wire.batch import Batch, EventBatch, Frame, FrameBatch
from wire.layout import Layout
from wire.refusal import (
    NotCanonical,
    NotFinite,
    OutOfRange,
    Refusal,
    Repeated,
    TooLarge,
    UnknownVersion,
    Unreadable,
    WrongShape,
)

T = TypeVar("T")

_FRAMES = msgspec.msgpack.Decoder(FrameBatch)
_EVENTS = msgspec.msgpack.Decoder(EventBatch)
_LAYOUT = msgspec.msgpack.Decoder(Layout)
_PARTS = msgspec.msgpack.Decoder(list[msgspec.Raw])
_FRAMES_START = b"\x96\x01\xa6frames"
_EVENTS_START = b"\x96\x01\xa6events"

_FIELDS = {
    FrameBatch: ("version", "kind", "agent", "epoch", "seq", "frames"),
    EventBatch: ("version", "kind", "agent", "epoch", "seq", "events"),
}
_FRAME_FIELDS = ("layout", "time_ms", "values")
_EVENT_FIELDS = ("time_ms", "source", "event_id", "severity", "message", "attributes")
_LAYOUT_FIELDS = ("version", "interval_s", "series")
_SERIES_FIELDS = ("metric", "attributes")


class Key(msgspec.Struct, frozen=True):
    """What a batch says of itself: enough to write a receipt for a batch whose rest is refused."""

    agent: str
    epoch: int
    seq: int


def decode_batch(body: bytes) -> Batch:
    """The batch in ``body`` (decompressed bytes), every bound of wire/limits.py checked.

    Raises a ``Refusal``. Not checked, because the bytes cannot say it: whether a frame has as many values as
    its layout has series (``check_width``), and whether its time fits the collector's clock."""
    _require_size(body, limits.MAX_BATCH_BYTES)
    if body.startswith(_FRAMES_START):
        return _checked_frames(_decode(_FRAMES.decode, body, _batch_path))
    if body.startswith(_EVENTS_START):
        return _checked_events(_decode(_EVENTS.decode, body, _events_path))
    return _decode_unusual(body)


def decode_layout(body: bytes) -> Layout:
    """The layout in ``body``; raises a ``Refusal`` unless it is legal and written canonically."""
    _require_size(body, limits.MAX_LAYOUT_BYTES)
    _require_version(_parts(body)[0], _layout.VERSION)
    layout = _decode(_LAYOUT.decode, body, _layout_path)
    _require_no_nul(_layout_texts(layout))
    _require_distinct_series(layout)
    if _layout.encode(layout) != body:
        raise NotCanonical(
            "not in canonical form: attributes sorted by name, numbers as wire/layout.py writes them"
        )
    return layout


def read_key(body: bytes) -> Key:
    """Agent, epoch and seq of a batch that may be faulty otherwise; raises a ``Refusal`` when even these
    cannot be read."""
    _require_size(body, limits.MAX_BATCH_BYTES)
    parts = _parts(body)
    if len(parts) < 5:
        raise WrongShape(f"a batch has 6 parts, this has {len(parts)}")
    return Key(
        _field(parts[2], _batch.AgentId, "agent"),
        _field(parts[3], _batch.Number, "epoch"),
        _field(parts[4], _batch.Number, "seq"),
    )


def check_width(frame: Frame, layout: Layout, field: str = "values") -> None:
    """Raise WrongShape unless the frame has one value for each series of its layout."""
    if len(frame.values) != len(layout.series):
        raise WrongShape(f"{len(frame.values)} values for a layout of {len(layout.series)} series", field)


def _require_size(body: bytes, limit: int) -> None:
    if len(body) > limit:
        raise TooLarge(f"{len(body)} bytes; at most {limit} are accepted")


def _decode(decode: Callable[[bytes], T], body: bytes, path: Callable[[str], str]) -> T:
    """Run a typed decoder, turning each of its faults into the Refusal that names the field."""
    try:
        return decode(body)
    except msgspec.ValidationError as fault:
        raise _translated(str(fault), path) from None
    except RecursionError:
        raise Unreadable("nested too deeply") from None
    except UnicodeDecodeError:
        raise Unreadable("text that is not UTF-8") from None
    except (msgspec.DecodeError, ValueError, OverflowError) as fault:
        raise Unreadable(f"not the expected MessagePack: {fault}") from None


# ---- from the decoder's words to ours -----------------------------------------------------------------

_WHERE = re.compile(
    r"^(?P<what>.*?)(?: - at (?P<key>`key(?: in [^`]*)?` in )?`\$(?P<path>[^`]*)`)?$", re.DOTALL
)
_INDEX = re.compile(r"\[(\d+|\.\.\.)\]")


def _translated(message: str, path: Callable[[str], str]) -> Refusal:
    match = _WHERE.match(message)
    assert match is not None
    what, field = match["what"].replace("`", ""), path(match["path"] or "")
    if what.startswith("Expected ") and ", got " in what:
        return WrongShape(what[0].lower() + what[1:], field)
    if ".values[" in field and what.startswith("Expected float "):
        return NotFinite("not a finite number; a missing value is nil", field)
    if any(word in what for word in (">=", "<=", "> ", "< ", "length", "matching", "Invalid enum")):
        kind = TooLarge if "length <=" in what else OutOfRange
        return kind(what[0].lower() + what[1:], field)
    return WrongShape(what, field)


def _batch_path(path: str) -> str:
    """``[5][3][2][7]`` -> ``frames[3].values[7]``."""
    return _named(path, _FIELDS[FrameBatch], _FRAME_FIELDS)


def _events_path(path: str) -> str:
    return _named(path, _FIELDS[EventBatch], _EVENT_FIELDS)


def _layout_path(path: str) -> str:
    return _named(path, _LAYOUT_FIELDS, _SERIES_FIELDS)


def _named(path: str, outer: tuple[str, ...], inner: tuple[str, ...]) -> str:
    steps = _INDEX.findall(path)
    if not steps:
        return "body"
    name = _pick(outer, steps[0])
    if len(steps) > 1:
        name += f"[{steps[1]}]"
    if len(steps) > 2:
        name += "." + _pick(inner, steps[2])
    return name + "".join(f"[{step}]" for step in steps[3:])


def _pick(names: tuple[str, ...], step: str) -> str:
    return names[int(step)] if step.isdigit() and int(step) < len(names) else f"[{step}]"


# ---- a body that does not start as ours do -------------------------------------------------------------


def _decode_unusual(body: bytes) -> Batch:
    """Find out which fault it is - or read a batch whose version or kind is written the long way."""
    parts = _parts(body)
    _require_version(parts[0], _batch.VERSION)
    kind = _field(parts[1], str, "kind") if len(parts) > 1 else None
    if kind == "frames":
        return _checked_frames(_decode(_FRAMES.decode, body, _batch_path))
    if kind == "events":
        return _checked_events(_decode(_EVENTS.decode, body, _events_path))
    raise WrongShape('must be "frames" or "events"', "kind")


def _parts(body: bytes) -> list[msgspec.Raw]:
    parts = _decode(_PARTS.decode, body, _batch_path)
    if not parts:
        raise WrongShape("an empty array")
    return parts


def _require_version(part: msgspec.Raw, known: int) -> None:
    version = _field(part, int, "version")
    if version != known:
        raise UnknownVersion(
            f"version {version} is not known here; this side speaks version {known}", "version"
        )


def _field(part: msgspec.Raw, kind: type[T], name: str) -> T:
    return _decode(lambda raw: msgspec.msgpack.decode(raw, type=kind), bytes(part), lambda _: name)


# ---- what types cannot say -----------------------------------------------------------------------------


def _checked_frames(batch: FrameBatch) -> FrameBatch:
    _require_version_value(batch.version)
    frames = batch.frames
    if len(frames) > 1 and len({(frame.layout, frame.time_ms) for frame in frames}) != len(frames):
        raise Repeated("two frames of one layout at the same time", f"frames[{_first_repeat(frames)}]")
    return batch


def _first_repeat(frames: list[Frame]) -> int:
    seen: set[tuple[bytes, int]] = set()
    for index, frame in enumerate(frames):
        if (frame.layout, frame.time_ms) in seen:
            return index
        seen.add((frame.layout, frame.time_ms))
    raise AssertionError("no repeat")


def _checked_events(batch: EventBatch) -> EventBatch:
    _require_version_value(batch.version)
    _require_no_nul(_event_texts(batch))
    return batch


def _require_version_value(version: int) -> None:
    if version != _batch.VERSION:
        raise UnknownVersion(f"version {version} is not known here", "version")


def _event_texts(batch: EventBatch) -> Iterable[tuple[str, str]]:
    for index, event in enumerate(batch.events):
        field = f"events[{index}]"
        yield event.source, f"{field}.source"
        yield event.event_id, f"{field}.event_id"
        yield event.message, f"{field}.message"
        yield from _attribute_texts(event.attributes, field)


def _layout_texts(layout: Layout) -> Iterable[tuple[str, str]]:
    for index, series in enumerate(layout.series):
        yield from _attribute_texts(series.attributes, f"series[{index}]")


def _attribute_texts(attributes: dict[str, str], field: str) -> Iterable[tuple[str, str]]:
    for name, value in attributes.items():
        yield name, f"{field}.attributes"
        yield value, f"{field}.attributes.{name}"


def _require_no_nul(texts: Iterable[tuple[str, str]]) -> None:
    for text, field in texts:
        if "\0" in text:
            raise Unreadable("holds a NUL character", field)


def _require_distinct_series(layout: Layout) -> None:
    seen: set[tuple[str, frozenset[tuple[str, str]]]] = set()
    for index, series in enumerate(layout.series):
        key = (series.metric, frozenset(series.attributes.items()))
        if key in seen:
            raise Repeated("the same metric with the same attributes stands there twice", f"series[{index}]")
        seen.add(key)
