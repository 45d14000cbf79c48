"""The working calendar: every cell of the theatres' table, and the places where calendars go wrong."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from zoneinfo import available_timezones

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketing.calendar import (
    SECOND,
    Spec,
    WorkingCalendar,
    base_calendar,
    calendar,
    calendar_for,
    escalation_calendar,
    spec_for,
)
from ticketing.errors import CalendarError
from ticketing.hours import Hours
from ticketing.terms import Terms

from .facts import DUBAI, NEW_YORK, RELEASE, ROME, ZONES, at, terms, wall
from .slow_calendar import SlowCalendar

CLOSED: list[str] = []
# an ordinary week without holidays in any of the three countries: Mon 14 to Sun 20 September 2026
WEEK = [date(2026, 9, 14) + timedelta(days=n) for n in range(7)]
THEATRES = {
    "americas": ("07:00-17:00", (0, 1, 2, 3, 4), "08:00-12:00", (5,), date(2026, 7, 3), date(2027, 7, 4)),
    "europe": ("09:00-18:00", (0, 1, 2, 3, 4), "09:00-18:00", (5,), date(2026, 6, 2), date(2026, 11, 1)),
    "me-sun-thu": ("09:00-18:00", (6, 0, 1, 2, 3), "12:00-18:00", (5,), date(2026, 12, 2), date(2028, 12, 3)),
    "me-mon-fri": ("09:00-18:00", (0, 1, 2, 3, 4), "12:00-18:00", (5,), date(2026, 12, 2), date(2028, 12, 3)),
}
"""Base hours, working weekdays, special hours, special weekdays, a holiday, one on Sunday."""


def day_of(found: WorkingCalendar, on: date, zone: str) -> list[str]:
    """The open hours of a local date, as ``09:00-18:00``."""
    start, end = at(f"{on} 00:00", zone), at(f"{on + timedelta(days=1)} 00:00", zone)
    return [
        f"{wall(a, zone)}"[-5:] + "-" + f"{wall(b, zone)}"[-5:] for a, b in found.open_intervals(start, end)
    ]


@pytest.mark.parametrize("theatre", THEATRES)
@pytest.mark.parametrize("weekday", range(7))
def test_base_hours_of_every_weekday(theatre: str, weekday: int) -> None:
    """Basic: the theatre's base hours on its working days, nothing else (§5.3)."""
    hours, working, *_ = THEATRES[theatre]
    found = calendar_for(RELEASE, terms("basic", theatre), 1)
    assert day_of(found, WEEK[weekday], ZONES[theatre]) == ([hours] if weekday in working else CLOSED)


@pytest.mark.parametrize("theatre", THEATRES)
@pytest.mark.parametrize("weekday", range(7))
@pytest.mark.parametrize(("plan", "priority"), [("gold", 1), ("gold", 3), ("platinum", 2), ("platinum", 4)])
def test_extended_hours_of_every_weekday(theatre: str, weekday: int, plan: str, priority: int) -> None:
    """Gold, and Platinum P2 to P4: Saturdays too at the special hours; ordinary Sundays (in ME Sun-Thu:
    Fridays) are closed."""
    hours, working, special, specials, *_ = THEATRES[theatre]
    expected = [hours] if weekday in working else [special] if weekday in specials else CLOSED
    found = calendar_for(RELEASE, terms(plan, theatre), priority)
    assert day_of(found, WEEK[weekday], ZONES[theatre]) == expected


@pytest.mark.parametrize("theatre", THEATRES)
@pytest.mark.parametrize("which", [4, 5])
def test_a_holiday_has_the_special_hours_whatever_its_weekday(theatre: str, which: int) -> None:
    """On Gold a listed holiday is served at the Saturday hours, on a working day and on a Sunday alike."""
    on = THEATRES[theatre][which]
    assert isinstance(on, date)
    found = calendar_for(RELEASE, terms("gold", theatre), 2)
    assert day_of(found, on, ZONES[theatre]) == [THEATRES[theatre][2]]


@pytest.mark.parametrize("theatre", THEATRES)
def test_a_holiday_is_closed_on_basic(theatre: str) -> None:
    """Basic has neither Saturdays nor holidays."""
    on = THEATRES[theatre][4]
    assert isinstance(on, date)
    assert day_of(calendar_for(RELEASE, terms("basic", theatre), 1), on, ZONES[theatre]) == CLOSED


