"""The SLA clock left alone, and while it waits: every cell of the take-charge table, every rule of the fact
sheet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ticketing.clock import compute
from ticketing.terms import Sla

from .facts import RELEASE, at, event, opened, paused, priority, state, terms, wall


def due(plan: str, level: int, when: str, **kwargs: Any) -> str | None:
    """The deadline of a ticket opened then, in Rome's time."""
    start = at(when)
    return wall(compute(RELEASE, [opened(start, terms(plan, **kwargs), level)], start).due_at)


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
