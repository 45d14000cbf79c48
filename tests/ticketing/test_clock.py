"""The SLA clock: every cell of the take-charge table, every rule of the fact sheet, and its invariants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import available_timezones

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketing.calendar import calendar_for
from ticketing.clock import ClockState, compute
from ticketing.errors import HistoryError
from ticketing.history import ClockEvent
from ticketing.terms import Sla, Terms, with_plan

from .facts import RELEASE, at, event, opened, paused, priority, terms, wall

MONDAY = "2026-09-14"
"""An ordinary week without holidays in Italy begins."""


def due(plan: str, level: int, when: str, **kwargs: Any) -> str | None:
    """The deadline of a ticket opened then, in Rome's time."""
    start = at(when)
    return wall(compute(RELEASE, [opened(start, terms(plan, **kwargs), level)], start).due_at)


def state(history: list[ClockEvent], now: str) -> ClockState:
    return compute(RELEASE, history, at(now))


# --- the table of §4 -------------------------------------------------------------------------------------

TABLE = [
    # plan, priority, opened Monday 10:00 -> due, opened Friday 17:30 -> due, opened Sunday 12:00 -> due
    ("basic", 1, "2026-09-15 18:00", "2026-09-21 18:00", "2026-09-14 18:00"),
    ("basic", 2, "2026-09-16 18:00", "2026-09-22 18:00", "2026-09-15 18:00"),
    ("basic", 3, None, None, None),
    ("basic", 4, None, None, None),
    ("gold", 1, "2026-09-14 11:00", "2026-09-19 09:30", "2026-09-14 10:00"),
    ("gold", 2, "2026-09-14 12:00", "2026-09-19 10:30", "2026-09-14 11:00"),
    ("gold", 3, "2026-09-14 14:00", "2026-09-19 12:30", "2026-09-14 13:00"),
    ("gold", 4, "2026-09-14 18:00", "2026-09-19 16:30", "2026-09-14 17:00"),
    ("platinum", 1, "2026-09-14 11:00", "2026-09-18 18:30", "2026-09-13 13:00"),
    ("platinum", 2, "2026-09-14 12:00", "2026-09-19 10:30", "2026-09-14 11:00"),
    ("platinum", 3, "2026-09-14 14:00", "2026-09-19 12:30", "2026-09-14 13:00"),
    ("platinum", 4, "2026-09-14 18:00", "2026-09-19 16:30", "2026-09-14 17:00"),
]


@pytest.mark.parametrize(("plan", "level", "monday", "friday", "sunday"), TABLE)
def test_every_target_of_the_take_charge_table(
    plan: str, level: int, monday: str | None, friday: str | None, sunday: str | None
) -> None:
    """§4, in Europe: within a day, over a weekend (Gold works on Saturday), and from a closed Sunday."""
    assert due(plan, level, "2026-09-14 10:00") == monday
    assert due(plan, level, "2026-09-18 17:30") == friday
    assert due(plan, level, "2026-09-13 12:00") == sunday


@pytest.mark.parametrize(("plan", "level", "deadline"), [row[:3] for row in TABLE if row[2]])
def test_the_deadline_itself_is_late_on_gold_and_platinum_and_in_time_on_basic(
    plan: str, level: int, deadline: str
) -> None:
    """ "<" is met strictly before the deadline; "by" also at it; a microsecond decides."""
    start, end, tick = at("2026-09-14 10:00"), at(deadline), timedelta(microseconds=1)
    outcomes = []
    for moment in (end - tick, end, end + tick):
        history = [opened(start, terms(plan), level), event(moment, "taken")]
        outcomes.append(compute(RELEASE, history, moment).met)
    assert outcomes == ([True, True, False] if plan == "basic" else [True, False, False])


@pytest.mark.parametrize(("plan", "level", "deadline"), [row[:3] for row in TABLE if row[2]])
def test_what_an_untaken_ticket_is_at_its_deadline(plan: str, level: int, deadline: str) -> None:
    """At the deadline a guarantee is breached; on Basic it is still undecided, and a microsecond later the
    target is missed without ever being a breach."""
    history, end = [opened(at("2026-09-14 10:00"), terms(plan), level)], at(deadline)
    before = compute(RELEASE, history, end - timedelta(microseconds=1))
    assert (before.state, before.met) == ("running", None)
    there, after = compute(RELEASE, history, end), compute(RELEASE, history, end + timedelta(microseconds=1))
    if plan == "basic":
        assert (there.state, there.met, after.state, after.met) == ("running", None, "running", False)
    else:
        assert (there.state, there.met, after.state, after.met) == ("breached", False, "breached", False)
    assert there.remaining_s == 0


