"""The SLA clock's invariants, over whatever history of a ticket."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ticketing.calendar import calendar_for
from ticketing.clock import compute
from ticketing.history import ClockEvent
from ticketing.terms import Terms

from .facts import RELEASE, event, opened, paused
from .history_strategies import FIRST, LATER, LEVELS, MINUTES, any_terms, histories, moment


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
