"""The lifecycle: whatever people do in whatever order, the state machine holds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ticketing.errors import NotAllowed, Unexplained
from ticketing.lifecycle import DESK, Entry, Kind, State, allowed, apply, check, fold, is_open

START = datetime(2026, 3, 2, 10, tzinfo=UTC)
DETAILS: dict[Kind, dict[str, Any]] = {
    Kind.PAUSED: {"waiting_for": "customer"},
    Kind.PRIORITY: {"to": 2},
    Kind.PLAN: {"plan": "platinum"},
    Kind.LINKED: {"parent": "UCX-2026-000001"},
}
ACTS = st.lists(st.tuples(st.sampled_from(list(Kind)[1:]), st.booleans()), max_size=25)


def entry(kind: Kind, minute: int, *, desk: bool = False, reason: str = "because") -> Entry:
    at, actor = START + timedelta(minutes=minute), DESK if desk else "mario"
    return Entry(at, kind, actor, DETAILS.get(kind, {}), reason)


def opened(*, held: bool = False) -> Entry:
    return Entry(START, Kind.OPENED, DESK, {"priority": 3, "held": held}, "it fires")


def lived(acts: list[tuple[Kind, bool]], *, held: bool) -> list[Entry]:
    """The history that comes of trying these acts in order: what is refused is not recorded."""
    history = [opened(held=held)]
    for minute, (kind, by_desk) in enumerate(acts, start=1):
        tried = entry(kind, minute, desk=by_desk)
        try:
            check(fold(history), tried)
        except (NotAllowed, Unexplained):
            continue
        history.append(tried)
    return history


@given(ACTS, st.booleans())
def test_folding_in_one_go_equals_step_by_step(acts: list[tuple[Kind, bool]], held: bool) -> None:
    """The status of a history is that of its beginning plus each further entry."""
    history = lived(acts, held=held)
    status = fold(history[:1])
    for step in history[1:]:
        status = apply(status, step)
    assert status == fold(history)


@given(ACTS, st.booleans())
def test_a_closed_ticket_stays_closed(acts: list[tuple[Kind, bool]], held: bool) -> None:
    """Nothing leads out of closed; a closed ticket has a closing time and an open one has none."""
    status = fold(lived(acts, held=held))
    assert (status.state is State.CLOSED) == (status.closed_at is not None)
    assert allowed(State.CLOSED) == ()


@given(ACTS)
def test_a_held_ticket_only_moves_by_release_or_end(acts: list[tuple[Kind, bool]]) -> None:
    """Until it is released nobody takes it, works on it or lets it wait, and no clock starts."""
    history = lived(acts, held=True)
    released = any(e.kind is Kind.RELEASED for e in history)
    status = fold(history)
    if not released:
        assert status.running_since is None
        assert status.state in (State.HELD, State.RESOLVED, State.CLOSED)


@given(ACTS, st.booleans())
def test_taken_once_means_taken_for_good(acts: list[tuple[Kind, bool]], held: bool) -> None:
    """There is at most one taking in charge, and its time stands."""
    history = lived(acts, held=held)
    takings = [e for e in history if e.kind is Kind.TAKEN]
    assert len(takings) <= 1
    assert fold(history).taken_at == (takings[0].at if takings else None)


@given(ACTS, st.booleans(), st.integers(0, 30))
def test_a_late_keypress_finds_its_place(acts: list[tuple[Kind, bool]], held: bool, minute: int) -> None:
    """A taking in charge inserted at its own time never breaks the history nor reopens the ticket."""
    history = [e for e in lived(acts, held=held) if e.kind not in (Kind.TAKEN, Kind.STARTED)]
    press = entry(Kind.TAKEN, minute)
    before = fold(e for e in history if e.at <= press.at)
    try:
        check(before, press)
    except NotAllowed:
        return
    status = fold([*history, press])
    assert status.taken_at == press.at
    assert is_open(status.state) == is_open(fold(history).state)


def test_waiting_returns_to_where_it_came_from() -> None:
    """Waiting in the middle of work returns to work; waiting before anybody took it returns to new."""
    work = [
        opened(),
        entry(Kind.TAKEN, 1),
        entry(Kind.STARTED, 2),
        entry(Kind.PAUSED, 3),
        entry(Kind.RESUMED, 4),
    ]
    assert fold(work).state is State.IN_PROGRESS
    assert fold([opened(), entry(Kind.PAUSED, 1), entry(Kind.RESUMED, 2)]).state is State.NEW


def test_only_a_person_lowers_a_priority() -> None:
    """The desk raises; lowering is a person's act with a reason."""
    lower = Entry(START + timedelta(minutes=1), Kind.PRIORITY, DESK, {"to": 4}, "it improved")
    with pytest.raises(Unexplained):
        check(fold([opened()]), lower)


@pytest.mark.parametrize("kind", [Kind.PRIORITY, Kind.PLAN, Kind.PAUSED])
def test_acts_that_need_a_reason_are_refused_without(kind: Kind) -> None:
    """No reason, no act."""
    with pytest.raises(Unexplained):
        check(fold([opened()]), entry(kind, 1, reason="  "))


def test_worsening_by_itself_wants_a_new_answer() -> None:
    """A ticket somebody answers for is unattended again when its alert worsens or it comes back by itself."""
    taken = [opened(), entry(Kind.TAKEN, 1)]
    assert fold(taken).attended
    assert not fold([*taken, entry(Kind.PRIORITY, 2, desk=True)]).attended
    assert fold([*taken, entry(Kind.PRIORITY, 2)]).attended
    back = [*taken, entry(Kind.RESOLVED, 2), entry(Kind.REOPENED, 3, desk=True)]
    assert (fold(back).state, fold(back).attended) == (State.TAKEN, False)