@pytest.mark.parametrize("level", [3, 4])
def test_best_effort_without_a_deadline(level: int) -> None:
    """Basic P3 and P4 have no deadline: nothing is due, met or breached, taken in charge or not."""
    start = at("2026-09-14 10:00")
    open_ = compute(RELEASE, [opened(start, terms("basic"), level)], start + timedelta(days=90))
    assert (open_.state, open_.due_at, open_.remaining_s, open_.met) == ("none", None, None, None)
    assert open_.marks == ()
    history = [opened(start, terms("basic"), level), event(start, "taken")]
    assert compute(RELEASE, history, start).state == "none"


def test_a_missed_basic_target_is_never_a_breached_guarantee() -> None:
    """Recorded as missed (met: no), with no state 'breached', also when it was taken in charge late."""
    start, late = at("2026-09-14 10:00"), at("2026-09-16 10:00")
    found = compute(RELEASE, [opened(start, terms("basic"), 1), event(late, "taken")], late)
    assert (found.state, found.met, found.sla) == ("none", False, Sla.BEST_EFFORT)
    waiting = compute(RELEASE, [opened(start, terms("basic"), 1), paused(late)], late)
    assert (waiting.state, waiting.met) == ("paused", False)


@pytest.mark.parametrize(
    ("when", "p1", "p2"),
    [
        ("2026-09-14 07:30", "2026-09-15 18:00", "2026-09-16 18:00"),
        ("2026-09-14 17:00", "2026-09-15 18:00", "2026-09-16 18:00"),
        ("2026-09-19 12:00", "2026-09-21 18:00", "2026-09-22 18:00"),
        ("2026-12-24 10:00", "2026-12-28 18:00", "2026-12-29 18:00"),
        ("2026-09-14 23:59", "2026-09-15 18:00", "2026-09-16 18:00"),
    ],
)
def test_day_targets_count_from_the_day_after_the_local_date_of_opening(when: str, p1: str, p2: str) -> None:
    """Opened Mon 07:30 or Mon 17:00, the next working day is Tue; opened Sat: Mon; holidays are left out."""
    assert (due("basic", 1, when), due("basic", 2, when)) == (p1, p2)


def test_the_local_date_is_that_of_the_theatre() -> None:
    """02:00 UTC on Tuesday is still Monday in New York: the next working day is Tuesday."""
    start = datetime(2026, 9, 15, 2, 0, tzinfo=UTC)
    binding = terms("basic", "americas")
    found = compute(RELEASE, [opened(start, binding, 1)], start)
    assert wall(found.due_at, "America/New_York") == "2026-09-15 17:00"


def test_cloud_basic_has_basic_targets() -> None:
    assert due("basic", 1, "2026-09-14 10:00", licence="cloud") == "2026-09-15 18:00"


def test_platinum_p1_in_asia_pacific_follows_the_gold_calendar() -> None:
    assert due("platinum", 1, "2026-09-13 12:00", asia_pacific=True) == "2026-09-14 10:00"


@pytest.mark.parametrize("channel", ["proactive", "portal", "phone", "chat"])
def test_channels_with_sla(channel: str) -> None:
    """A proactive ticket counts as the portal: the SLA applies."""
    assert due("gold", 2, "2026-09-14 10:00", channel=channel) == "2026-09-14 12:00"


def test_no_sla_by_email() -> None:
    start = at("2026-09-14 10:00")
    found = compute(RELEASE, [opened(start, terms("gold", channel="email"), 1)], start + timedelta(days=3))
    assert (found.state, found.due_at, found.met, found.sla) == ("none", None, None, Sla.NONE)


def test_an_optional_language_has_a_target_but_no_guarantee() -> None:
    """The target is shown and recorded; missing it is no breach."""
    start = at("2026-09-14 10:00")
    found = state([opened(start, terms("gold", languages=["fr"]), 1)], "2026-09-14 12:00")
    assert (wall(found.due_at), found.state, found.met) == ("2026-09-14 11:00", "running", False)
    assert found.sla is Sla.BEST_EFFORT


