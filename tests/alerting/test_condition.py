"""Conditions: reading, three-valued truth, display."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.condition import All, AnyOf, Compare, Condition, Not, explain, holds, parse, written
from alerting.units import parse_duration, parse_quantity, show, show_duration

NAMES = ("a", "b", "c")
values = st.dictionaries(st.sampled_from(NAMES), st.one_of(st.none(), st.floats(-10, 10)))
compares = st.builds(
    Compare,
    st.sampled_from(NAMES),
    st.sampled_from(("", "", "b")),
    st.sampled_from(("<", "<=", ">", ">=", "==", "!=")),
    st.integers(-10, 10).map(float),
    st.just(""),
)
conditions: st.SearchStrategy[Condition] = st.recursive(
    compares,
    lambda inner: st.one_of(
        st.builds(All, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(AnyOf, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


@given(conditions)
def test_a_condition_reads_back_as_it_was_written(condition: Condition) -> None:
    """``parse(written(c))`` is ``c``."""
    assert parse(written(condition)) == condition


@given(conditions, values, st.dictionaries(st.sampled_from(NAMES), st.floats(-10, 10), min_size=3))
def test_what_is_known_stays_so_whatever_the_missing_values_are(
    condition: Condition, known: dict[str, float | None], rest: dict[str, float]
) -> None:
    """If a condition is true (or false) with values missing, it is so with any values in their place."""
    result = holds(condition, known)
    full = {name: known.get(name) if known.get(name) is not None else rest[name] for name in NAMES}
    if result is not None and not any(c == 0 for c in full.values()):
        assert holds(condition, full) is result


@given(conditions, values)
def test_a_condition_and_its_negation_never_hold_together(
    condition: Condition, found: dict[str, float | None]
) -> None:
    """Nothing fires and clears at the same time; what is unknown is so both ways."""
    plain, negated = holds(condition, found), holds(Not(condition), found)
    assert negated is (None if plain is None else not plain)


def test_nothing_is_known_of_missing_values() -> None:
    """A missing value, a missing divisor and a divisor of 0 are unknown."""
    assert holds(parse("a > 1"), {}) is None
    assert holds(parse("a / b > 1"), {"a": 1.0, "b": None}) is None
    assert holds(parse("a / b > 1"), {"a": 1.0, "b": 0.0}) is None


def test_reasons_name_what_held_in_the_unit_of_the_limit() -> None:
    """People read 412 MB < 500 MB, not 0.412e9 < 5e8; comparisons that did not hold are left out."""
    condition = parse("free < 500 MB or ratio < 2 %")
    names = {"free": "system.filesystem.free", "ratio": "system.filesystem.free_ratio"}
    text = explain(condition, {"free": 412e6, "ratio": 0.5}, names)
    assert text == "system.filesystem.free 412 MB < 500 MB"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a", "expected a comparison"),
        ("a > ", "expected a number"),
        ("a > 1 b > 2", "'b' is no unit"),
        ("(a > 1) b > 2", "join comparisons"),
        ("(a > 1", "expected '\\)'"),
        ("a > 1 and b > 1 or c > 1", "parentheses"),
        ("a > 1 %%", "cannot read"),
        ("a > 5 lightyears", "is no unit"),
        ("(" * 12 + "a > 1" + ")" * 12, "parentheses deep"),
        ("a > 1 and " * 100 + "a > 1", "at most 500"),
    ],
)
def test_a_faulty_condition_says_what_is_wrong(text: str, message: str) -> None:
    """Each fault has its own words."""
    with pytest.raises(ValueError, match=message):
        parse(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [("85 %", 0.85), ("7 %", 0.07), ("500 MB", 5e8), ("1 GiB", 2**30), ("40ms", 0.04), ("2 d", 172_800)],
)
def test_quantities_become_base_units(text: str, value: float) -> None:
    """Decimal prefixes are powers of 1000, binary ones of 1024; 7 % is exactly 0.07."""
    assert parse_quantity(text)[0] == value


def test_durations_read_and_shown() -> None:
    """``15 min`` is 900 s; what needs no fraction is shown in the largest unit."""
    assert parse_duration("15 min") == 900
    assert [show_duration(s) for s in (90, 600, 86_400, 5400, 0)] == [
        "90 s",
        "10 min",
        "1 d",
        "90 min",
        "0 s",
    ]
    assert show(0.971, "%") == "97.1 %"
    with pytest.raises(ValueError, match="no duration"):
        parse_duration("soon")
