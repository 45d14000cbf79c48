"""Calendars out and in: stable, valid, and safe against strangers' calendars."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from icalendar import Calendar

from oncall.ical import feed, uids
from oncall.ical_import import BadCalendar, Task, absences, read
from oncall.rota_file import BadRota, Rota, parse
from oncall.rota_files import read_rota
from oncall.schedule import Override, Schedule, shifts
from tests.oncall.rota_strategies import schedules

GOOD = (Path(__file__).parent / "rota_files" / "three-theatres.yaml").read_text()
START, END = datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 6, 1, tzinfo=UTC)
STAMP = datetime(2026, 4, 1, tzinfo=UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def out(rota: Rota, person: str | None = None) -> bytes:
    return feed("On call", rota.schedules.values(), person, rota.names, START, END, STAMP)


def events(body: bytes) -> dict[str, tuple[datetime, datetime, str]]:
    found: list[Any] = Calendar.from_ical(body).walk("VEVENT")
    return {str(e["UID"]): (e["DTSTART"].dt, e["DTEND"].dt, str(e["SUMMARY"])) for e in found}


def test_a_feed_holds_exactly_the_shifts():
    """Every shift that touches May, whole, in UTC; CRLF lines of at most 75 octets."""
    rota = parse(GOOD)
    body = out(rota)
    expected = {
        (s.start, s.end)
        for one in rota.schedules.values()
        for s in shifts(one, START - timedelta(days=45), END + timedelta(days=45))
        if s.start < END and s.end > START
    }
    assert {(a, b) for a, b, _ in events(body).values()} == expected
    assert all(len(line) <= 75 for line in body.split(b"\r\n"))
    assert body.count(b"\n") == body.count(b"\r\n")
    assert b"METHOD:PUBLISH" in body
    assert body.count(b"DTSTAMP:20260401T000000Z") == len(events(body))


def test_a_persons_feed_holds_only_their_shifts():
    """Anna's calendar, from all schedules, names nobody else; made twice it is the same bytes."""
    rota = parse(GOOD)
    found = events(out(rota, "anna"))
    assert found
    assert {summary for _, _, summary in found.values()} == {"On call: Anna Bianchi (europe)"}
    assert out(rota, "anna") == out(rota, "anna")


def test_uids_survive_an_override_that_cuts_a_shift():
    """The cut shift keeps its UID with an earlier end; what is new has UIDs of its own."""
    rota = parse(GOOD)
    before = rota.schedules["europe"]
    made = Override("1", "chiara", utc("2026-05-05T10:00"), utc("2026-05-06T10:00"))
    after = Schedule(before.name, before.zone, before.layers, (*before.overrides, made), before.absences)
    old, new = ({u: s for s, u in zip(f, uids(f), strict=True)} for f in (_may(before), _may(after)))
    (cut,) = [uid for uid in old if old[uid].end != new[uid].end]
    assert new[cut].end == made.start
    assert len(set(new) - set(old)) == 2  # the override, and what is left of the shift after it
    assert set(old) <= set(new)


def _may(schedule: Schedule) -> list:
    return shifts(schedule, START, END)


def test_uids_do_not_depend_on_the_stretch_asked_for():
    """The same shift has the same UID in two feeds made weeks apart."""
    rota = parse(GOOD)
    later = feed(
        "x", rota.schedules.values(), None, {}, utc("2026-05-20T00:00"), utc("2026-07-01T00:00"), STAMP
    )
    both = {uid: span for uid, span in events(out(rota)).items() if span[1] > utc("2026-05-20T00:00")}
    assert both
    assert all(events(later)[uid][:2] == span[:2] for uid, span in both.items())


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(schedules())
def test_uids_are_unique(drawn):
    """No two shifts of a schedule share a UID, whatever cuts them."""
    schedule, around = drawn
    found = uids(shifts(schedule, around - timedelta(days=3), around + timedelta(days=10)))
    assert len(set(found)) == len(found)