def test_resolution_is_never_measured() -> None:
    """The clock stops at taking in charge: what happens later does not change its outcome."""
    start = at("2026-09-14 10:00")
    taken = [opened(start, terms("gold"), 1), event(at("2026-09-14 10:30"), "taken")]
    later = [*taken, priority(at("2026-09-15 10:00"), 3), paused(at("2026-09-15 11:00"))]
    later.append(event(at("2026-09-20 11:00"), "resolved"))
    found = state(later, "2026-09-30 10:00")
    assert found == state(taken, "2026-09-14 10:30")
    assert (found.state, found.consumed_s) == ("met", 1800)


# --- waiting ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("waiting_for", ["customer", "third-party"])
def test_waiting_consumes_nothing(waiting_for: Any) -> None:
    """30 min consumed, then a weekend of waiting: 90 min are left on Monday."""
    history = [
        opened(at("2026-09-18 17:00"), terms("gold"), 2),
        event(at("2026-09-18 17:30"), "paused", waiting_for=waiting_for),
    ]
    while_paused = state(history, "2026-09-21 09:15")
    assert (while_paused.state, while_paused.consumed_s, while_paused.remaining_s) == ("paused", 1800, 5400)
    assert (wall(while_paused.due_at), while_paused.projected) == ("2026-09-21 10:45", True)
    history.append(event(at("2026-09-21 09:15"), "resumed"))
    running = state(history, "2026-09-21 10:00")
    assert (running.state, wall(running.due_at), running.projected) == ("running", "2026-09-21 10:45", False)


def test_the_projection_moves_with_the_waiting() -> None:
    """While paused the due time is as if it resumed now."""
    history = [opened(at("2026-09-14 10:00"), terms("gold"), 2), paused(at("2026-09-14 10:30"))]
    found = [wall(state(history, f"2026-09-14 {hour}:00").due_at) for hour in (11, 12, 17)]
    assert found == ["2026-09-14 12:30", "2026-09-14 13:30", "2026-09-15 09:30"]


def test_a_pause_after_the_deadline_does_not_move_it() -> None:
    history = [opened(at("2026-09-14 10:00"), terms("gold"), 1), paused(at("2026-09-14 11:30"))]
    found = state(history, "2026-09-15 12:00")
    assert (found.state, wall(found.due_at), found.projected) == ("breached", "2026-09-14 11:00", False)


def test_a_pause_moves_a_day_target_by_its_base_hours() -> None:
    """Basic P1 opened Monday is due Tuesday 18:00; waiting from Monday 17:00 to Tuesday 11:00 is 1 h + 2 h of
    base hours, so Wednesday 12:00. A pause outside base hours moves nothing."""
    day = [opened(at("2026-09-14 10:00"), terms("basic"), 1), paused(at("2026-09-14 17:00"))]
    day.append(event(at("2026-09-15 11:00"), "resumed"))
    assert wall(state(day, "2026-09-15 11:00").due_at) == "2026-09-16 12:00"
    night = [opened(at("2026-09-14 10:00"), terms("basic"), 1), paused(at("2026-09-14 18:00"))]
    night.append(event(at("2026-09-15 09:00"), "resumed"))
    assert wall(state(night, "2026-09-15 09:00").due_at) == "2026-09-15 18:00"


def test_taking_in_charge_while_waiting() -> None:
    """The clock was paused, so it is met however long the wait was."""
    history = [opened(at("2026-09-14 10:00"), terms("gold"), 1), paused(at("2026-09-14 10:59"))]
    history.append(event(at("2026-09-16 10:00"), "taken"))
    found = state(history, "2026-09-16 10:00")
    assert (found.state, found.consumed_s) == ("met", 59 * 60)


# --- changes ---------------------------------------------------------------------------------------------


