"""Gaps: a year of three theatres, a hole made on purpose, and what the pager itself would do."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent

from hypothesis import given, settings
from hypothesis import strategies as st

from oncall.gaps import coverage, policy_gaps, rota_gaps, schedule_gaps
from oncall.policy import Hours, WhoIsOn, decide
from oncall.rota_file import Rota, parse
from oncall.rota_terms import holidays_of, windows
from oncall.schedule import shifts, who
from oncall.wall import without
from tests.oncall.rota_strategies import schedules
from tests.oncall.slow_rota import walk

GOOD = (Path(__file__).parent / "rota_files" / "three-theatres.yaml").read_text()
YEAR = (datetime(2026, 1, 6, tzinfo=UTC), datetime(2027, 1, 6, tzinfo=UTC))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def without_absences(text: str) -> str:
    head, _, rest = text.partition("absences:")
    return head + "policies:" + rest.partition("policies:")[2]


def with_hole(first: str, last: str) -> Rota:
    """The example rota where Europe's on-call layer is closed between two wall times of 17 May 2026."""
    turns = "people: [anna, bruno, chiara], starts: 2026-01-05 09:00, every: week"
    late = f"      - {{name: late, {turns}, since: {last}}}"
    text = without_absences(GOOD).replace(
        "every: week}\n    overrides", f"every: week, until: {first}}}\n{late}\n    overrides"
    )
    return parse(text)


def test_a_year_of_three_theatres_has_no_gap():
    """8,760 hours in Rome, New York and Dubai, through four changes of the clocks: not one second is open."""
    rota = parse(without_absences(GOOD))
    assert rota_gaps(rota, *YEAR) == []
    for name in ("europe", "americas", "middle-east"):
        hours = sum((s.end - s.start).total_seconds() for s in shifts(rota.schedules[name], *YEAR)) / 3600
        assert hours == 365 * 24


def test_a_hole_made_on_purpose_is_found_to_the_minute():
    """17 minutes in a year of three theatres, on a Sunday night: found where it is and as long as it is."""
    rota = with_hole("2026-05-17 03:11", "2026-05-17 03:28")
    (gap,) = rota_gaps(rota, *YEAR)
    assert gap.subject == "schedule europe"
    assert (gap.start, gap.end) == (utc("2026-05-17T01:11"), utc("2026-05-17T01:28"))
    assert gap.minutes == 17


def test_the_policy_still_covers_a_hole_in_its_first_schedule():
    """In the same hole the ladder's next steps ring Dubai: the schedule has a gap, the policy has none."""
    rota = with_hole("2026-05-17 03:11", "2026-05-17 03:28")
    policy = rota.policies["platinum-p1"]
    assert policy_gaps(policy, rota.schedules, rota.people, coverage(None, *YEAR), *YEAR) == []


def test_absences_that_empty_a_turn_are_gaps():
    """Bruno is away in his own week of August and nobody else is in that layer."""
    (gap,) = rota_gaps(parse(GOOD), *YEAR)
    assert (gap.start, gap.end) == (utc("2026-08-10T07:00"), utc("2026-08-16T22:00"))
    assert gap.reason == "nobody is on call"


def test_people_who_cannot_be_rung_leave_a_gap_with_their_names():
    """Mia's number is gone: her days are gaps that name her."""
    rota = parse(without_absences(GOOD).replace('phone: "+13055010001", ', ""))
    found = rota_gaps(rota, utc("2026-01-06T00:00"), utc("2026-01-10T00:00"))
    assert {gap.reason for gap in found} == {"on call but not to be rung: mia"}
    assert sum(gap.minutes for gap in found) == 2 * 24 * 60


LADDER = dedent("""
    zone: Europe/Rome
    people:
      anna: {phone: "+390584000001", email: a@example.com}
      pierre: {phone: "+33100000001", languages: [fr]}
      rita: {phone: "+390584000010", roles: [rnd]}
    hours: {europe: {zone: Europe/Rome, open: mon-fri 09:00-18:00, holidays: IT}}
    schedules:
      s:
        covers: none
        layers:
          - {name: l, people: [anna], starts: 2026-01-05 09:00, every: week, only: mon-fri 09:00-17:00}
    policies:
      p:
        hours: europe
        covers: COVERS
        steps:
          - {who: {schedule: s}, how: [voice], wait: 5m}
          - {who: {person: pierre}, how: [voice], wait: 5m}
          - {who: {person: rita}, how: [voice], wait: 5m}
          - {who: {person: anna}, how: [email], wait: 5m}
    """)