def calendar(*events: str) -> str:
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//test//EN"]
    for n, event in enumerate(events):
        lines += ["BEGIN:VEVENT", f"UID:{n}", "DTSTAMP:20260101T000000Z"]
        lines += [*dedent(event).strip().splitlines(), "END:VEVENT"]
    return "\r\n".join([*lines, "END:VCALENDAR", ""])


def task(text: str, zone: str = "Europe/Rome") -> Task:
    return Task(text, "anna", zone, utc("2026-01-01T00:00"), utc("2027-01-01T00:00"))


def away(*events: str, zone: str = "Europe/Rome") -> list[tuple[datetime, datetime]]:
    return [(one.start, one.end) for one in absences(task(calendar(*events), zone))]


def test_all_day_events_are_days_in_the_persons_zone():
    """10 to 12 August (DTEND is exclusive) begin and end at midnight where the person lives."""
    event = "DTSTART;VALUE=DATE:20260810\nDTEND;VALUE=DATE:20260813\nSUMMARY:Summer"
    assert away(event) == [(utc("2026-08-09T22:00"), utc("2026-08-12T22:00"))]
    assert away(event, zone="Asia/Dubai") == [(utc("2026-08-09T20:00"), utc("2026-08-12T20:00"))]


def test_times_keep_their_zone_and_floating_times_take_the_persons():
    """UTC, a named zone and a floating time."""
    assert away("DTSTART:20260301T100000Z\nDTEND:20260301T110000Z") == [
        (utc("2026-03-01T10:00"), utc("2026-03-01T11:00"))
    ]
    assert away("DTSTART;TZID=America/New_York:20260301T100000\nDURATION:PT1H") == [
        (utc("2026-03-01T15:00"), utc("2026-03-01T16:00"))
    ]
    assert away("DTSTART:20260301T100000\nDTEND:20260301T110000") == [
        (utc("2026-03-01T09:00"), utc("2026-03-01T10:00"))
    ]


def test_recurring_events_unfold_across_daylight_saving_and_stop_at_the_range():
    """Every Wednesday 09:00 in Rome for ever: 52 in 2026, one of them moved by EXDATE to nowhere."""
    found = away(
        "DTSTART;TZID=Europe/Rome:20250101T090000\nDTEND;TZID=Europe/Rome:20250101T120000\n"
        "RRULE:FREQ=WEEKLY;BYDAY=WE\nEXDATE;TZID=Europe/Rome:20260107T090000"
    )
    assert len(found) == 51
    assert found[0][0] == utc("2026-01-14T08:00")
    assert (utc("2026-07-01T07:00"), utc("2026-07-01T10:00")) in found


def test_free_and_cancelled_events_are_no_absences():
    """TRANSPARENT means that the person is free; CANCELLED that it does not happen."""
    base = "DTSTART:20260301T100000Z\nDTEND:20260301T110000Z\n"
    assert away(base + "TRANSP:TRANSPARENT", base + "STATUS:CANCELLED") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not a calendar"),
        ("BEGIN:VCALENDAR\r\nVERSION:2.0\r\n", "not a calendar"),
        (calendar("DTSTART:20260301T100000Z")[:-20], "calendar"),
        ("BEGIN:VEVENT\r\nUID:1\r\nEND:VEVENT\r\n", "VCALENDAR is missing"),
        ("hello", "not a calendar"),
        ("\x00", "characters"),
        ("\ud800", "characters"),
        ("x" * 1_000_001, "larger"),
        (calendar(*["DTSTART:20260301T100000Z"] * 2001), "more than 2000 events"),
        (calendar("DTSTART:20260301T100000Z\nRRULE:FREQ=SECONDLY"), "finer rules"),
        (calendar("DTSTART:20260301T100000Z\nRRULE:FREQ=DAILY;BYHOUR=1,2,3"), "finer rules"),
        (calendar("DTSTART:20260301T100000Z\nEXRULE:FREQ=DAILY"), "EXRULE"),
        (calendar("DTSTART:20260301T100000Z\nRRULE:FREQ=DAILY;INTERVAL=0"), "INTERVAL"),
        (calendar("SUMMARY:no start"), "cannot be unfolded"),
    ],
)
def test_bad_calendars_are_refused_with_the_reason(text, says):
    """Nothing but BadCalendar comes out, and it says what is wrong."""
    with pytest.raises(BadCalendar, match=says):
        absences(task(text))