def test_a_raise_that_has_consumed_the_new_target_is_due_at_the_change() -> None:
    """P2 with 90 min consumed becomes P1 (60 min): due, and breached, at that instant."""
    history = [opened(at("2026-09-14 10:00"), terms("gold"), 2), priority(at("2026-09-14 11:30"), 1)]
    found = state(history, "2026-09-14 11:30")
    assert (found.state, wall(found.due_at), found.remaining_s) == ("breached", "2026-09-14 11:30", -1800)
    exactly = [opened(at("2026-09-14 10:00"), terms("gold"), 2), priority(at("2026-09-14 11:00"), 1)]
    assert wall(state(exactly, "2026-09-14 11:00").due_at) == "2026-09-14 11:00"


def test_a_raise_keeps_what_was_consumed() -> None:
    """P3 with 30 min consumed becomes P1: 30 min are left, over the closed night on Gold."""
    history = [opened(at("2026-09-14 17:20"), terms("gold"), 3), priority(at("2026-09-14 17:50"), 1)]
    assert wall(state(history, "2026-09-14 17:50").due_at) == "2026-09-15 09:20"


def test_a_segment_counts_in_the_calendar_in_force_during_it() -> None:
    """Platinum opened Saturday 20:00 as P2 (closed until Monday), raised to P1 on Sunday at noon: 24x7 from
    then on, with nothing consumed before."""
    history = [opened(at("2026-09-19 20:00"), terms("platinum"), 2), priority(at("2026-09-20 12:00"), 1)]
    found = state(history, "2026-09-20 12:10")
    assert (found.consumed_s, wall(found.due_at)) == (600, "2026-09-20 13:00")
    history.append(priority(at("2026-09-20 12:30"), 2))  # lowered: closed again, 30 min stay consumed
    found = state(history, "2026-09-20 23:00")
    assert (found.consumed_s, wall(found.due_at)) == (1800, "2026-09-21 10:30")


def test_an_upgrade_in_the_middle_of_an_incident() -> None:
    """Gold P1 on a Saturday evening: nothing runs; upgraded to Platinum at 22:00 it runs at once."""
    gold = terms("gold")
    history = [
        opened(at("2026-09-19 20:00"), gold, 1),
        event(at("2026-09-19 22:00"), "terms", terms=with_plan(RELEASE, gold, "platinum")),
    ]
    assert wall(state(history, "2026-09-19 22:00").due_at) == "2026-09-19 23:00"


def test_an_upgrade_from_basic_keeps_the_consumed_base_hours() -> None:
    """Basic P2 opened Monday 17:30, Gold from Tuesday 09:30: 1 h is consumed of 2 h."""
    basic = terms("basic")
    history = [
        opened(at("2026-09-14 17:30"), basic, 2),
        event(at("2026-09-15 09:30"), "terms", terms=with_plan(RELEASE, basic, "gold")),
    ]
    found = state(history, "2026-09-15 09:30")
    assert (found.consumed_s, wall(found.due_at), found.sla) == (3600, "2026-09-15 10:30", Sla.GUARANTEED)


def test_a_downgrade_to_basic_is_due_at_the_close_of_the_day() -> None:
    """The day target counts from the local date of opening, and what waited before moves it."""
    gold = terms("gold")
    history = [
        opened(at("2026-09-18 17:00"), gold, 2),
        paused(at("2026-09-18 17:30")),
        event(at("2026-09-18 18:30"), "resumed"),
        event(at("2026-09-19 09:30"), "terms", terms=with_plan(RELEASE, gold, "basic")),
    ]
    assert wall(state(history, "2026-09-19 09:30").due_at) == "2026-09-23 09:30"


def test_a_day_target_that_is_past_when_it_comes_into_force_is_due_at_the_change() -> None:
    """P3 (no deadline) of the week before becomes P1 on Basic."""
    history = [opened(at("2026-09-07 10:00"), terms("basic"), 3), priority(at("2026-09-14 11:00"), 1)]
    found = state(history, "2026-09-14 12:00")
    assert (wall(found.due_at), found.state, found.met) == ("2026-09-14 11:00", "running", False)


def test_a_changed_calendar_counts_from_its_change() -> None:
    """A closing day recorded in the middle moves what is left."""
    before = terms("gold")
    after = msgspec.structs.replace(before, closing_days=(at("2026-09-15 12:00").date(),))
    history = [opened(at("2026-09-14 17:00"), before, 2), event(at("2026-09-14 17:30"), "terms", terms=after)]
    assert wall(state(history, "2026-09-14 17:30").due_at) == "2026-09-16 10:00"


