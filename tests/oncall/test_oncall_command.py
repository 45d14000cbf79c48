"""``ucx-proactive oncall``: what people and scripts read from it."""

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from icalendar import Calendar
from typer.testing import CliRunner

from ucx_proactive.commands.coverage import app as coverage_app
from ucx_proactive.commands.oncall import app
from wire.clock import utcnow

EXAMPLE = Path(__file__).parent / "rota_files" / "three-theatres.yaml"
ROTA = ("--rota", str(EXAMPLE))


def run(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def test_who_says_who_and_until_when():
    """Bruno has Anna's day by a swap, until midnight on Rome's wall; as JSON for all schedules."""
    code, text = run("who", *ROTA, "--at", "2026-06-02 12:00", "--schedule", "europe")
    assert code == 0
    assert text == (
        "europe: Bruno Conti (nights) until Wed 2026-06-03 00:00 +02:00\n"
        "(at Tue 2026-06-02 12:00 +02:00; times in Europe/Rome)\n"
    )
    code, text = run("who", *ROTA, "--at", "2026-06-02T10:00:00Z", "--json")
    assert code == 0
    assert [one["schedule"] for one in json.loads(text)["schedules"]] == [
        "europe",
        "americas",
        "middle-east",
        "managers",
    ]
    _, text = run("who", *ROTA, "--at", "2026-06-06 12:00", "--schedule", "managers")
    assert text.startswith("managers: NOBODY is on call\n")


def test_all_times_of_a_list_are_on_one_clock_which_is_named():
    """Three theatres, three zones: Rome's clock for all of them, or the one that was asked for."""
    _, text = run("who", *ROTA, "--at", "2026-06-02 12:00")
    lines = text.splitlines()
    assert lines[-1] == "(at Tue 2026-06-02 12:00 +02:00; times in Europe/Rome)"
    assert all(line.endswith("+02:00") for line in lines[:-1] if "until" in line)
    _, text = run("shifts", *ROTA, "--from", "2026-06-02", "--to", "2026-06-03", "--zone", "Asia/Dubai")
    lines = text.splitlines()
    assert lines[-1] == "(times in Asia/Dubai)"
    assert all(" +04:00 - " in line for line in lines[:-1])


def test_without_dates_lists_begin_today_and_reach_as_far_as_their_help_says():
    """Shifts 30 days, gaps and fairness 90, coverage 30."""
    today = utcnow().date()
    found = json.loads(run("shifts", *ROTA, "--json")[1])["shifts"]
    assert found
    assert all(shift["end"] > str(today - timedelta(days=1)) for shift in found)
    assert all(shift["start"] < str(today + timedelta(days=32)) for shift in found)
    code, text = run("gaps", *ROTA, "--json")
    assert code in (0, 1)
    span = json.loads(text)
    begin, end = (datetime.fromisoformat(span[name]) for name in ("from", "to"))
    assert end - begin == timedelta(days=90)
    assert run("fairness", *ROTA)[0] == 0
    rows = json.loads(CliRunner().invoke(coverage_app, ["--json"]).output)
    assert {row["from"][:10] for row in rows} & {str(today + timedelta(days=n)) for n in (-1, 0, 1)}


def test_shifts_as_text_json_and_calendar():
    """One day of Dubai: the same shift three times."""
    day = ("--from", "2026-03-03", "--to", "2026-03-03", "--schedule", "middle-east")
    _, text = run("shifts", *ROTA, *day)
    assert text.count("middle-east:") == 1
    (shift,) = json.loads(run("shifts", *ROTA, *day, "--json")[1])["shifts"]
    assert shift["start"] == "2026-03-02T23:00:00Z"  # a bare date is midnight in the rota's zone
    (event,) = Calendar.from_ical(run("shifts", *ROTA, *day, "--ical")[1]).walk("VEVENT")
    assert str(event["SUMMARY"]).startswith(f"On call: {shift['name']}")


def test_gaps_exit_with_1_when_there_is_one():
    """August has Bruno's gap, to the minute; September has none."""
    code, text = run("gaps", *ROTA, "--from", "2026-08-01", "--to", "2026-08-31", "--json")
    assert code == 1
    (gap,) = json.loads(text)["gaps"]
    assert (gap["start"], gap["end"], gap["seconds"]) == (
        "2026-08-10T07:00:00Z",
        "2026-08-16T22:00:00Z",
        572_400,
    )
    code, text = run("gaps", *ROTA, "--from", "2026-09-01", "--to", "2026-09-30")
    assert (code, text) == (
        0,
        "no gaps between Tue 2026-09-01 00:00 +02:00 and Thu 2026-10-01 00:00 +02:00"
        " (times in Europe/Rome)\n",
    )


def test_check_refuses_what_cannot_keep_the_contract():
    """With the contract's own 60 minutes the example stands; with 20 it is refused, with the arithmetic."""
    assert run("check", str(EXAMPLE), "--within", "20")[0] == 2
    code, text = run("check", str(EXAMPLE))
    assert code in (0, 1)  # gaps depend on the day it is run
    assert "reaches somebody within 60 min" in text
    assert "23:10  the last one picks up" in text


def test_fair_shows_who_carries_the_holidays():
    """Balances add up to nothing."""
    words = ("fair", *ROTA, "--from", "2026-01-05", "--to", "2026-12-31", "--schedule", "europe")
    lines = json.loads(run(*words, "--json")[1])["europe"]
    assert abs(sum(line["holiday_balance"] for line in lines)) < 0.1
    assert lines[0]["holiday_hours"] >= lines[-1]["holiday_hours"]
    assert "2026-12-25" in lines[1]["holidays"] + lines[0]["holidays"] + lines[2]["holidays"]
    assert "balance" in run(*words)[1]


@pytest.mark.parametrize(
    "words",
    [
        ("who", *ROTA, "--at", "tomorrow"),
        ("who", *ROTA, "--schedule", "nowhere"),
        ("gaps", *ROTA, "--from", "2026-09-30", "--to", "2026-09-01"),
        ("gaps", *ROTA, "--from", "2026-01-01", "--to", "2036-09-01"),
        ("fair", *ROTA, "--from", "2026-01-01", "--to", "2026-02-01", "--holidays", "XX"),
        ("gaps", *ROTA, "--zone", "Europe/Pisa"),
        ("check", str(EXAMPLE.parent / "bad" / "bad-layer.yaml")),
    ],
)
def test_bad_input_ends_with_2_and_a_line_that_says_why(words):
    """No traceback, no gap reported by mistake."""
    code, text = run(*words)
    assert code == 2
    assert "oncall: " in text


def test_a_bad_file_is_told_by_line_and_field():
    """As compilers do: file:line: field: message."""
    path = EXAMPLE.parent / "bad" / "bad-zone.yaml"
    _, text = run("check", str(path))
    assert f"{path}:1: zone: 'Europe/Pisa' is not an IANA zone" in text


def test_the_database_is_read_without_a_file(database_url):
    """An empty database says how to begin."""
    code, text = run("who", "--database-url", database_url)
    assert code == 2
    assert "oncall apply FILE" in text


SMALL = """zone: Europe/Rome
schedules:
  primary:
    layers:
      - {name: base, people: [anna, ben], starts: 2026-01-05 09:00, every: week}
"""


def test_apply_compares_saves_and_looks_for_gaps(database_url, tmp_path, registry):
    """A dry run shows the difference and saves nothing; applied it is in force; applied again nothing
    changes; a hole in it ends with 1, a fault in it with 2 and changes nothing."""
    file = tmp_path / "rota.yaml"
    file.write_text(SMALL)
    words = (str(file), "--database-url", database_url)
    code, text = run("apply", *words, "--dry-run")
    assert (code, "would be saved; no" in text or "would be saved; 0 gaps" in text) == (0, True)
    assert "+  primary:" in text
    assert registry.rows("SELECT 1 FROM rota_document") == []
    assert run("apply", *words)[0] == 0
    assert run("who", "--database-url", database_url)[0] == 0
    code, text = run("apply", *words)
    assert (code, "is in force already" in text) == (0, True)
    assert registry.value("SELECT count(*) FROM rota_document") == 1
    file.write_text(SMALL.replace("every: week", "every: week, only: mon-fri 09:00-18:00"))
    code, text = run("apply", *words)
    assert code == 1
    assert "saved; " in text
    assert "-      - {name: base, people: [anna, ben], starts: 2026-01-05 09:00, every: week}" in text
    assert " gaps in the next 90 days (times in Europe/Rome)" in text
    for bad, why in (
        (SMALL.replace("anna", "nobody"), "nobody"),
        ("zone: 5", "zone"),
        ("\x00", "rota.yaml:"),
    ):
        file.write_text(bad)
        code, text = run("apply", *words)
        assert code == 2, bad
        assert why in text
        assert "nothing was changed" in text
    assert registry.value("SELECT count(*) FROM rota_document") == 2
