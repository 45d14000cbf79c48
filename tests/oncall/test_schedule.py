"""Schedules against a slow reference, and the laws every rota keeps."""

from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oncall.rotation import Rotation, turn_at, turns
from oncall.schedule import Absence, Layer, Override, Schedule, Shift, in_order, shifts, who
from oncall.wall import ALWAYS, Window, instant, is_open, openings, reading
from tests.oncall.rota_strategies import moments, rotations, schedules, zones
from tests.oncall.slow_rota import walk

CALM = settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
ROME, LORD_HOWE = "Europe/Rome", "Australia/Lord_Howe"


wall = datetime.fromisoformat
"""Naive: what a clock on the wall shows."""


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def on_call(schedule: Schedule, at: datetime) -> tuple[str, ...]:
    return tuple(one.person_key for one in who(schedule, at))


def running(found: list[Shift], at: datetime) -> tuple[str, ...]:
    return tuple(s.person_key for s in in_order(s for s in found if s.start <= at < s.end))


def weekly(zone: str, *people: str, starts: str = "2026-01-05T09:00", every: int = 168) -> Rotation:
    return Rotation(tuple((p,) for p in people), datetime.fromisoformat(starts), every, zone)


@CALM
@given(schedules())
def test_shifts_agree_with_a_walk_minute_by_minute(drawn):
    """Over three days, each minute has exactly the people that the independent reference finds."""
    schedule, around = drawn
    start, end = around - timedelta(days=1), around + timedelta(days=2)
    found = shifts(schedule, start, end)
    for at, expected in walk(schedule, start, end):
        assert running(found, at) == expected, at


@CALM
@given(schedules(), st.integers(0, 3 * 86_400))
def test_who_agrees_with_shifts_at_every_instant(drawn, offset):
    """``who`` names the same people, layers and ends as the shifts around the instant, to the second."""
    schedule, around = drawn
    at = around - timedelta(days=1) + timedelta(seconds=offset)
    found = shifts(schedule, at - timedelta(days=10), at + timedelta(days=20))
    now = in_order(s for s in found if s.start <= at < s.end)
    for one, (key, layer, end) in zip(
        who(schedule, at), [(s.person_key, s.layer, s.end) for s in now], strict=True
    ):
        assert (one.person_key, one.layer) == (key, layer)
        assert one.until == end or end == at + timedelta(days=20)


@CALM
@given(schedules())
def test_a_persons_shifts_never_overlap(drawn):
    """No person has two shifts at one instant, and every shift has a length and lies in the range."""
    schedule, around = drawn
    start, end = around - timedelta(days=3), around + timedelta(days=10)
    found = sorted(shifts(schedule, start, end), key=lambda s: s.person_key)
    for _, own in groupby(found, key=lambda s: s.person_key):
        for a, b in pairwise(sorted(own, key=lambda s: s.start)):
            assert a.end <= b.start
    assert all(start <= s.start < s.end <= end for s in found)


@CALM
@given(zones.flatmap(lambda z: moments(z).flatmap(lambda m: st.tuples(rotations(z, m), st.just(m)))))
def test_turns_partition_time(drawn):
    """From the first hand-over on, turns follow one another without hole or overlap in any zone."""
    rotation, around = drawn
    first = instant(rotation.starts, rotation.zone)
    found = list(turns(rotation, around - timedelta(days=30), around + timedelta(days=5)))
    assert all(a.end == b.start for a, b in pairwise(found))
    if found:
        assert found[0].start <= max(first, around - timedelta(days=30))
        assert found[-1].end >= around + timedelta(days=5)


@CALM
@given(zones.flatmap(lambda z: st.tuples(st.just(z), moments(z))), st.integers(0, 86_400))
def test_one_always_open_layer_has_no_hole(drawn, offset):
    """A rotation without windows, absences and end covers every second after its first hand-over."""
    zone, around = drawn
    rotation = Rotation((("anna",), ("bruno",)), wall("2020-01-01T02:30"), 12, zone)
    schedule = Schedule("s", zone, (Layer("only", rotation),))
    start = max(around, datetime(2020, 1, 3, tzinfo=UTC)) + timedelta(seconds=offset)
    found = shifts(schedule, start, start + timedelta(days=4))
    assert found[0].start == start
    assert found[-1].end == start + timedelta(days=4)
    assert all(a.end == b.start for a, b in pairwise(found))


