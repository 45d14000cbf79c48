"""What crosses the network is exactly what wire/batch.py and wire/layout.py say, or refused by name."""

from __future__ import annotations

import math
import struct
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire import batch as wire_batch
from wire import layout as wire_layout
from wire import limits
from wire.batch import Event, EventBatch, Frame, FrameBatch, Severity
from wire.layout import Layout, Series
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
from wire.validate import check_width, decode_batch, decode_layout, read_key

AGENT = "a1" * 16
DIGEST = b"d" * 32
NOW_MS = 1_760_000_000_000
pack = msgspec.msgpack.encode


def frame_parts(**other: Any) -> list[Any]:
    """A good batch of frames as plain parts, some of them replaced."""
    parts = {
        "version": 1,
        "kind": "frames",
        "agent": AGENT,
        "epoch": 7,
        "seq": 1,
        "frames": [[DIGEST, NOW_MS, [1.5, None, 3]]],
    }
    return list((parts | other).values())


def event_parts(*events: Any) -> list[Any]:
    return [1, "events", AGENT, 7, 1, list(events)]


GOOD_EVENT = [NOW_MS, "ucx-agent", "process.top", "info", "text", {"a": "b"}]


def event(index: int, value: Any) -> list[Any]:
    """A good event with one part replaced."""
    return [value if place == index else part for place, part in enumerate(GOOD_EVENT)]


