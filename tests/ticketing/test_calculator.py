"""The calculator and the command lines around it: answers, errors that teach, batches."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from ticketing.calculator import answer
from ticketing.errors import TicketingError
from ticketing.question import CalculatorError, read_line, read_request
from ucx_proactive.commands import coverage, policy, sla

from .facts import RELEASES

ASKED: dict[str, Any] = {
    "plan": "gold",
    "licence": "subscription",
    "theatre": "europe",
    "country": "IT",
    "priority": "P2",
    "opened": "2026-12-24T16:30:00+01:00",
}


def ask(**kwargs: Any) -> dict[str, Any]:
    return answer(RELEASES, read_request(ASKED | kwargs, RELEASES))


def run(app: Any, *words: str, text: bytes | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=text)


def options(**kwargs: str) -> list[str]:
    return [part for name, value in (ASKED | kwargs).items() for part in (f"--{name}", value)]


def test_the_example_of_the_contract() -> None:
    """Christmas Eve 2026 in Rome: all keys, in UTC, with the arithmetic in words."""
    found = ask()
    assert {key: found[key] for key in ("due_at", "state", "met", "consumed_s", "remaining_s")} == {
        "due_at": "2026-12-25T08:30:00Z",
        "state": "running",
        "met": None,
        "consumed_s": 0,
        "remaining_s": 7200,
    }
    assert [(s["after_h"], s["role"], s["due_at"]) for s in found["escalations"]] == [
        (2, "Support team", "2026-12-25T08:30:00Z"),
        (4, "Support Regional Manager", "2026-12-25T10:30:00Z"),
        (16, "Support Manager", "2026-12-26T13:30:00Z"),
        (40, "Co-CEO and CTO", "2026-12-30T10:30:00Z"),
    ]
    assert (
        "2 working hours from Thu 24 Dec 2026 16:30 Rome: 1 h 30 min until closing at 18:00; "
        "Fri 25 Dec is a holiday with Gold hours 09:00-18:00; due Fri 25 Dec 09:30"
    ) in found["reasons"]


def test_without_now_it_answers_as_of_the_last_event() -> None:
    events = ["2026-12-24T17:00:00+01:00=pause:customer"]
    found = ask(events=events)
    assert (found["state"], found["now"], found["consumed_s"]) == ("paused", "2026-12-24T16:00:00Z", 1800)
    later = ask(events=events, now="2026-12-28T10:00:00+01:00")
    assert (later["due_at"], later["remaining_s"], later["projected"]) == ("2026-12-28T10:30:00Z", 5400, True)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        (["17:00=pause:third-party", "17:30=resume"], ("running", None, 1800)),
        (["17:00=taken"], ("met", True, 1800)),
        (["17:00=priority:P1"], ("running", None, 1800)),
        (["17:30=priority:p1"], ("breached", False, 3600)),
        (["17:00=plan:platinum"], ("running", None, 1800)),
        (["17:00=plan:BASIC"], ("running", None, 1800)),
        (["17:00=country:DE"], ("running", None, 1800)),
        (["17:00=taken", "17:10=resolved"], ("met", True, 1800)),
        (["17:00=resolved", "17:10=reopened"], ("running", None, 1800)),
    ],
)
def test_every_event(events: list[str], expected: tuple[str, bool | None, int]) -> None:
    found = ask(events=[f"2026-12-24T{e[:5]}:00+01:00{e[5:]}" for e in events])
    assert (found["state"], found["met"], found["consumed_s"]) == expected


def test_eligibility_for_proactive_support_is_ignored() -> None:
    """On-prem Basic has its best-effort targets in the calculator."""
    found = ask(plan="basic", licence="perpetual", priority="P1")
    assert (found["due_at"], found["sla"], found["escalations"]) == (
        "2026-12-28T17:00:00Z",
        "best-effort",
        [],
    )


@pytest.mark.parametrize(
    ("kwargs", "due_at", "worth"),
    [
        ({"channel": "email"}, None, "none"),
        ({"channel": "chat"}, "2026-12-25T08:30:00Z", "guaranteed"),
        ({"language": "fr"}, "2026-12-25T08:30:00Z", "best-effort"),
        ({"language": "it"}, "2026-12-25T08:30:00Z", "guaranteed"),
        ({"plan": "platinum", "priority": "P1"}, "2026-12-24T16:30:00Z", "guaranteed"),
        ({"priority": "P1", "opened": "2026-12-27T12:00:00Z"}, "2026-12-28T09:00:00Z", "guaranteed"),
        (
            {"plan": "platinum", "priority": "P1", "opened": "2026-12-27T12:00:00Z"},
            "2026-12-27T13:00:00Z",
            "guaranteed",
        ),
        (
            {"plan": "platinum", "priority": "P1", "opened": "2026-12-27T12:00:00Z", "apac": True},
            "2026-12-28T09:00:00Z",
            "guaranteed",
        ),
        ({"closing_day": ["2026-12-25"]}, "2026-12-26T08:30:00Z", "guaranteed"),
        ({"theatre": "rest-of-world", "zone": "Africa/Lagos"}, "2026-12-25T08:30:00Z", "guaranteed"),
        ({"country": None}, "2026-12-25T08:30:00Z", "guaranteed"),
        ({"plan": "basic", "priority": "P3"}, None, "best-effort"),
    ],
)
def test_options_that_change_the_answer(kwargs: dict[str, Any], due_at: str | None, worth: str) -> None:
    found = ask(**kwargs)
    assert (found["due_at"], found["sla"]) == (due_at, worth)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"plan": None}, "plan: is missing"),
        ({"plan": 3}, "plan: must be text"),
        ({"plan": "diamond"}, "'diamond' is no plan; known are basic, gold, platinum"),
        ({"licence": "leased"}, "'leased' is no licence; known are perpetual, subscription, cloud"),
        ({"theatre": "asia"}, "'asia' is no theatre; known are americas, europe, me-sun-thu, me-mon-fri"),
        ({"theatre": "rest-of-world"}, "zone: is needed"),
        ({"theatre": "rest-of-world", "zone": "Nowhere"}, "not an IANA time zone"),
        ({"theatre": "rest-of-world", "zone": "../etc"}, "not an IANA time zone"),
        ({"country": "Italy"}, "write two letters"),
        ({"channel": "fax"}, "'fax' is no channel"),
        ({"priority": "P0"}, "write P1, P2, P3 or P4"),
        ({"priority": 2}, "priority: must be text"),
        ({"opened": "2026-12-24"}, "has no time zone; add Z or an offset"),
        ({"opened": "24 December"}, "is no time; write 2026-12-24T16:30:00+01:00"),
        ({"opened": "0001-01-01T00:00:00+14:00"}, "out of range"),
        ({"opened": "9999-12-31T00:00:00Z"}, "outside the years that calendars cover"),
        ({"now": "2026-12-24T16:00:00+01:00"}, "is before event 1 (opened"),
        ({"events": "taken"}, "events: must be a list of TIME=what"),
        ({"events": ["taken"]}, "write TIME=what, where what is one of pause:customer"),
        ({"events": ["2026-12-24T17:00:00Z=paused"]}, "'paused': is not known; write one of pause:customer"),
        ({"events": ["2026-12-24T17:00:00Z=pause:lunch"]}, "is not known; write one of"),
        ({"events": ["2026-12-24T17:00:00Z=priority:9"]}, "write P1, P2, P3 or P4"),
        ({"events": ["2026-12-24T17:00:00Z=plan:tin"]}, "'tin' is no plan"),
        ({"events": ["2026-12-24T17:00:00Z=resume"]}, "the clock is not paused"),
        ({"events": ["2026-12-24T12:00:00Z=taken"]}, "put events in order of time"),
        ({"closing_day": 5}, "closing_day: must be dates"),
        ({"apac": "yes"}, "apac: must be true or false"),
        ({"colour": "red"}, "colour: is not known; known are plan"),
        ({"release": "imagiclecare-9"}, "there is no release 'imagiclecare-9'; known are imagiclecare-5.0"),
    ],
)
def test_errors_teach(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(TicketingError) as caught:
        ask(**kwargs)
    assert message in str(caught.value)


def test_all_wrong_options_are_told_at_once() -> None:
    with pytest.raises(CalculatorError) as caught:
        read_request({"plan": 1, "priority": "P7", "opened": "now"}, RELEASES)
    assert len(caught.value.faults) == 4
    misspelt = {"plan": "gld", "theatre": "europ", "licence": "rent", "events": ["2026-01-01T00:00Z=lunch"]}
    with pytest.raises(CalculatorError) as caught:
        read_request(ASKED | misspelt, RELEASES)
    assert len(caught.value.faults) == 4


# --- the command line ------------------------------------------------------------------------------------


def test_one_question_as_json_and_as_text() -> None:
    event = ["--event", "2026-12-24T17:00:00+01:00=pause:customer"]
    event += ["--event", "2026-12-24T17:30:00+01:00=resume"]
    done = run(sla.app, *options(), *event, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["due_at"] == "2026-12-25T09:00:00Z"
    text = run(sla.app, *options(), *event).stdout
    for part in ("due        2026-12-25T09:00:00Z", "Support team (ahead)", "  - policy ImagicleCare 5.0"):
        assert part in text


def test_a_wrong_question_ends_with_2_and_names_the_options() -> None:
    done = run(sla.app, "--plan", "gold", "--priority", "P9", "--opened", "today")
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == ["theatre", "priority", "opened"]


def test_a_batch_answers_each_line_and_goes_on_after_a_wrong_one(tmp_path: Path) -> None:
    """Wrong lines get an object with their number; the exit code is 1 if there was one."""
    good = json.dumps(ASKED | {"id": "a", "events": ["2026-12-24T17:00:00+01:00=taken"]})
    lines = [good, "{broken", "", "[]", json.dumps(ASKED | {"plan": "tin", "id": 5}), "\udcff", good]
    file = tmp_path / "questions.jsonl"
    file.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    done = run(sla.app, "--batch", str(file))
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.exit_code == 1
    assert [a.get("line") for a in answers] == [None, 2, 4, 5, 6, None]
    assert (answers[0]["id"], answers[0]["state"]) == ("a", "met")
    assert answers[3]["id"] == 5
    assert answers[3]["error"].startswith("plan: 'tin' is no plan")
    assert answers[0] == answers[-1]


def test_a_batch_without_faults_ends_with_0_and_reads_standard_input() -> None:
    done = run(sla.app, "--batch", "-", text=json.dumps(ASKED).encode())
    assert done.exit_code == 0
    assert json.loads(done.stdout)["due_at"] == "2026-12-25T08:30:00Z"


def test_batch_and_options_do_not_mix() -> None:
    done = run(sla.app, "--batch", "-", "--plan", "gold")
    assert done.exit_code == 2
    assert "leave out --plan" in done.stderr
    assert run(sla.app, "--batch", "/nowhere/at-all").exit_code == 2


KEYS = st.sampled_from([*ASKED, "events", "now", "apac", "closing_day", "zone", "release", "x"])
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, VALUES))
def test_no_question_breaks_the_calculator(values: dict[str, Any]) -> None:
    """Whatever is asked, there is an answer or a TicketingError."""
    with suppress(TicketingError):
        answer(RELEASES, read_request(ASKED | values, RELEASES))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_no_line_breaks_the_reader(line: bytes) -> None:
    """Bytes are an object or a CalculatorError."""
    with suppress(CalculatorError):
        read_line(line)


def test_the_policy_is_shown_and_checked(tmp_path: Path) -> None:
    shown = run(policy.app, "show")
    assert shown.exit_code == 0
    assert "ImagicleCare 5.0" in shown.stdout
    as_json = json.loads(run(policy.app, "show", "imagiclecare-5.0", "--json").stdout)
    assert as_json[0]["plans"]["gold"]["targets"]["P2"]["minutes"] == 120
    assert run(policy.app, "show", "nothing").exit_code == 1
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("release: x\ntitle: 5\n", encoding="utf-8")
    done = run(policy.app, "check", str(wrong))
    assert done.exit_code == 1
    assert "line 2: title: expected `str`" in done.stderr
    assert "valid_from: is missing" in done.stderr
    assert run(policy.app, "check", str(tmp_path / "absent.yaml")).exit_code == 2


def test_contracted_minutes_of_a_week() -> None:
    """14 to 20 September 2026: five days of 9 h, a Saturday on Gold, 24x7 for Platinum P1."""
    done = run(coverage.app, "--from", "2026-09-14", "--to", "2026-09-21", "--theatre", "europe", "--json")
    rows = json.loads(done.stdout)
    assert [(r["plan"], r["priorities"], r["minutes"]) for r in rows] == [
        ("basic", ["P1", "P2", "P3", "P4"], 2700),
        ("gold", ["P1", "P2", "P3", "P4"], 3240),
        ("platinum", ["P1"], 10080),
        ("platinum", ["P2", "P3", "P4"], 3240),
    ]
    assert "me-sun-thu" in run(coverage.app, "--from", "2026-09-14", "--to", "2026-09-21").stdout


def test_coverage_over_a_change_of_the_clocks() -> None:
    """A week of Platinum P1 in which clocks go back has an hour more."""
    done = run(coverage.app, "--from", "2026-10-19", "--to", "2026-10-26", "--theatre", "europe", "--json")
    assert [r["minutes"] for r in json.loads(done.stdout) if r["priorities"] == ["P1"]] == [10080 + 60]


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("2026-09-21", "2026-09-14", "ends (2026-09-14) before it starts"),
        ("yesterday", "2026-09-14", "neither a date nor a time"),
        ("2026-09-14T10:00:00", "2026-09-15", "has no time zone"),
        ("9999-01-01", "9999-02-01", "outside the years"),
    ],
)
def test_coverage_refuses_what_is_no_span(start: str, end: str, message: str) -> None:
    done = run(coverage.app, "--from", start, "--to", end)
    assert done.exit_code == 2
    assert message in done.stderr