@pytest.mark.parametrize("theatre", THEATRES)
def test_platinum_p1_never_closes(theatre: str) -> None:
    """Platinum P1: 24x7x365, over a year end and a change of the clocks."""
    found = calendar_for(RELEASE, terms("platinum", theatre), 1)
    start = at("2026-03-20 03:17", ZONES[theatre])
    assert found.add(start, 300 * 86_400) == start + timedelta(days=300)
    assert found.open_intervals(start, start + timedelta(days=400)) == [(start, start + timedelta(days=400))]


def test_platinum_p1_in_asia_pacific_has_golds_hours() -> None:
    """On-call is not available there, so the Gold calendar applies."""
    pacific = terms("platinum", "europe", asia_pacific=True)
    gold = terms("gold", "europe")
    assert calendar_for(RELEASE, pacific, 1) is calendar_for(RELEASE, gold, 1)


def test_the_escalation_calendar_is_never_around_the_clock() -> None:
    """Platinum P1 out of hours still counts working hours, with Saturdays and holidays."""
    binding = terms("platinum", "europe")
    found = escalation_calendar(RELEASE, binding)
    assert found is calendar_for(RELEASE, binding, 2)
    assert day_of(found, date(2026, 9, 19), ROME) == ["09:00-18:00"]


def test_holidays_follow_the_customers_country_else_the_theatres() -> None:
    """3 October (German Unity) is a holiday for a customer in Germany only; 2 June only by Italy."""
    german, own = terms("basic", "europe", country="DE"), terms("basic", "europe")
    unity, republic = date(2025, 10, 3), date(2026, 6, 2)
    assert day_of(base_calendar(RELEASE, german), unity, ROME) == CLOSED
    assert day_of(base_calendar(RELEASE, own), unity, ROME) == ["09:00-18:00"]
    assert day_of(base_calendar(RELEASE, german), republic, ROME) == ["09:00-18:00"]
    assert day_of(base_calendar(RELEASE, own), republic, ROME) == CLOSED


def test_regional_holidays_count_where_the_region_is_known() -> None:
    """Saint Ambrose, 7 December, is a holiday in Milan alone."""
    milan, rome = terms("basic", country="IT", region="MI"), terms("basic", country="IT")
    ambrose = date(2026, 12, 7)
    assert day_of(base_calendar(RELEASE, milan), ambrose, ROME) == CLOSED
    assert day_of(base_calendar(RELEASE, rome), ambrose, ROME) == ["09:00-18:00"]


@pytest.mark.parametrize("plan", ["basic", "gold"])
def test_an_extra_closing_day_is_closed_for_its_customer_alone(plan: str) -> None:
    """A per-customer closing day is closed on every plan that closes; a Platinum P1 runs on."""
    closing = date(2026, 9, 16)
    assert day_of(calendar_for(RELEASE, terms(plan, closing_days=[closing]), 2), closing, ROME) == CLOSED
    assert day_of(calendar_for(RELEASE, terms(plan), 2), closing, ROME) == ["09:00-18:00"]
    platinum = calendar_for(RELEASE, terms("platinum", closing_days=[closing]), 1)
    assert platinum.is_open(at("2026-09-16 03:00"))


def test_a_closing_day_may_have_the_holiday_hours_by_policy() -> None:
    """The setting ``holidays.closing_days: holiday`` gives it the special hours instead."""
    rules = msgspec.structs.replace(RELEASE.holidays, closing_days="holiday")
    release = msgspec.structs.replace(RELEASE, holidays=rules)
    closing = date(2026, 9, 16)
    found = calendar_for(release, terms("gold", "americas", closing_days=[closing]), 2)
    assert day_of(found, closing, NEW_YORK) == ["08:00-12:00"]


def test_a_target_that_ends_at_closing_is_due_at_closing() -> None:
    """The earliest instant at which the consumed time equals the target: 18:00, not the next opening."""
    found = calendar_for(RELEASE, terms("gold"), 2)
    assert wall(found.add(at("2026-09-18 16:00"), 7200)) == "2026-09-18 18:00"
    assert wall(found.add(at("2026-09-18 16:00"), 7201)) == "2026-09-19 09:00:01"


