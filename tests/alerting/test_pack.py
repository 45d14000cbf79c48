"""Rule packs: strict reading, the shipped pack, its tests, its schema."""

from __future__ import annotations

import importlib.resources
import json
from pathlib import Path

import pytest
import yaml

from alerting.errors import PackError
from alerting.pack import default_document, parse_pack, schema
from alerting.rule import Matched, Measured
from alerting.ruletest import Case, parse_cases, run_case, uncovered
from wire import catalogue

FAULTY = Path(__file__).parent / "faulty"
EXPECTED = {
    "unknown_key": (11, "rules[0].treshold", "is not known here"),
    "two_sources": (4, "rules[0]", "exactly one of metric, terms, event, silent, alerts"),
    "text_in_unknown_language": (9, "rules[0].summary.nl", "known are: en, it"),
    "text_names_less": (9, "rules[0].summary.it", "does not name '{host}'"),
    "text_names_more": (9, "rules[0].summary.it", "names '{host}'"),
    "text_names_unknown": (9, "rules[0].summary", "'{hots}' is not known"),
    "text_without_english": (9, "rules[0].summary.en", "is missing"),
    "translation_names_less": (14, "translations.it.a.summary", "does not name '{host}'"),
    "translation_of_nobody": (12, "translations.it.b", "there is no rule 'b'"),
    "translation_twice": (12, "translations.it.a.summary", "stands with the rule too"),
    "clear_overlaps": (11, "rules[0].levels[0].clear", "holds at 6 as 'when' does"),
    "alerts_bad_on": (19, "rules[1].alerts.states.x.on", "'any host', 'every host'"),
    "alerts_compare": (21, "rules[1].levels[0].when", "unexpected '>'"),
    "alerts_count_samples": (21, "rules[1].levels[0].for", "must be a duration"),
    "alerts_hold_when_well": (21, "rules[1].levels[0].when", "must need at least one"),
    "alerts_in_a_circle": (19, "rules[1].alerts.states", "circle: b -> c -> b"),
    "alerts_never_that_severe": (19, "rules[1].alerts.states.x", "'a' never reaches P1"),
    "alerts_not_fresh": (19, "rules[1].alerts.fresh", "is missing"),
    "alerts_of_nobody": (19, "rules[1].alerts.states.x", "there is no rule 'ghost'"),
    "alerts_same_host_of_deployment": (19, "rules[1].alerts.states.x", "say on how many"),
    "alerts_unknown_state": (21, "rules[1].levels[0].when", "there is no value 'y'"),
    "hidden_by_alerts": (29, "rules[2].hidden_by", "cannot hide one"),
    "where_of_an_event": (20, "rules[1].where", "is not for events"),
    "no_source": (4, "rules[0]", "exactly one of"),
    "bad_unit": (11, "rules[0].levels[0].when", "'parsecs' is no unit"),
    "unknown_value": (11, "rules[0].levels[0].when", "there is no value 'valeu'"),
    "and_beside_or": (11, "rules[0].levels[0].when", "parentheses"),
    "bad_priority": (11, "rules[0].levels[0].priority", "P1, P2, P3 or P4"),
    "same_priority_twice": (11, "rules[0].levels", "two levels of the same priority"),
    "no_levels": (11, "rules[0].levels", "one to four levels"),
    "bad_duration": (11, "rules[0].levels[0].for", "is no duration"),
    "alias": (11, "document", "aliases"),
    "key_twice": (11, "rules[0].metric", "stands here twice"),
    "hidden_by_nobody": (4, "rules[0].hidden_by", "there is no rule 'ghost'"),
    "count_without_window": (11, "rules[0].levels[0]", "needs a 'window'"),
    "quiet_too_long": (10, "rules[0].event.quiet", "1 s to 24 h"),
    "silence_too_short": (11, "rules[0].levels[0].after", "at least 60 s"),
    "wrong_version": (1, "version", "must be 1"),
    "no_yaml": (3, "document", "is not YAML"),
    "empty": (0, "document", "is empty"),
    "forecast_of_nothing": (12, "rules[0].terms.full.forecast", "there is no value 'fee'"),
    "rules_no_list": (3, "rules", "must be a list"),
}


