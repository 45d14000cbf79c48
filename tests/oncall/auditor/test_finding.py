"""What counts as neglect."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from oncall.auditor.finding import (
    CriticalAlert,
    Finding,
    GapLook,
    Snapshot,
    Switch,
    blind,
    findings,
    neglected,
)
from oncall.auditor.settings import Settings
from tests.oncall.world import NOON

S = Settings()
FINE = GapLook(NOON, 0, None, None)


def minutes(n: float) -> datetime:
    return NOON + timedelta(minutes=n)


def alert(**changes: object) -> CriticalAlert:
    """A critical alert that fired at noon and whose ticket asked for a call at once."""
    values: dict[str, object] = {
        "tenant_id": 1,
        "alert_id": 7,
        "customer": "Acme",
        "summary": "disk exhausted",
        "fired_at": NOON,
        "no_ticket": None,
        "ticket": "UCX-2026-000001",
        "settled": False,
        "wanted": True,
        "asked_at": NOON,
        "rang_at": None,
        "answered_at": None,
    }
    return CriticalAlert(**values | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("what", "at", "says"),
    [
        ({}, 4.9, None),
        ({}, 5, "No phone has rung"),
        ({"rang_at": minutes(1)}, 19.9, None),
        ({"rang_at": minutes(1)}, 20, "Nobody has answered"),
        ({"rang_at": minutes(1), "answered_at": minutes(2)}, 21.9, None),
        ({"rang_at": minutes(1), "answered_at": minutes(2)}, 22, "does not know of it"),
        ({"rang_at": minutes(1), "answered_at": minutes(2), "asked_at": None, "settled": True}, 600, None),
        ({"ticket": None, "wanted": False, "asked_at": None}, 4.9, None),
        ({"ticket": None, "wanted": False, "asked_at": None}, 5, "the desk has decided nothing"),
        ({"ticket": None, "asked_at": None, "no_ticket": "lapsed"}, 600, None),
        ({"asked_at": None}, 5, "Nobody was asked to ring"),
        ({"asked_at": None, "settled": True}, 600, None),
        ({"asked_at": None, "wanted": False}, 600, None),
    ],
)
def test_an_alert_is_in_good_hands_or_it_is_said_why_not(
    what: dict[str, object], at: float, says: str | None
) -> None:
    """Each way in which a critical alert can be forgotten is found when its time is up, and not before."""
    reason = neglected(alert(**what), S, minutes(at))
    assert (reason is None) if says is None else (reason is not None and says in reason)


def test_an_answer_that_nobody_acted_on_does_not_count_for_the_next_request() -> None:
    """The desk asks again at 12:40: the answer of 12:02 and the ringing of 12:01 are over."""
    again = alert(rang_at=minutes(1), answered_at=minutes(2), asked_at=minutes(40))
    assert neglected(again, S, minutes(44)) is None
    assert "No phone has rung" in (neglected(again, S, minutes(45)) or "")


def test_the_watchers_themselves_are_watched() -> None:
    """No look for gaps, an old one, a fault, a gap soon, a gap later, paging off, no invented page, phones
    that nobody confirmed: each has its key, and what can wait is not urgent."""
    day = timedelta(days=1)

    def keys(seen: Snapshot) -> dict[str, bool]:
        return {f.key: f.urgent for f in findings(seen, S, NOON)}

    assert keys(Snapshot()) == {"rota:never": False}
    assert keys(Snapshot(gap_look=FINE)) == {}
    assert keys(Snapshot(gap_look=GapLook(NOON - 2 * day, 0, None, None))) == {"rota:old": False}
    assert keys(Snapshot(gap_look=GapLook(NOON, 0, None, "no rota"))) == {"rota:fault": True}
    assert keys(Snapshot(gap_look=GapLook(NOON, 2, NOON + timedelta(hours=3), None))) == {
        "rota:gap-now": True
    }
    assert keys(Snapshot(gap_look=GapLook(NOON, 2, NOON + 9 * day, None))) == {"rota:gaps": False}
    assert keys(Snapshot(gap_look=FINE, off=Switch(NOON - day, "sofia", "restored"))) == {"switch": True}
    assert keys(Snapshot(gap_look=FINE, synthetic_since=NOON - 3 * day)) == {"synthetic": True}
    assert keys(Snapshot(gap_look=FINE, synthetic_since=NOON - 9 * day, synthetic_at=NOON - day)) == {}
    assert keys(Snapshot(gap_look=FINE, untested=("Anna",))) == {"untested": False}


def test_a_short_absence_of_the_database_is_no_alarm() -> None:
    """A restart of the database takes seconds; two minutes without it are an alarm."""
    assert blind(NOON, "", S, NOON + timedelta(seconds=119)) == ()
    assert [f.key for f in blind(NOON, "", S, NOON + timedelta(seconds=120))] == ["database"]
    assert isinstance(blind(NOON, "", S, minutes(9))[0], Finding)