@CALM
@given(zones.flatmap(lambda z: st.tuples(st.just(z), moments(z))), st.integers(0, 4000), st.integers(1, 5000))
def test_is_open_agrees_with_openings(drawn, opens, length):
    """One instant asked alone gets the answer that the list of openings gives."""
    zone, at = drawn
    windows = (Window(opens, length), Window((opens + 7000) % 10080, 61))
    spans = openings(windows, zone, at - timedelta(days=1), at + timedelta(days=1))
    assert is_open(windows, zone, at) == any(a <= at < b for a, b in spans)


@CALM
@given(zones.flatmap(lambda z: st.tuples(st.just(z), moments(z))), st.integers(-90, 90), st.integers(0, 3000))
def test_wall_times_never_run_backwards(drawn, minutes, more):
    """A later wall time never stands for an earlier instant, and it stands for the first reading of it.

    Broken twin: converting with ``fold=1`` (the second of two readings) fails here."""
    zone, around = drawn
    shown = reading(around, zone) + timedelta(minutes=minutes)
    assert instant(shown, zone) <= instant(shown + timedelta(minutes=more), zone)
    assert reading(instant(shown, zone), zone) >= shown
    before = (instant(shown, zone) - timedelta(seconds=1 + 300 * n) for n in range(36))
    assert all(reading(at, zone) < shown for at in before)


def test_three_weeks_in_three_theatres_agree_with_the_walk():
    """A follow-the-sun rota over the spring and autumn changes of Rome, New York and Lord Howe."""
    working = tuple(Window(day * 1440 + 540, 540) for day in range(5))
    schedule = Schedule(
        "sun",
        ROME,
        (
            Layer("night", weekly(LORD_HOWE, "anna", "bruno", starts="2026-01-05T02:15", every=24)),
            Layer("us", weekly("America/New_York", "chiara", "dario"), working),
            Layer("eu", weekly(ROME, "dario", "elena"), working),
        ),
        (Override("o", "anna", utc("2026-03-30T10:00"), utc("2026-03-31T10:00"), "elena"),),
        (Absence("dario", utc("2026-04-01T00:00"), utc("2026-04-03T00:00")),),
    )
    for start in (utc("2026-03-20T00:00"), utc("2026-10-20T00:00")):
        end = start + timedelta(days=21)
        found = shifts(schedule, start, end)
        for at, expected in walk(schedule, start, end):
            assert running(found, at) == expected


def test_a_weekly_hand_over_stays_at_nine_local_time():
    """Across the spring change the shift is an hour shorter, across the autumn one an hour longer."""
    schedule = Schedule("s", ROME, (Layer("only", weekly(ROME, "anna", "bruno")),))
    lengths = {
        s.start: s.end - s.start for s in shifts(schedule, utc("2026-01-05T08:00"), utc("2027-01-04T08:00"))
    }
    assert lengths[utc("2026-03-23T08:00")] == timedelta(days=7, hours=-1)
    assert lengths[utc("2026-10-19T07:00")] == timedelta(days=7, hours=1)
    assert all(reading(start, ROME).hour == 9 for start in lengths)
    assert len(lengths) == 52


def test_lord_howe_changes_by_half_an_hour():
    """A hand-over at 02:15 falls into Lord Howe's gap of 30 minutes and happens at the jump, 15:30 UTC."""
    assert instant(wall("2026-10-04T02:15"), LORD_HOWE) == utc("2026-10-03T15:30")
    assert instant(wall("2026-04-05T01:45"), LORD_HOWE) == utc("2026-04-04T14:45")  # first of two
    daily = weekly(LORD_HOWE, "anna", "bruno", starts="2026-04-01T02:15", every=24)
    gap = turn_at(daily, utc("2026-10-03T15:30"))
    assert gap is not None
    assert gap.end - gap.start == timedelta(hours=23, minutes=45)  # 02:30 (the jump) to 02:15


def test_an_hourly_turn_that_is_jumped_over_has_no_length():
    """02:00-03:00 does not exist in Rome on 29 March 2026: its turn passes, the next stays whose it is."""
    hourly = weekly(ROME, "anna", "bruno", "chiara", starts="2026-03-29T00:00", every=1)
    numbers = [t.number for t in turns(hourly, utc("2026-03-28T23:00"), utc("2026-03-29T03:00"))]
    assert numbers == [0, 1, 3, 4]