async def test_a_calendar_is_unfolded_in_a_process_of_its_own():
    """The good one comes back as it is; the refusal comes back as a refusal."""
    text = calendar("DTSTART;VALUE=DATE:20260810\nDTEND;VALUE=DATE:20260813\nSUMMARY:Summer")
    (one,) = await read(task(text))
    assert (one.person_key, one.reason, one.end) == ("anna", "Summer", utc("2026-08-12T22:00"))
    with pytest.raises(BadCalendar, match="not a calendar"):
        await read(task("hello"))


async def test_a_rule_that_never_ends_is_stopped():
    """30 February, every day, for ever, many times over: the process is stopped at its limit.

    Broken twin: unfolding in our own process hangs it for minutes."""
    hopeless = "DTSTART:19700101T000000Z\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30;COUNT=1"
    with pytest.raises(BadCalendar, match=r"takes longer than 1.5 s"):
        await read(task(calendar(*[hopeless] * 50)), time_limit_s=1.5)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            [
                "BEGIN:VCALENDAR", "END:VCALENDAR", "BEGIN:VEVENT", "END:VEVENT", "DTSTART:20260301T100000Z",
                "DTSTART;VALUE=DATE:20260301", "DTEND:20260301T110000Z", "DTEND:20260201T110000Z",
                "RRULE:FREQ=WEEKLY;COUNT=3", "RRULE:FREQ=", "RRULE:FREQ=DAILY;INTERVAL=0", "DURATION:-P1D",
                "DTSTART;TZID=Nowhere:20260301T100000", "DTSTART:99999999T999999Z", "UID:1", ":", ";=:",
                "RECURRENCE-ID:20260308T100000Z", "EXDATE:x", "RDATE;VALUE=PERIOD:20260301T100000Z/PT1H",
                "BEGIN:VTIMEZONE", "END:VTIMEZONE", "DTSTART:", "DTEND;VALUE=DATE:20260302", "SEQUENCE:x",
            ]
        ),
        max_size=14,
    )
)  # fmt: skip
def test_no_calendar_breaks_the_reader(lines):
    """Lines in any order come out as absences within the range, or as BadCalendar."""
    asked = task("\r\n".join(["BEGIN:VCALENDAR", "BEGIN:VEVENT", *lines, "END:VEVENT", "END:VCALENDAR", ""]))
    try:
        found = absences(asked)
    except BadCalendar:
        return
    assert all(asked.start <= one.start < one.end <= asked.end for one in found)


async def test_a_rota_file_takes_absences_from_a_calendar_beside_it(tmp_path):
    """Bruno's calendar empties his days; a missing or bad calendar is a fault with its line."""
    text = GOOD.replace(
        "- {person: bruno, from: 2026-08-10, to: 2026-08-16, reason: summer}",
        "- {person: bruno, calendar: b.ics}",
    )
    path = tmp_path / "rota.yaml"
    path.write_text(text)
    line = text[: text.index("b.ics")].count("\n") + 1
    with pytest.raises(BadRota, match=rf"line {line}: absences.calendar: b.ics: .*No such file"):
        await read_rota(path, STAMP)
    (tmp_path / "b.ics").write_text(calendar("DTSTART;VALUE=DATE:20260811\nDTEND;VALUE=DATE:20260812"))
    rota = await read_rota(path, STAMP)
    found = shifts(rota.schedules["europe"], utc("2026-08-10T22:00"), utc("2026-08-11T22:00"))
    assert found == []