FAULTS: list[tuple[str, Any, type[Refusal], str]] = [
    ("empty body", b"", Unreadable, "body"),
    ("not MessagePack", b"\xc1", Unreadable, "body"),
    ("cut off", pack(frame_parts())[:-3], Unreadable, "body"),
    ("something after the end", pack(frame_parts()) + b"\x00", Unreadable, "body"),
    ("a claim of 4 billion entries", b"\xdd\xff\xff\xff\xff", Unreadable, "body"),
    ("a claim of 4 GB", b"\x96\x01\xa6frames\xdb\xff\xff\xff\xff", Unreadable, "body"),
    ("deep nesting", b"\x91" * 100_000, Unreadable, "body"),
    ("deep nesting inside", b"\x92\x01" + b"\x91" * 100_000, Unreadable, "body"),
    ("text that is not UTF-8", b"\x96\x01\xa6frames\xa1\xff" + pack(1) * 3, Unreadable, "body"),
    ("a lone surrogate", b"\x96\x01\xa6frames\xa3\xed\xa0\x80" + pack(1) * 3, Unreadable, "body"),
    ("oversize", b"\x00" * (limits.MAX_BATCH_BYTES + 1), TooLarge, "body"),
    ("a map", {"version": 1}, WrongShape, "body"),
    ("an empty array", [], WrongShape, "body"),
    ("an unknown version", frame_parts(version=2), UnknownVersion, "version"),
    ("a version that is text", frame_parts(version="1"), WrongShape, "version"),
    ("an unknown kind", frame_parts(kind="logs"), WrongShape, "kind"),
    ("a kind that is a number", frame_parts(kind=5), WrongShape, "kind"),
    ("a part too few", frame_parts()[:5], WrongShape, "body"),
    ("a part too many", [*frame_parts(), 1], WrongShape, "body"),
    ("an agent in upper case", frame_parts(agent="A1" * 16), OutOfRange, "agent"),
    ("an agent with a newline", frame_parts(agent=AGENT + "\n"), OutOfRange, "agent"),
    ("an agent that is a number", frame_parts(agent=5), WrongShape, "agent"),
    ("epoch 0", frame_parts(epoch=0), OutOfRange, "epoch"),
    ("an epoch beyond bigint", frame_parts(epoch=2**63), OutOfRange, "epoch"),
    ("seq -1", frame_parts(seq=-1), OutOfRange, "seq"),
    ("a seq that is no whole number", frame_parts(seq=1.5), WrongShape, "seq"),
    ("no frames", frame_parts(frames=[]), OutOfRange, "frames"),
    (
        "too many frames",
        frame_parts(frames=[[DIGEST, NOW_MS + i, [1]] for i in range(limits.MAX_FRAMES_PER_BATCH + 1)]),
        TooLarge,
        "frames",
    ),
    ("a short digest", frame_parts(frames=[[b"d", NOW_MS, [1]]]), OutOfRange, "frames[0].layout"),
    ("a frame before 2000", frame_parts(frames=[[DIGEST, 5, [1]]]), OutOfRange, "frames[0].time_ms"),
    ("a frame after 2100", frame_parts(frames=[[DIGEST, 2**53, [1]]]), OutOfRange, "frames[0].time_ms"),
    ("a time beyond int64", frame_parts(frames=[[DIGEST, 2**64 - 1, [1]]]), OutOfRange, "frames[0].time_ms"),
    ("no values", frame_parts(frames=[[DIGEST, NOW_MS, []]]), OutOfRange, "frames[0].values"),
    ("too many values", frame_parts(frames=[[DIGEST, NOW_MS, [1] * 201]]), TooLarge, "frames[0].values"),
    (
        "a value that is text",
        frame_parts(frames=[[DIGEST, NOW_MS, ["1"]]]),
        WrongShape,
        "frames[0].values[0]",
    ),
    ("a truth value", frame_parts(frames=[[DIGEST, NOW_MS, [1, True]]]), WrongShape, "frames[0].values[1]"),
    (
        "NaN",
        frame_parts(frames=[[DIGEST, NOW_MS, [1]], [DIGEST, NOW_MS + 1, [1, math.nan]]]),
        NotFinite,
        "frames[1].values[1]",
    ),
    ("infinity", frame_parts(frames=[[DIGEST, NOW_MS, [math.inf]]]), NotFinite, "frames[0].values[0]"),
    ("minus infinity", frame_parts(frames=[[DIGEST, NOW_MS, [-math.inf]]]), NotFinite, "frames[0].values[0]"),
    ("a frame twice", frame_parts(frames=[[DIGEST, NOW_MS, [1]]] * 2), Repeated, "frames[1]"),
    ("no events", event_parts(), OutOfRange, "events"),
    ("too many events", event_parts(*[GOOD_EVENT] * 1001), TooLarge, "events"),
    ("an event without source", event_parts(event(1, "")), OutOfRange, "events[0].source"),
    ("NUL in a source", event_parts(event(1, "a\0b")), Unreadable, "events[0].source"),
    ("NUL in an id", event_parts(event(2, "\0")), Unreadable, "events[0].event_id"),
    ("an unknown severity", event_parts(event(3, "fatal")), OutOfRange, "events[0].severity"),
    ("NUL in a message", event_parts(GOOD_EVENT, event(4, "a\0")), Unreadable, "events[1].message"),
    ("a long message", event_parts(event(4, "x" * 8193)), TooLarge, "events[0].message"),
    (
        "NUL in an attribute",
        event_parts(event(5, {"a.b": "\0"})),
        Unreadable,
        "events[0].attributes.a.b",
    ),
    (
        "too many attributes",
        event_parts(event(5, {str(i): "" for i in range(33)})),
        TooLarge,
        "events[0].attributes",
    ),
    (
        "an attribute that is a number",
        event_parts(event(5, {"a": 1})),
        WrongShape,
        "events[0].attributes[...]",
    ),
]