def test_windows_in_a_fold_keep_touching():
    """Two layers that meet at 02:30 on the wall meet at its first reading; nobody rings twice or never."""
    early, late = Window(6 * 1440, 150), Window(6 * 1440 + 150, 1440 - 150)
    schedule = Schedule(
        "s",
        ROME,
        (Layer("a", weekly(ROME, "anna"), (early,)), Layer("b", weekly(ROME, "bruno"), (late,))),
    )
    found = shifts(schedule, utc("2026-10-24T22:00"), utc("2026-10-25T23:00"))
    assert [(s.person_key, s.start) for s in found] == [
        ("anna", utc("2026-10-24T22:00")),
        ("bruno", utc("2026-10-25T00:30")),
    ]
    assert found[0].end == found[1].start


BASE = Schedule(
    "s", ROME, (Layer("low", weekly(ROME, "chiara")), Layer("high", weekly(ROME, "anna", "bruno")))
)
MONDAY, TUESDAY, THURSDAY = utc("2026-01-05T12:00"), utc("2026-01-06T12:00"), utc("2026-01-08T12:00")


def _with(*, overrides: tuple = (), absences: tuple = (), cover: bool = False) -> Schedule:
    low, high = BASE.layers
    high = Layer(high.name, high.rotation, ALWAYS, cover=cover)
    return Schedule("s", ROME, (low, high), overrides, absences)


def test_the_last_layer_wins():
    """While the upper layer has somebody the lower one is not on call."""
    assert on_call(BASE, MONDAY) == ("anna",)
    assert on_call(BASE, MONDAY + timedelta(days=7)) == ("bruno",)


def test_an_absent_person_falls_through_to_the_layer_below():
    """Anna is away: the lower layer shows through, exactly while she is away."""
    schedule = _with(absences=(Absence("anna", MONDAY, TUESDAY),))
    assert [(s.person_key, s.end) for s in shifts(schedule, MONDAY, THURSDAY)] == [
        ("chiara", TUESDAY),
        ("anna", THURSDAY),
    ]


def test_cover_asks_the_next_in_turn_first():
    """With ``cover`` the next crew that is there takes the shift; the turns themselves do not move."""
    schedule = _with(absences=(Absence("anna", MONDAY, TUESDAY),), cover=True)
    assert on_call(schedule, MONDAY) == ("bruno",)
    assert on_call(schedule, TUESDAY) == ("anna",)


def test_an_override_beats_every_layer_and_the_last_made_beats_the_others():
    """Both hold at noon on Monday; the one made later counts."""
    made = (Override("1", "dario", MONDAY, THURSDAY), Override("2", "elena", MONDAY, TUESDAY))
    assert on_call(_with(overrides=made), MONDAY) == ("elena",)
    assert on_call(_with(overrides=made), TUESDAY) == ("dario",)


def test_an_override_by_somebody_absent_rings_nobody_absent():
    """The override's person is away: the schedule below counts."""
    made = (Override("1", "dario", MONDAY, THURSDAY),)
    schedule = _with(overrides=made, absences=(Absence("dario", MONDAY, TUESDAY),))
    assert on_call(schedule, MONDAY) == ("anna",)
    assert on_call(schedule, TUESDAY) == ("dario",)


def test_a_replacement_counts_only_for_the_person_replaced():
    """Elena stands in for Anna; in Bruno's week the same replacement does nothing."""
    made = (Override("1", "elena", MONDAY, MONDAY + timedelta(days=14), "anna"),)
    schedule = _with(overrides=made, absences=(Absence("anna", MONDAY, THURSDAY),))
    assert on_call(schedule, MONDAY) == ("elena",)
    assert on_call(schedule, MONDAY + timedelta(days=7)) == ("bruno",)


def test_a_shift_keeps_its_anchor_when_an_override_cuts_it():
    """Both halves of Anna's week still begin, as a turn, at her hand-over: calendars stay stable."""
    made = (Override("1", "elena", TUESDAY, THURSDAY),)
    found = shifts(_with(overrides=made), MONDAY, MONDAY + timedelta(days=6))
    assert [s.person_key for s in found] == ["anna", "elena", "anna"]
    assert found[0].anchor == found[2].anchor == utc("2026-01-05T08:00")
    assert found[1].override_id == "1"


def test_before_the_first_hand_over_nobody_is_on_call():
    """A rotation has no turns before it starts; ``until`` of a turn is its hand-over."""
    assert on_call(BASE, utc("2026-01-05T07:59")) == ()
    assert who(BASE, utc("2026-01-05T08:00"))[0].until == utc("2026-01-12T08:00")
