"""One rule test file per operator of the rule language: the smallest rules, each way they can turn out."""

from __future__ import annotations

from pathlib import Path

import pytest

from alerting.pack import parse_pack
from alerting.rule import Compound, Matched, Measured, Silent
from alerting.ruletest import Case, parse_cases, run_case, uncovered

FOLDER = Path(__file__).parent / "operators"
OPERATORS = sorted(path.name.removesuffix(".rules.yaml") for path in FOLDER.glob("*.rules.yaml"))


def cases_of(operator: str) -> tuple[Case, ...]:
    path = FOLDER / f"{operator}.tests.yaml"
    return parse_cases(path.read_text(encoding="utf-8"), path.name)


@pytest.mark.parametrize("operator", OPERATORS)
def test_an_operator_does_what_its_cases_say(operator: str) -> None:
    """Every case passes, and every level of its rules is seen firing."""
    path = FOLDER / f"{operator}.rules.yaml"
    rules = parse_pack(path.read_text(encoding="utf-8"), path.name).rules
    cases = cases_of(operator)
    assert [str(f) for case in cases for f in run_case(case, rules)] == []
    assert uncovered(cases, rules) == []


def test_every_kind_of_rule_is_among_them() -> None:
    """A new kind of source without a file of its own fails here; so does a file without cases."""
    kinds = set()
    for operator in OPERATORS:
        text = (FOLDER / f"{operator}.rules.yaml").read_text(encoding="utf-8")
        kinds |= {type(rule.source) for rule in parse_pack(text).rules}
        assert cases_of(operator), operator
    assert kinds == {Compound, Matched, Measured, Silent}
    assert {p.name for p in FOLDER.iterdir()} == {
        f"{operator}.{kind}.yaml" for operator in OPERATORS for kind in ("rules", "tests")
    }