def test_a_zero_target_is_its_start_even_when_closed() -> None:
    start = at("2026-09-20 03:00")
    assert calendar_for(RELEASE, terms("gold"), 2).add(start, 0) == start


def test_hours_that_cross_midnight_in_utc() -> None:
    """A team in Los Angeles closes at 17:00, which is 01:00 UTC of the next day."""
    binding = msgspec.structs.replace(terms("gold", "americas"), zone="America/Los_Angeles")
    found = calendar_for(RELEASE, binding, 2)
    due = found.add(at("2026-11-25 15:30", "America/Los_Angeles"), 7200)  # Thanksgiving follows: 08:00-12:00
    assert wall(due, "America/Los_Angeles") == "2026-11-26 08:30"
    assert due == datetime(2026, 11, 26, 16, 30, tzinfo=UTC)


def around_the_day(zone: str) -> WorkingCalendar:
    """Open 00:00-24:00 on every day: shows gaps and folds."""
    always = ((Hours(0, 1440),),) * 7
    return calendar(Spec(zone, "extended", always, always[0], "IT"))


def night(zone: str) -> WorkingCalendar:
    """Open 02:30-03:30 on every day: within the hours at which most clocks change."""
    hours = (Hours(150, 210),)
    return calendar(Spec(zone, "extended", (hours,) * 7, hours, "IT"))


def test_a_gap_shortens_the_day_that_it_cuts() -> None:
    """Rome, 29 March 2026: 02:00 becomes 03:00, so of 02:30-03:30 only 03:00-03:30 exists."""
    found = night(ROME)
    start, end = at("2026-03-29 00:00"), at("2026-03-30 00:00")
    assert found.elapsed(start, end) == 1800
    assert found.open_intervals(start, end) == [(at("2026-03-29 03:00"), at("2026-03-29 03:30"))]
    assert around_the_day(ROME).elapsed(start, end) == 23 * 3600


def test_a_fold_lengthens_the_day() -> None:
    """Rome, 25 October 2026: 02:00-03:00 happens twice, so 02:30-03:30 is open for an hour and a half, and
    closed between its two halves."""
    found = night(ROME)
    start, end = at("2026-10-25 00:00"), at("2026-10-26 00:00")
    half_past_one_utc = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert found.open_intervals(start, end) == [
        (half_past_one_utc, half_past_one_utc + timedelta(minutes=30)),
        (half_past_one_utc + timedelta(minutes=60), half_past_one_utc + timedelta(minutes=120)),
    ]
    assert around_the_day(ROME).elapsed(start, end) == 25 * 3600


def test_zones_that_change_at_midnight_or_by_half_an_hour() -> None:
    """Beirut loses 00:00-01:00 on 29 March 2026; Lord Howe moves by 30 minutes only."""
    for zone, day, seconds in (
        ("Asia/Beirut", "2026-03-29", 23 * 3600),
        ("Australia/Lord_Howe", "2026-10-04", 23.5 * 3600),
        ("Australia/Lord_Howe", "2026-04-05", 24.5 * 3600),
    ):
        start = at(f"{day} 00:00", zone)
        end = at(f"{date.fromisoformat(day) + timedelta(days=1)} 00:00", zone)
        assert around_the_day(zone).elapsed(start, end) == seconds, zone


def test_a_day_that_a_zone_skipped_has_no_open_time() -> None:
    """Samoa had no 30 December 2011: it went from the 29th to the 31st."""
    zone = "Pacific/Apia"
    found = around_the_day(zone)
    assert found.elapsed(at("2011-12-29 00:00", zone), at("2012-01-01 00:00", zone)) == 2 * 86_400
    close = found.next_working_day_close(1, date(2011, 12, 29))
    assert wall(close, zone) == "2012-01-01 00:00"


