"""Plans: what is compared, and that gates never hide a breach."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from alerting import plain
from alerting.binding import bind
from alerting.condition import Condition, holds
from alerting.rule import Level, Measured, Rule, Selector, any_matches, pattern_matches
from tests.alerting.kit import digest_of, layout_of
from tests.alerting.test_condition import conditions

LAYOUT = layout_of(*[(name, {"i": i}) for i in ("x", "y") for name in ("a", "b", "c")])
numbers = st.one_of(st.none(), st.integers(-10, 10).map(float), st.floats(-11, 11))


def rule_of(*whens: Condition) -> Rule:
    levels = tuple(Level(n + 1, when, when) for n, when in enumerate(whens))
    source = Measured(tuple((n, Selector(n)) for n in ("a", "b", "c")), ("i",), levels)
    return Rule("r", "r", "host", "because", "look", "it", source, "r")


@given(st.lists(conditions, min_size=1, max_size=3), st.lists(numbers, min_size=6, max_size=6))
@settings(max_examples=300, deadline=None)
def test_gates_never_hide_a_breach(whens: list[Condition], frame: list[float | None]) -> None:
    """If any level's condition holds in a frame, its binding is among the frame's suspects."""
    plan = bind([(rule_of(*whens), b"")], LAYOUT, digest_of(LAYOUT))
    suspects = set(plan.suspects(frame))
    for position, binding in enumerate(plan.bindings):
        if any(holds(when, binding.values(frame)) for when in whens):
            assert position in suspects


def test_levels_of_one_series_cost_one_comparison() -> None:
    """Three levels on the same series in the same direction are one gate, the loosest."""
    from alerting.condition import parse

    plan = bind([(rule_of(parse("a > 3"), parse("a > 2"), parse("a >= 1")), b"")], LAYOUT, b"")
    assert [(c, limit) for c, limit, _ in plan.above] == [
        (0, math.nextafter(1, 0)),
        (3, math.nextafter(1, 0)),
    ]
    assert plan.below == ()
    assert plan.always == ()


def test_instances_are_joined_by_their_attributes() -> None:
    """Values of different metrics with the same attribute belong together."""
    from alerting.condition import parse

    plan = bind([(rule_of(parse("a > 1 and b > 1")), b"")], LAYOUT, b"")
    assert [(b.instance, dict(b.columns)) for b in plan.bindings] == [
        ("x", {"a": 0, "b": 1, "c": 2}),
        ("y", {"a": 3, "b": 4, "c": 5}),
    ]


def test_an_instance_is_fit_for_a_key() -> None:
    """Control characters go, and what is too long for an index is cut and stays unique."""
    assert plain.instance(["C:\0\\", "a\nb"]) == "C: \\, a b"
    one, other = plain.instance(["é" * 500 + "1"]), plain.instance(["é" * 500 + "2"])
    assert one != other
    assert len(one) <= plain.MAX_INSTANCE


def test_patterns() -> None:
    """``*`` is any run of characters, case does not matter, ``!`` excludes."""
    assert pattern_matches("MSSQL*", "mssqlserver")
    assert pattern_matches("*could not * space*", "x could not allocate space y")
    assert not pattern_matches("a*a", "a")
    assert not pattern_matches("abc", "abcd")
    assert any_matches((), "anything")
    assert not any_matches(("!sqlservr*",), "sqlservr.exe")
    assert any_matches(("!sqlservr*",), "w3wp.exe")
    assert not any_matches(("w*", "!w3*"), "w3wp.exe")


@given(st.text("ab*", max_size=8), st.text("ab", max_size=12))
def test_patterns_match_as_the_textbook_says(pattern: str, text: str) -> None:
    """The linear matcher agrees with regular expressions."""
    import re

    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
    assert pattern_matches(pattern, text) is expected


def test_a_hostile_pattern_is_linear() -> None:
    """What makes a backtracking engine run for ever costs next to nothing here."""
    assert not pattern_matches("*a" * 200 + "b", "a" * 8_000)
