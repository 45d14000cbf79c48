"""The SLA clock when priority, plan or calendar change, when a ticket is resolved and reopened, and over
histories that cannot be."""

from __future__ import annotations

from datetime import datetime

import msgspec
import pytest

from ticketing.clock import compute
from ticketing.errors import HistoryError
from ticketing.terms import Sla, with_plan

from .facts import RELEASE, at, event, opened, paused, priority, state, terms, wall


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