def test_a_change_that_changes_nothing_keeps_the_deadline() -> None:
    """A missed P2 stays due when it was, though the plan became Platinum later."""
    gold = terms("gold")
    history = [
        opened(at("2026-09-14 10:00"), gold, 2),
        event(at("2026-09-14 15:00"), "terms", terms=with_plan(RELEASE, gold, "platinum")),
    ]
    assert wall(state(history, "2026-09-14 15:00").due_at) == "2026-09-14 12:00"


def test_a_lowered_priority_does_not_hide_a_missed_target() -> None:
    """P1 missed at 11:00, lowered to P4 at 12:00: the new target runs, the missed one stays on record."""
    history = [opened(at("2026-09-14 10:00"), terms("gold"), 1), priority(at("2026-09-14 12:00"), 4)]
    found = state(history, "2026-09-14 12:00")
    assert (found.state, wall(found.due_at)) == ("running", "2026-09-14 18:00")
    assert [(m.priority, wall(m.due_at)) for m in found.missed] == [(1, "2026-09-14 11:00")]


def test_an_expiring_contract_leaves_its_open_ticket_running() -> None:
    """Terms are kept with the ticket: a contract that lapses is no event of its history."""
    found = state([opened(at("2026-09-14 17:30"), terms("gold"), 4)], "2026-09-15 10:00")
    assert (found.state, wall(found.due_at)) == ("running", "2026-09-15 16:30")


# --- resolution, reopening, marks ------------------------------------------------------------------------


def test_a_ticket_resolved_before_anybody_took_it() -> None:
    """Resolution settles it: in time or not."""
    start = at("2026-09-14 10:00")
    for end, outcome in (("2026-09-14 10:59", "met"), ("2026-09-14 11:00", "breached")):
        found = state([opened(start, terms("gold"), 1), event(at(end), "resolved")], "2026-09-20 10:00")
        assert (found.state, wall(found.taken_at)) == (outcome, end)


def test_reopening_continues_the_clock_of_a_ticket_that_nobody_took() -> None:
    """The time between resolution and reopening does not count; what was consumed stays."""
    history = [
        opened(at("2026-09-14 10:00"), terms("gold"), 1),
        event(at("2026-09-14 10:20"), "resolved"),
        event(at("2026-09-15 10:00"), "reopened"),
    ]
    found = state(history, "2026-09-15 10:10")
    assert (found.state, found.consumed_s, wall(found.due_at)) == ("running", 1800, "2026-09-15 10:40")


def test_reopening_leaves_the_taking_in_charge_standing() -> None:
    history = [
        opened(at("2026-09-14 10:00"), terms("gold"), 1),
        event(at("2026-09-14 10:20"), "taken"),
        event(at("2026-09-14 12:00"), "resolved"),
        event(at("2026-09-15 10:00"), "reopened"),
        event(at("2026-09-16 10:00"), "taken"),
    ]
    found = state(history, "2026-09-17 10:00")
    assert (found.state, wall(found.taken_at)) == ("met", "2026-09-14 10:20")


def test_marks_of_a_running_clock() -> None:
    """50, 75 and 90 % of the covered time; a closed night lies between two of them."""
    found = state([opened(at("2026-09-14 16:00"), terms("gold"), 3)], "2026-09-14 18:30")
    assert [(m.percent, wall(m.at), m.reached) for m in found.marks] == [
        (50, "2026-09-14 18:00", True),
        (75, "2026-09-15 10:00", False),
        (90, "2026-09-15 10:36", False),
    ]


def test_marks_that_a_change_has_passed_are_reached_at_the_change() -> None:
    """P3 with 45 of 240 min consumed becomes P1: 75 % of an hour are reached at that instant."""
    history = [opened(at("2026-09-14 10:00"), terms("gold"), 3), priority(at("2026-09-14 10:45"), 1)]
    found = state(history, "2026-09-14 10:45")
    assert [(wall(m.at), m.reached) for m in found.marks] == [
        ("2026-09-14 10:45", True),
        ("2026-09-14 10:45", True),
        ("2026-09-14 10:54", False),
    ]


# --- wrong histories -------------------------------------------------------------------------------------

