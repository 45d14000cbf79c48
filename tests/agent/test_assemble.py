"""Layouts are stable, hold what belongs together, and values stand where they belong."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.assemble import STEADY, Assembler, Held, adopt, compact, fit, plan
from agent.reading import Column, Reading, columns
from wire.limits import MAX_SERIES_PER_LAYOUT
from wire.validate import decode_layout


def volumes(*points: str) -> tuple[Column, ...]:
    metrics = ("system.filesystem.free_ratio", "system.filesystem.free")
    return tuple(c for p in points for c in columns(metrics, system__filesystem__mountpoint=p))


def reading(*points: str) -> Reading:
    return Reading(volumes(*points), [float(len(point)) for point in points for _ in range(2)])


def test_a_volume_that_comes_and_goes_makes_no_new_layout() -> None:
    """A USB stick that is there for two ticks is left out; one that stays is adopted at the third."""
    assembler = Assembler(60.0, ["volume"])
    [(first, _)] = assembler.frames({"volume": reading("/")})
    for _ in range(STEADY - 1):
        [(same, values)] = assembler.frames({"volume": reading("/", "/usb")})
        assert (same.digest, len(values)) == (first.digest, 2)
    [(again, _)] = assembler.frames({"volume": reading("/")})
    assert again.digest == first.digest
    for _ in range(STEADY):
        [(last, values)] = assembler.frames({"volume": reading("/", "/usb")})
    assert (last.digest != first.digest, values) == (True, [1, 1, 4, 4])


def test_a_volume_that_is_gone_is_none_until_its_columns_go() -> None:
    """The collector sees 'not measured' first, then a layout without it."""
    assembler = Assembler(60.0, ["volume"])
    assembler.frames({"volume": reading("/", "/data")})
    [(_, values)] = assembler.frames({"volume": reading("/")})
    assert values == [1, 1, None, None]
    for _ in range(STEADY):
        [(_, values)] = assembler.frames({"volume": reading("/")})
    assert values == [1, 1]


def test_a_check_without_a_reading_leaves_none_in_its_place() -> None:
    """The others' values do not move."""
    assembler = Assembler(15.0, ["cpu", "memory"])
    cpu, memory = Reading((Column("a.cpu"),), [0.5]), Reading((Column("a.mem"),), [7.0])
    assembler.frames({"cpu": cpu, "memory": memory})
    [(_, values)] = assembler.frames({"cpu": None, "memory": memory})
    assert values == [None, 7]
    assert assembler.frames({"cpu": None, "memory": None}) == [], "nothing measured, nothing sent"


@given(st.lists(st.integers(1, 9), min_size=1, max_size=90))
def test_layouts_hold_each_column_once_and_instances_whole(sizes: list[int]) -> None:
    """Free share and free bytes of a volume must stand in one layout: rules join them there."""
    every = [Column(f"a.m{m}", (("x", str(i)),)) for i, size in enumerate(sizes) for m in range(size)]
    plans = plan(15.0, every)
    assert [p.start for p in plans] == [0, *(p.end for p in plans[:-1])]
    assert plans[-1].end == len(every)
    for part in plans:
        assert 0 < part.end - part.start <= MAX_SERIES_PER_LAYOUT
        assert len(decode_layout(part.body).series) == part.end - part.start
    for part in plans[:-1]:
        assert every[part.end - 1].attributes != every[part.end].attributes


@given(st.floats() | st.integers(-(2**70), 2**70) | st.none())
def test_compact_keeps_the_number_or_says_none(value: float | None) -> None:
    """Six digits of a fraction; whole numbers become integers (one byte for a zero); no NaN, no infinity."""
    small = compact(value)
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        assert small is None
    else:
        assert small == (value if value == int(value) else pytest.approx(value, rel=5e-7, abs=1e-300))


names = st.lists(st.sampled_from("abcdef"), unique=True, max_size=6).map(
    lambda letters: tuple(Column(f"m.{letter}") for letter in letters)
)


@given(st.lists(names, max_size=30))
def test_columns_change_only_to_what_was_offered_steadily(offers: list[tuple[Column, ...]]) -> None:
    """Whatever is offered in whatever order."""
    held = Held()
    for index, offered in enumerate(offers):
        before, held = held, adopt(held, offered)
        if held.columns != before.columns and before.columns:
            assert offers[index - STEADY + 1 : index + 1] == [offered] * STEADY


@given(names, names)
def test_fit_puts_each_value_under_its_column(wanted: tuple[Column, ...], given_: tuple[Column, ...]) -> None:
    """By name, not by place, when the columns differ."""
    values = fit(wanted, Reading(given_, list(range(len(given_)))))
    expected = {column: place for place, column in enumerate(given_)}
    assert values == [expected.get(column) for column in wanted]