def test_leap_days_and_year_ends() -> None:
    """29 February 2028 is a Tuesday; New Year's Day has the holiday hours on Gold."""
    gold = calendar_for(RELEASE, terms("gold"), 2)
    assert day_of(gold, date(2028, 2, 29), ROME) == ["09:00-18:00"]
    assert wall(gold.add(at("2026-12-31 17:00"), 7200)) == "2027-01-01 10:00"
    basic = base_calendar(RELEASE, terms("basic"))
    assert wall(basic.add(at("2026-12-31 17:00"), 7200)) == "2027-01-04 10:00"


def test_closes_of_working_days() -> None:
    """The n-th close after a local date leaves out Saturdays, Sundays and holidays."""
    base = base_calendar(RELEASE, terms("basic"))
    assert wall(base.next_working_day_close(1, date(2026, 12, 24))) == "2026-12-28 18:00"
    assert wall(base.next_working_day_close(2, date(2026, 12, 24))) == "2026-12-29 18:00"
    dubai = base_calendar(RELEASE, terms("basic", "me-sun-thu"))
    assert wall(dubai.next_working_day_close(1, date(2026, 9, 17)), DUBAI) == "2026-09-20 18:00"


def test_a_calendar_that_never_opens_says_so() -> None:
    never = calendar(Spec(ROME, "base", ((),) * 7, (), "IT"))
    with pytest.raises(CalendarError, match="no open hours left"):
        never.add(at("2026-01-01 00:00"), 60)
    with pytest.raises(CalendarError, match="no working day"):
        never.next_working_day_close(1, date(2026, 1, 1))


@pytest.mark.parametrize("year", [1, 1969, 2200, 9999])
def test_times_outside_the_years_of_calendars_are_refused(year: int) -> None:
    found = calendar_for(RELEASE, terms("gold"), 2)
    with pytest.raises(CalendarError, match="outside the years"):
        found.add(datetime(year, 6, 1, tzinfo=UTC), 60)


def test_a_target_beyond_the_last_year_is_refused() -> None:
    found = calendar_for(RELEASE, terms("platinum"), 1)
    with pytest.raises(CalendarError):
        found.add(datetime(2199, 12, 31, tzinfo=UTC), 10 * 86_400)


def test_naive_times_are_refused() -> None:
    with pytest.raises(CalendarError, match="no time zone"):
        calendar_for(RELEASE, terms("gold"), 2).add(datetime(2026, 1, 1), 60)  # noqa: DTZ001


# --- properties --------------------------------------------------------------------------------------

FIRST, LAST = datetime(2020, 1, 1, tzinfo=UTC), datetime(2040, 12, 31, tzinfo=UTC)
INSTANTS = st.integers(0, int((LAST - FIRST).total_seconds() * 1000)).map(
    lambda ms: FIRST + timedelta(milliseconds=ms)
)
ANY_ZONE = st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"}))
COUNTRIES = ("IT", "US", "AE", "DE", "FR", "BR", "JP", "IN", "GB", "SA")
ANY_TERMS = st.builds(
    lambda plan, theatre, country, zone, closing: msgspec.structs.replace(
        terms(plan, theatre, country=country, closing_days=closing), zone=zone
    ),
    st.sampled_from(["basic", "gold", "platinum"]),
    st.sampled_from(list(THEATRES)),
    st.sampled_from(COUNTRIES),
    ANY_ZONE,
    st.lists(st.dates(date(2020, 1, 1), date(2040, 12, 31)), max_size=3),
)


@settings(max_examples=150, deadline=None)
@given(ANY_TERMS, st.integers(1, 4), INSTANTS, st.integers(1, 60 * 3600 * 1000))
def test_add_is_the_earliest_instant_of_its_target(
    binding: Terms, priority: int, start: datetime, target_ms: int
) -> None:
    """At the due instant exactly the target has elapsed, and a microsecond earlier it had not."""
    found = calendar_for(RELEASE, binding, priority)
    due = found.add(start, target_ms / 1000)
    assert found.elapsed(start, due) == target_ms / 1000
    assert found.elapsed(start, due - timedelta(microseconds=1)) < target_ms / 1000