NINE, TEN, ELEVEN = at("2026-09-14 09:00"), at("2026-09-14 10:00"), at("2026-09-14 11:00")
OPENED = opened(NINE, terms("gold"), 2)
WRONG = {
    "the history is empty": [],
    "must begin with 'opened'": [event(NINE, "taken")],
    "opens once": [OPENED, OPENED],
    "put events in order of time": [OPENED, paused(ELEVEN), event(TEN, "resumed")],
    "happened before event 1": [opened(ELEVEN, terms("gold"), 2), event(TEN, "taken")],
    "waits for the customer already": [OPENED, paused(TEN), paused(ELEVEN)],
    "needs whom it waits for": [OPENED, event(TEN, "paused")],
    "is not paused": [OPENED, event(TEN, "resumed")],
    "needs a priority from 1 to 4": [OPENED, event(TEN, "priority", priority=5, person="a", reason="b")],
    "needs a person and a reason": [OPENED, event(TEN, "priority", priority=1, person="anna")],
    "a change of priority needs a person": [OPENED, event(TEN, "priority", priority=1, reason="worse")],
    "needs the new terms": [OPENED, event(TEN, "terms")],
    "needs terms and a priority": [event(NINE, "opened")],
    "taken in charge already": [OPENED, event(TEN, "taken"), event(ELEVEN, "taken")],
    "the ticket is resolved": [OPENED, event(TEN, "resolved"), event(ELEVEN, "taken")],
    "is not resolved": [OPENED, event(TEN, "reopened")],
    "has no time zone": [OPENED, event(datetime(2026, 9, 14, 12), "taken")],  # noqa: DTZ001
    "now (": [OPENED, event(at("2026-09-15 10:00"), "taken")],
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_history_gets_a_clear_error(message: str) -> None:
    """The error names the event by number, kind and time, and says what is wrong."""
    with pytest.raises(HistoryError) as caught:
        compute(RELEASE, WRONG[message], at("2026-09-14 12:00"))
    assert message in str(caught.value)


# --- properties ------------------------------------------------------------------------------------------

FIRST = datetime(2020, 1, 1, tzinfo=UTC)
MINUTES = st.integers(0, 20 * 365 * 1440)
ANY_ZONE = st.sampled_from(sorted(available_timezones() - {"localtime", "Factory"}))
PLANS = st.sampled_from(["basic", "gold", "platinum"])
LEVELS = st.integers(1, 4)


@st.composite
def any_terms(draw: st.DrawFn) -> Terms:
    """Any plan and theatre, moved to any zone."""
    theatre = draw(st.sampled_from(["americas", "europe", "me-sun-thu", "me-mon-fri"]))
    country = draw(st.sampled_from(["IT", "US", "AE", "DE", "BR", "JP"]))
    found = terms(draw(PLANS), theatre, country=country, asia_pacific=draw(st.booleans()))
    return msgspec.structs.replace(found, zone=draw(ANY_ZONE))


@st.composite
def histories(draw: st.DrawFn, *, taken: bool = False) -> list[ClockEvent]:
    """A valid history of an open ticket: pauses, resumptions, changes of priority and plan."""
    when = FIRST + timedelta(minutes=draw(MINUTES))
    binding = draw(any_terms())
    history, waiting = [opened(when, binding, draw(LEVELS))], False
    for _ in range(draw(st.integers(0, 7))):
        when += timedelta(seconds=draw(st.integers(0, 3 * 86_400)))
        match draw(st.sampled_from(["wait", "wait", "priority", "plan"])):
            case "wait":
                history.append(event(when, "resumed") if waiting else paused(when))
                waiting = not waiting
            case "priority":
                history.append(priority(when, draw(LEVELS)))
            case _:
                binding = with_plan(RELEASE, binding, draw(PLANS))
                history.append(event(when, "terms", terms=binding))
    if taken:
        history.append(event(when + timedelta(seconds=draw(st.integers(0, 86_400))), "taken"))
    return history


def moment(history: list[ClockEvent], seconds: int) -> datetime:
    return history[-1].at + timedelta(seconds=seconds)


LATER = st.integers(0, 5 * 86_400)


@settings(max_examples=150, deadline=None)
@given(histories(), LATER)
def test_consumed_and_remaining_make_the_target(history: list[ClockEvent], later: int) -> None:
    """Whatever happened, consumed + remaining = target; due and overdue agree with the sign."""
    found = compute(RELEASE, history, moment(history, later))
    if found.target_s is None or found.remaining_s is None or found.due_at is None:
        assert (found.state, found.due_at) == ("none", None)
        return
    assert found.consumed_s + found.remaining_s == pytest.approx(found.target_s, abs=1e-5)
    if found.remaining_s < 0:
        assert found.due_at <= moment(history, later)


@settings(max_examples=150, deadline=None)
@given(histories(taken=True), st.data())
def test_splitting_a_pause_changes_nothing(history: list[ClockEvent], data: st.DataObject) -> None:
    """A pause that is resumed and paused again at the same instant is one pause."""
    pauses = [n for n, e in enumerate(history[:-1]) if e.kind == "paused"]
    if not pauses:
        return
    index = data.draw(st.sampled_from(pauses))
    start, end = history[index].at, history[index + 1].at
    middle = start + (end - start) * data.draw(st.floats(0, 1))
    split = [*history[: index + 1], event(middle, "resumed"), paused(middle), *history[index + 1 :]]
    now = moment(history, 0)
    assert compute(RELEASE, split, now) == compute(RELEASE, history, now)


@settings(max_examples=200, deadline=None)
@given(any_terms(), LEVELS, MINUTES, st.integers(0, 10 * 1440))
def test_deadlines_are_monotone_in_opening_time(binding: Terms, level: int, start: int, later: int) -> None:
    """A ticket opened later is never due earlier."""
    first = FIRST + timedelta(minutes=start)
    second = first + timedelta(minutes=later)
    a = compute(RELEASE, [opened(first, binding, level)], first).due_at
    b = compute(RELEASE, [opened(second, binding, level)], second).due_at
    assert (a is None and b is None) or (a is not None and b is not None and a <= b)


@settings(max_examples=150, deadline=None)
@given(histories(), LATER)
def test_changes_never_lose_or_invent_consumed_time(history: list[ClockEvent], later: int) -> None:
    """The consumed time is the sum over the history, event by event, each stretch in its own calendar: a
    clock kept running in small steps comes to the same as one computed in one go."""
    binding, level, waiting, total = history[0].terms, history[0].priority, False, 0.0
    assert binding is not None
    assert level is not None
    now = moment(history, later)
    for before, after in zip(history, [*history[1:], event(now, "taken")], strict=True):
        binding, level = before.terms or binding, before.priority or level
        waiting = before.kind == "paused" or (waiting and before.kind != "resumed")
        if not waiting:
            total += calendar_for(RELEASE, binding, level).elapsed(before.at, after.at)
    assert compute(RELEASE, history, now).consumed_s == pytest.approx(total, abs=1e-3)


@settings(max_examples=150, deadline=None)
@given(histories(), st.lists(LATER, min_size=2, max_size=4))
def test_a_clock_looked_at_on_the_way_is_the_same_at_the_end(
    history: list[ClockEvent], looks: list[int]
) -> None:
    """Computing prefixes, in whatever order, changes nothing; a deadline that was seen to pass stays."""
    now = moment(history, max(looks))
    whole = compute(RELEASE, history, now)
    for n in range(len(history), 0, -1):
        compute(RELEASE, history[:n], history[n - 1].at)
    states = [compute(RELEASE, history, moment(history, look)) for look in looks]
    assert compute(RELEASE, history, now) == whole
    for seen in states:
        if seen.due_at is not None and not seen.projected:
            assert seen.due_at == whole.due_at


@settings(max_examples=150, deadline=None)
@given(histories(), LATER)
def test_the_deadline_is_where_the_clock_turns(history: list[ClockEvent], later: int) -> None:
    """Left alone until its due time, a running clock is undecided a microsecond before it, and has consumed
    exactly its target at it."""
    found = compute(RELEASE, history, moment(history, later))
    if found.state != "running" or found.met is False or found.due_at is None:
        return
    there = compute(RELEASE, history, found.due_at)
    assert there.remaining_s == 0
    tick = timedelta(microseconds=1)
    if found.due_at - tick >= history[-1].at:
        assert compute(RELEASE, history, found.due_at - tick).met is None
    assert compute(RELEASE, history, found.due_at + tick).met is False