@pytest.mark.parametrize(("body", "kind", "field"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_each_fault_has_its_own_refusal_and_names_the_field(
    body: Any, kind: type[Refusal], field: str
) -> None:
    """A sender learns from the refusal alone what to correct, and where."""
    with pytest.raises(Refusal) as caught:
        decode_batch(body if isinstance(body, bytes) else pack(body))
    assert (type(caught.value), caught.value.field) == (kind, field)
    assert caught.value.reason


def test_a_good_batch_is_read() -> None:
    """Whole numbers are read as floats, nil as None."""
    batch = decode_batch(pack(frame_parts()))
    assert isinstance(batch, FrameBatch)
    assert batch.frames[0].values == [1.5, None, 3.0]
    assert isinstance(batch.frames[0].values[2], float)


def test_a_good_batch_written_the_long_way_is_read_too() -> None:
    """MessagePack allows longer forms of short numbers and texts; other senders may use them."""
    long_version = b"\x96\xcc\x01\xd9\x06frames" + b"".join(pack(part) for part in frame_parts()[2:])
    assert decode_batch(long_version) == decode_batch(pack(frame_parts()))
    long_events = b"\x96\xcc\x01\xd9\x06events" + b"".join(pack(p) for p in event_parts(GOOD_EVENT)[2:])
    assert decode_batch(long_events) == decode_batch(pack(event_parts(GOOD_EVENT)))


def test_a_wrong_version_behind_the_usual_start_is_seen() -> None:
    """The fast path does not take the version on trust."""
    body = b"\x96\x02\xa6events" + b"".join(pack(part) for part in event_parts(GOOD_EVENT)[2:])
    with pytest.raises(UnknownVersion):
        decode_batch(body)


def test_the_key_of_a_refused_batch_can_be_read_for_its_receipt() -> None:
    """Without the key there could be no receipt, and the agent would keep the batch for ever."""
    key = read_key(pack(frame_parts(frames=[[DIGEST, NOW_MS, [math.nan]]])))
    assert (key.agent, key.epoch, key.seq) == (AGENT, 7, 1)
    with pytest.raises(OutOfRange) as caught:
        read_key(pack(frame_parts(seq=0)))
    assert caught.value.field == "seq"
    with pytest.raises(WrongShape):
        read_key(pack([1, "frames"]))


def test_encode_refuses_what_decode_would() -> None:
    """NaN never becomes a batch: the spool would hold it for ever."""
    frames = [Frame(DIGEST, NOW_MS, [1.0, math.nan])]
    with pytest.raises(NotFinite) as caught:
        wire_batch.encode(FrameBatch(1, "frames", AGENT, 1, 1, frames))
    assert caught.value.field == "frames[0].values[1]"


def test_a_frame_must_be_as_wide_as_its_layout() -> None:
    """Only the collector, which has the layout, can see this."""
    layout = Layout(1, 15.0, (Series("a.b"), Series("a.c")))
    check_width(Frame(DIGEST, NOW_MS, [1.0, 2.0]), layout)
    with pytest.raises(WrongShape, match="1 values for a layout of 2 series"):
        check_width(Frame(DIGEST, NOW_MS, [1.0]), layout)


# ---- layouts ------------------------------------------------------------------------------------------

LAYOUT_FAULTS: list[tuple[str, Any, type[Refusal], str]] = [
    ("not MessagePack", b"\xc1", Unreadable, "body"),
    ("oversize", b"\x00" * (limits.MAX_LAYOUT_BYTES + 1), TooLarge, "body"),
    ("an empty array", [], WrongShape, "body"),
    ("an unknown version", [2, 15.0, [["a.b"]]], UnknownVersion, "version"),
    ("no interval", [1, 0.0, [["a.b", {}]]], OutOfRange, "interval_s"),
    ("an interval that is NaN", [1, math.nan, [["a.b", {}]]], OutOfRange, "interval_s"),
    ("an interval of years", [1, 1e9, [["a.b", {}]]], OutOfRange, "interval_s"),
    ("no series", [1, 15.0, []], OutOfRange, "series"),
    ("too many series", [1, 15.0, [[f"a.b{i}", {}] for i in range(201)]], TooLarge, "series"),
    ("a metric of one word", [1, 15.0, [["cpu", {}]]], OutOfRange, "series[0].metric"),
    ("a metric in upper case", [1, 15.0, [["System.cpu", {}]]], OutOfRange, "series[0].metric"),
    ("a metric with a newline", [1, 15.0, [["a.b\n", {}]]], OutOfRange, "series[0].metric"),
    ("an attribute with a blank", [1, 15.0, [["a.b", {"a b": ""}]]], OutOfRange, "series[0].attributes"),
    ("NUL in an attribute", [1, 15.0, [["a.b", {"a": "\0"}]]], Unreadable, "series[0].attributes.a"),
    ("a series twice", [1, 15.0, [["a.b", {"x": "1"}]] * 2], Repeated, "series[1]"),
    ("attributes out of order", [1, 15.0, [["a.b", {"y": "1", "x": "1"}]]], NotCanonical, "body"),
    ("a whole-number interval", [1, 15, [["a.b", {}]]], NotCanonical, "body"),
    ("default attributes left out", [1, 15.0, [["a.b"]]], NotCanonical, "body"),
]


@pytest.mark.parametrize(
    ("body", "kind", "field"), [f[1:] for f in LAYOUT_FAULTS], ids=[f[0] for f in LAYOUT_FAULTS]
)
def test_each_fault_of_a_layout_has_its_own_refusal(body: Any, kind: type[Refusal], field: str) -> None:
    """A layout lives for ever under its hash: it is taken in one form only."""
    with pytest.raises(Refusal) as caught:
        decode_layout(body if isinstance(body, bytes) else pack(body))
    assert (type(caught.value), caught.value.field.removesuffix("[...]")) == (kind, field)


def test_layout_encode_makes_one_form_of_equal_layouts() -> None:
    """Order of attributes and int or float do not make two hashes of one layout."""
    one = Layout(1, 15, (Series("a.b", {"y": "1", "x": "2"}),))
    other = Layout(1, 15.0, (Series("a.b", {"x": "2", "y": "1"}),))
    assert wire_layout.encode(one) == wire_layout.encode(other)
    assert decode_layout(wire_layout.encode(one)) == other


# ---- properties ---------------------------------------------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
numbers = st.integers(1, limits.MAX_INT)
times = st.integers(limits.MIN_TIME_MS, limits.MAX_TIME_MS)
values = st.none() | st.floats(allow_nan=False, allow_infinity=False)
frames = st.builds(
    Frame, st.binary(min_size=32, max_size=32), times, st.lists(values, min_size=1, max_size=200)
)
events = st.builds(
    Event,
    times,
    texts.filter(bool),
    texts,
    st.sampled_from(Severity),
    texts,
    st.dictionaries(texts.filter(bool), texts, max_size=5),
)
frame_batches = st.builds(
    FrameBatch,
    st.just(1),
    st.just("frames"),
    st.just(AGENT),
    numbers,
    numbers,
    st.lists(frames, min_size=1, max_size=5, unique_by=lambda frame: (frame.layout, frame.time_ms)),
)
event_batches = st.builds(
    EventBatch,
    st.just(1),
    st.just("events"),
    st.just(AGENT),
    numbers,
    numbers,
    st.lists(events, min_size=1, max_size=5),
)


@given(frame_batches | event_batches)
def test_what_is_encoded_is_decoded(batch: FrameBatch | EventBatch) -> None:
    """Every batch within the limits makes the journey unchanged, and so does its key."""
    body = wire_batch.encode(batch)
    assert decode_batch(body) == batch
    key = read_key(body)
    assert (key.agent, key.epoch, key.seq) == (batch.agent, batch.epoch, batch.seq)


@given(st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_or_read_never_worse(body: bytes) -> None:
    """No bytes make the door raise anything but a Refusal."""
    for read in (decode_batch, decode_layout, read_key):
        with suppress(Refusal):
            read(body)


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | texts
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(plain, min_size=6, max_size=6), st.sampled_from(["frames", "events"]), st.data())
def test_wrong_parts_in_the_right_envelope_are_refused(
    parts: list[Any], kind: str, data: st.DataObject
) -> None:
    """Structured nonsense gets past the first look; it is refused further in."""
    good = frame_parts() if kind == "frames" else event_parts(GOOD_EVENT)
    keep = data.draw(st.sets(st.integers(0, 5)))
    mixed = [good[i] if i in keep else parts[i] for i in range(6)]
    for body in (pack(mixed), pack([1, 15.0, parts[5]])):
        for read in (decode_batch, decode_layout):
            with suppress(Refusal):
                read(body)


@given(frame_batches, st.data())
def test_a_flipped_byte_is_refused_or_gives_another_digest(batch: FrameBatch, data: st.DataObject) -> None:
    """Damage on the way is seen: at the latest by the digest in the receipt."""
    body = bytearray(wire_batch.encode(batch))
    place = data.draw(st.integers(0, len(body) - 1))
    body[place] ^= data.draw(st.integers(1, 255))
    assert wire_batch.digest(bytes(body)) != wire_batch.digest(wire_batch.encode(batch))
    with suppress(Refusal):
        decode_batch(bytes(body))


def test_nan_payloads_are_all_refused() -> None:
    """There are many NaNs; none gets in (in PostgreSQL NaN is greater than every number)."""
    for bits in (0x7FF8000000000000, 0x7FF0000000000001, 0xFFFFFFFFFFFFFFFF):
        body = pack(frame_parts(frames=[[DIGEST, NOW_MS, [1.5]]]))
        broken = body.replace(struct.pack(">d", 1.5), struct.pack(">Q", bits))
        with pytest.raises(NotFinite):
            decode_batch(broken)