@settings(max_examples=100, deadline=None)
@given(ANY_TERMS, st.integers(1, 4), st.lists(INSTANTS, min_size=3, max_size=3))
def test_elapsed_time_adds_up(binding: Terms, priority: int, instants: list[datetime]) -> None:
    """elapsed(a, b) + elapsed(b, c) = elapsed(a, c), in any order, and equals the open intervals' lengths."""
    a, b, c = instants
    found = calendar_for(RELEASE, binding, priority)
    assert found.elapsed(a, b) + found.elapsed(b, c) == pytest.approx(found.elapsed(a, c), abs=1e-3)
    start = min(a, b)
    end = min(max(a, b), start + timedelta(days=40))
    total = sum(((y - x) for x, y in found.open_intervals(start, end)), timedelta())
    assert found.elapsed(start, end) == total.total_seconds()


@settings(max_examples=60, deadline=None)
@given(ANY_TERMS, st.lists(st.tuples(INSTANTS, st.integers(1, 200_000)), min_size=2, max_size=6))
def test_the_order_of_questions_does_not_matter(
    binding: Terms, questions: list[tuple[datetime, int]]
) -> None:
    """Tables are built when they are first needed: a fresh calendar asked backwards answers the same."""
    spec = spec_for(RELEASE, binding, "extended")
    forwards, backwards = WorkingCalendar(spec), WorkingCalendar(spec)
    answers = [forwards.add(*question) for question in questions]
    assert [backwards.add(*question) for question in reversed(questions)] == answers[::-1]


# --- the independent reference ---------------------------------------------------------------------------

PATTERNS = [
    ({0, 1, 2, 3, 4}, (540, 1080), {5}, (540, 1080)),
    ({0, 1, 2, 3, 4}, (420, 1020), {5}, (480, 720)),
    ({6, 0, 1, 2, 3}, (540, 1080), {5}, (720, 1080)),
    ({0, 1, 2, 3, 4, 5}, (0, 1440), set(), (60, 240)),  # around midnight and the change of the clocks
    ({0, 2, 4}, (90, 200), {6}, (0, 150)),
]


def pair(rng: random.Random) -> tuple[WorkingCalendar, SlowCalendar]:
    """The same calendar twice: as ours, and as the reference."""
    zone = rng.choice(sorted(available_timezones() - {"localtime", "Factory"}))
    working, hours, special, special_hours = rng.choice(PATTERNS)
    extended = rng.random() < 0.7
    country = rng.choice(COUNTRIES)
    closing = frozenset(date(2020, 1, 1) + timedelta(days=rng.randrange(7670)) for _ in range(40))
    table = dict.fromkeys(working, hours) | (dict.fromkeys(special, special_hours) if extended else {})
    slow = SlowCalendar(zone, table, special_hours if extended else None, country, closing)
    weekdays = tuple((Hours(*table[n]),) if n in table else () for n in range(7))
    holiday = (Hours(*special_hours),) if extended else ()
    spec = Spec(zone, "extended", weekdays, holiday, country, closing_days=tuple(sorted(closing)))
    return WorkingCalendar(spec), slow


def test_the_slow_reference_agrees_on_10000_random_cases() -> None:
    """A minute walk that shares no code with the calendar comes to the same due times, elapsed minutes and
    open minutes: any zone, 2020 to 2040. (Broken twin: reading the closing window as closed at both ends
    fails within the first hundred cases.)"""
    rng = random.Random(20261224)
    cases = 0
    while cases < 10_000:
        fast, slow = pair(rng)
        for _ in range(4):
            year_start = int(datetime(rng.randint(2020, 2040), 1, 1, tzinfo=UTC).timestamp()) // 60
            for _ in range(25):
                start = year_start + rng.randrange(365 * 1440)
                compare(fast, slow, start, rng.choice([1, 60, 120, 240, 480, rng.randint(1, 2400)]))
                cases += 1


def compare(fast: WorkingCalendar, slow: SlowCalendar, start: int, target: int) -> None:
    """One case: due time, elapsed time up to somewhere beyond it, and whether it is open there."""
    unit = 60 * SECOND
    due = slow.add(start, target)
    assert fast.add_us(start * unit, target * unit) == due * unit, (slow.zone, start, target)
    end = due + target % 977
    assert fast.elapsed_us(start * unit, end * unit) == slow.elapsed(start, end) * unit, (
        slow.zone,
        start,
        end,
    )
    now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(minutes=end)
    assert fast.is_open(now) == slow.is_open(end), (slow.zone, end)