def test_policy_gaps_know_gates_languages_and_transports():
    """Out of hours only Pierre (no English), Rita (R&D) and an email are left: nobody is rung."""
    rota = parse(LADDER.replace("COVERS", "always"))
    monday = utc("2026-01-12T00:00")
    found = rota_gaps(rota, monday, monday + timedelta(days=1))
    assert [(g.start, g.end) for g in found] == [
        (monday, utc("2026-01-12T08:00")),
        (utc("2026-01-12T17:00"), utc("2026-01-13T00:00")),
    ]
    assert found[0].reason == (
        "schedule s: nobody is on call for it; pierre: does not speak 'en', the language of on-call; "
        "rita: R&D is not available out of hours; anna: email does not ring"
    )
    assert rota_gaps(parse(LADDER.replace("COVERS", "europe")), monday, monday + timedelta(days=1)) == []


def test_a_public_holiday_is_out_of_hours():
    """On 6 January (Epiphany) the working hours stay closed, so R&D is not rung and the day is a gap."""
    hours = Hours("Europe/Rome", windows("mon-fri 09:00-18:00"), holidays_of("IT"))
    assert not hours.open_at(utc("2026-01-06T10:00"))
    assert hours.open_at(utc("2026-01-07T10:00"))
    assert coverage(hours, utc("2026-01-05T00:00"), utc("2026-01-08T00:00")) == [
        (utc("2026-01-05T08:00"), utc("2026-01-05T17:00")),
        (utc("2026-01-07T08:00"), utc("2026-01-07T17:00")),
    ]


@settings(max_examples=40, deadline=None)
@given(schedules())
def test_gaps_are_what_the_walk_finds_empty(drawn):
    """Every minute of two days is in a gap exactly when the slow reference finds nobody."""
    schedule, around = drawn
    start, end = around - timedelta(days=1), around + timedelta(days=1)
    found = schedule_gaps(schedule, [(start, end)], start, end)
    for at, people in walk(schedule, start, end):
        assert any(gap.start <= at < gap.end for gap in found) == (not people)


def test_policy_gaps_agree_with_the_pagers_decision_minute_by_minute():
    """Where no gap is reported, some step rings somebody at that minute; in a gap none does."""
    rota = parse(LADDER.replace("COVERS", "always"))
    policy = rota.policies["p"]
    start, end = utc("2026-01-05T00:00"), utc("2026-01-08T00:00")
    found = policy_gaps(policy, rota.schedules, rota.people, [(start, end)], start, end)
    at = start
    while at < end:
        on = WhoIsOn({"s": tuple(o.person_key for o in who(rota.schedules["s"], at))}, rota.people)
        rung = any(t.transport == "voice" for n in range(4) for t in decide(policy, n, 1, on, at).targets)
        assert rung != any(gap.start <= at < gap.end for gap in found), at
        at += timedelta(minutes=7)


spans = st.lists(st.tuples(st.integers(0, 100), st.integers(1, 30)), max_size=6)


@given(spans, spans)
def test_subtracting_spans_is_exact(some, others):
    """``without`` keeps a minute exactly when it is in the first spans and in none of the others."""
    zero = utc("2026-01-01T00:00")

    def made(pairs: list[tuple[int, int]]) -> list[tuple[datetime, datetime]]:
        return [(zero + timedelta(minutes=a), zero + timedelta(minutes=a + n)) for a, n in pairs]

    left = without(made(some), made(others))
    for minute in range(140):
        at = zero + timedelta(minutes=minute)
        inside = any(a <= at < b for a, b in made(some)) and not any(a <= at < b for a, b in made(others))
        assert any(a <= at < b for a, b in left) == inside
