"""The rota file: what a good one means, and one bad file per fault."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oncall.document import Fault
from oncall.policy import RoleHeld, Selector, When
from oncall.rota_file import BadRota, parse
from oncall.rota_terms import every_hours, moment, windows
from oncall.schedule import who
from oncall.wall import Window, openings

FILES = Path(__file__).parent / "rota_files"
GOOD = (FILES / "three-theatres.yaml").read_text()
BAD = sorted((FILES / "bad").glob("*.yaml"))


def test_the_example_says_what_it_means():
    """Names, zones, turns, gates and attempts arrive as they are written."""
    rota = parse(GOOD)
    assert set(rota.covers) == {"europe", "americas", "middle-east"}  # managers: covers none
    assert rota.people["anna"].languages == ("en", "it")
    assert rota.people["rita"].roles == (RoleHeld("rnd"),)
    assert "email" not in rota.people["rita"].transports
    assert rota.people["noah"].quiet == tuple(Window(d * 1440 + 1320, 540) for d in range(7))
    steps = rota.policies["platinum-p1"].steps
    assert [(s.attempt, s.attempts) for s in steps] == [(1, 2), (2, 2), (1, 1), (1, 1), (1, 1)]
    assert steps[3].when is When.IN_HOURS
    assert steps[4].who == (Selector("person", "head"), Selector("role", "support-manager"))


def test_the_example_of_the_documentation_is_a_rota():
    """What docs/on-call.md shows can be copied into a file and stands."""
    text = (FILES.parents[2] / "docs" / "on-call.md").read_text()
    rota = parse(text.partition("```yaml\n")[2].partition("```")[0])
    assert set(rota.policies) == {"platinum-p1"}


def test_swaps_and_bare_dates_are_whole_local_days():
    """On 2 June Bruno has Anna's day, from midnight to midnight in Rome; on 10 June she has his."""
    europe = parse(GOOD).schedules["europe"]

    def at(text: str) -> str:
        return who(europe, datetime.fromisoformat(text).replace(tzinfo=UTC))[0].person_key

    first, second = europe.overrides[1:]
    assert (first.person_key, first.replaces) == ("bruno", "anna")
    assert (second.person_key, second.replaces) == ("anna", "bruno")
    assert (first.start, first.end) == (
        datetime(2026, 6, 1, 22, tzinfo=UTC),
        datetime(2026, 6, 2, 22, tzinfo=UTC),
    )
    assert at("2026-12-24T17:30") == "chiara"


@pytest.mark.parametrize("path", BAD, ids=lambda p: p.stem)
def test_a_bad_file_is_refused_with_line_and_field(path):
    """Each file's comments ``#! LINE FIELD: MESSAGE`` are exactly the faults reported, all at once."""
    text = path.read_text()
    expected = {line[3:].strip() for line in text.splitlines() if line.startswith("#!")}
    with pytest.raises(BadRota) as refusal:
        parse(text)
    found = {f"{f.line} {f.field or '-'}: {f.message}" for f in refusal.value.faults}
    assert len(found) == len(expected)
    for one in expected:
        assert any(fault.startswith(one) for fault in found), (one, found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mon 09:00-18:00", (Window(540, 540),)),
        ("sun 22:00-06:00", (Window(6 * 1440 + 1320, 480),)),
        ("sat,sun 00:00-24:00", (Window(5 * 1440, 1440), Window(6 * 1440, 1440))),
        ("fri 18:00 - mon 09:00", (Window(4 * 1440 + 1080, 3780),)),
        ("mon 09:00 - mon 09:00", (Window(540, 10080),)),
        ("sat-mon 10:00-11:00", (Window(600, 60), Window(5 * 1440 + 600, 60), Window(6 * 1440 + 600, 60))),
    ],
)
def test_windows_read_as_people_write_them(text, expected):
    """Days, ranges that run over Sunday, windows over midnight and over the weekend."""
    assert windows(text) == expected


def test_a_window_over_the_weekend_is_one_stretch():
    """Friday evening to Monday morning, 63 hours, also when Rome's clocks change on that Sunday (62)."""
    span = (datetime(2026, 3, 26, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC))
    ((a, b),) = openings(windows("fri 18:00 - mon 09:00"), "Europe/Rome", *span)
    assert (b - a).total_seconds() == 62 * 3600


def test_periods_and_moments():
    """Periods count wall hours; a bare date that ends something includes its day."""
    assert [every_hours(t) for t in ("day", "week", "12 hours", "2 weeks")] == [24, 168, 12, 336]
    assert moment("2026-08-14", "Europe/Rome", last=True) == datetime(2026, 8, 14, 22, tzinfo=UTC)
    assert moment("2026-12-24T17:00:00Z", "Asia/Dubai") == datetime(2026, 12, 24, 17, tzinfo=UTC)


def faults_in(text: str) -> tuple[Fault, ...] | None:
    try:
        parse(text)
    except BadRota as refusal:
        return refusal.faults
    return None


@given(st.text(max_size=200) | st.text("{}[]:,- \n&*!|>'\"%@ab0", max_size=60))
def test_no_text_breaks_the_reader(text):
    """Whatever comes, the answer is a rota or BadRota with at least one fault."""
    assert faults_in(text) != ()


@pytest.mark.parametrize(
    "text", ["[" * 5000, "a: " * 5000, "- " * 5000 + "x", "{" * 50_000, "\x00", "\ud800", "x" * 2_000_000]
)
def test_hostile_documents_are_refused(text):
    """Nested too deeply, not characters, too large: one fault, no crash."""
    assert faults_in(text)