def test_every_faulty_pack_has_its_expectation() -> None:
    """One file per fault, named for it."""
    assert {path.stem for path in FAULTY.glob("*.yaml")} == set(EXPECTED)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_fault_is_named_with_line_field_and_remedy(name: str) -> None:
    """Each faulty pack is refused, and its fault says where it stands and what would be right."""
    line, field, message = EXPECTED[name]
    with pytest.raises(PackError) as caught:
        parse_pack((FAULTY / f"{name}.yaml").read_text(encoding="utf-8"), name)
    found = [(f.line, f.field) for f in caught.value.faults if message in f.message]
    assert found == [(line, field)], str(caught.value)


def test_all_faults_are_told_at_once() -> None:
    """A pack with three faults is mended in one go."""
    text = (FAULTY / "bad_unit.yaml").read_text(encoding="utf-8").replace("version: 1", "version: 9")
    with pytest.raises(PackError) as caught:
        parse_pack(text.replace("name: R\n", "name: ''\n"))
    assert [f.field for f in caught.value.faults] == ["version", "rules[0].name", "rules[0].levels[0].when"]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "{a: " * 50_000, "- " * 30_000, "a" * 2_000_000, "\0", "&a [*a]"]
)
def test_hostile_documents_are_refused(text: str) -> None:
    """Deep, huge, recursive or binary: one fault each, no crash."""
    with pytest.raises(PackError):
        parse_pack(text)


def shipped_cases() -> list[Case]:
    folder = importlib.resources.files("alerting").joinpath("packs/tests")
    texts = sorted(
        (f.name, f.read_text(encoding="utf-8")) for f in folder.iterdir() if f.name.endswith("yaml")
    )
    return [case for name, text in texts for case in parse_cases(text, name)]


@pytest.mark.parametrize("case", shipped_cases(), ids=lambda case: case.name)
def test_the_shipped_rules_do_what_their_cases_say(case: Case) -> None:
    """Each case of packs/tests, as ``rules test`` runs it."""
    assert run_case(case, parse_pack(default_document()).rules) == []


def test_every_level_of_every_shipped_rule_is_seen_firing() -> None:
    """No default rule is untested."""
    assert uncovered(shipped_cases(), parse_pack(default_document()).rules) == []


def test_a_case_that_is_wrong_fails() -> None:
    """The runner tells what it expected and what it found (a runner that never fails proves nothing)."""
    text = """
version: 1
cases:
  - name: wrong
    series: [{metric: system.cpu.utilization, values: 97%x11}]
    expect: [{at: 10 min, alerts: []}, {at: 10 min, alerts: [{rule: host.cpu, priority: P3}]}]
"""
    failures = run_case(parse_cases(text)[0], parse_pack(default_document()).rules)
    assert [str(f) for f in failures] == [
        "line 6: case 'wrong': at 10 min: expected nothing; found P2 host.cpu firing",
        "line 6: case 'wrong': at 10 min: expected P3 host.cpu firing; found P2 host.cpu firing",
    ]


def test_shipped_rules_speak_only_of_metrics_that_exist_or_are_announced() -> None:
    """Each metric of the default pack is in the agent's catalogue or in packs/future.yaml, never in both, and
    each instance attribute belongs to its metric."""
    future_text = importlib.resources.files("alerting").joinpath("packs/future.yaml").read_text("utf-8")
    future = {m["name"]: m["attributes"] for m in yaml.safe_load(future_text)["metrics"]}
    now = {name: list(row.attributes) for name, row in catalogue.load().metrics.items()}
    assert not future.keys() & now.keys()
    known = future | now
    for rule in parse_pack(default_document()).rules:
        if isinstance(rule.source, Measured):
            for _, selector in rule.source.terms:
                assert selector.metric in known, rule.id
                used = {*rule.source.instance, *(name for name, _ in selector.where)}
                assert used <= set(known[selector.metric]), rule.id


def test_shipped_rules_explain_themselves() -> None:
    """Each has a rationale and a runbook that say more than its name."""
    for rule in parse_pack(default_document()).rules:
        assert len(rule.rationale) > 40, rule.id
        assert len(rule.runbook) > 40, rule.id


def test_event_rules_are_over_after_a_day_at_the_latest() -> None:
    """Event-only alerts expire after 24 h."""
    for rule in parse_pack(default_document()).rules:
        if isinstance(rule.source, Matched):
            assert rule.source.quiet_s <= 86_400


def test_the_schema_knows_the_keys_that_the_reader_knows() -> None:
    """The published JSON Schema names exactly the fields of a rule that packs may have."""
    from alerting import pack

    document = json.loads(schema())
    assert set(document["$defs"]["rule"]["properties"]) == {*pack._REQUIRED, *pack._OPTIONAL}
    assert document["$defs"]["rule"]["required"] == list(pack._REQUIRED)
