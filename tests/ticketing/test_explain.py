# ruff: noqa: E501 - the expected sentences are kept whole
"""Deadlines in words: the arithmetic is told as a person would check it."""

from __future__ import annotations

import string
from datetime import date

import pytest
from hypothesis import given, settings

from ticketing import explain
from ticketing.history import ClockEvent
from ticketing.reason import English, Reason, from_documents, render, to_documents
from ticketing.reason_texts import TEMPLATES
from ticketing.terms import with_plan

from .facts import RELEASE, at, event, opened, paused, priority, terms, texts
from .history_strategies import LATER, histories, moment


def told(history: list[ClockEvent], now: str | None = None) -> list[str]:
    return texts(explain.reasons(RELEASE, history, at(now) if now else history[-1].at))


def way(history: list[ClockEvent], now: str | None = None) -> str:
    """The line with the deadline's arithmetic."""
    return next(line for line in told(history, now) if "due " in line)


ARITHMETIC = [
    # plan, theatre, priority, opened (Rome) -> the arithmetic
    (
        "gold", "europe", 2, "2026-12-24 16:30",
        "2 working hours from Thu 24 Dec 2026 16:30 Rome: 1 h 30 min until closing at 18:00; Fri 25 Dec is a "
        "holiday with Gold hours 09:00-18:00; due Fri 25 Dec 09:30",
    ),
    ("gold", "europe", 1, "2026-09-14 10:00", "1 working hour from Mon 14 Sep 2026 10:00 Rome: due Mon 14 Sep 11:00"),
    (
        "gold", "europe", 4, "2026-09-18 17:00",
        "8 working hours from Fri 18 Sep 2026 17:00 Rome: 1 h until closing at 18:00; Sat 19 Sep has Gold hours "
        "09:00-18:00; due Sat 19 Sep 16:00",
    ),
    (
        "gold", "europe", 2, "2026-09-20 12:00",
        "2 working hours from Sun 20 Sep 2026 12:00 Rome: Sun 20 Sep is closed; due Mon 21 Sep 11:00",
    ),
    (
        "gold", "europe", 2, "2026-09-14 07:00",
        "2 working hours from Mon 14 Sep 2026 07:00 Rome: Mon 14 Sep opens at 09:00; due Mon 14 Sep 11:00",
    ),
    (
        "gold", "europe", 2, "2026-09-14 19:00",
        "2 working hours from Mon 14 Sep 2026 19:00 Rome: Mon 14 Sep is closed by then; due Tue 15 Sep 11:00",
    ),
    (
        "platinum", "europe", 1, "2026-09-20 12:00",
        "1 h around the clock from Sun 20 Sep 2026 12:00 Rome: due Sun 20 Sep 13:00",
    ),
    (
        "basic", "europe", 1, "2026-09-19 12:00",
        "the next working day after Sat 19 Sep 2026 12:00 Rome: Sun 20 Sep is closed; Mon 21 Sep is a working day; "
        "due Mon 21 Sep 18:00",
    ),
    (
        "basic", "europe", 2, "2026-12-24 10:00",
        "2 working days after Thu 24 Dec 2026 10:00 Rome: Fri 25 Dec is a holiday, closed; Sat 26 Dec is a holiday, "
        "closed; Sun 27 Dec is closed; Mon 28 Dec is a working day; Tue 29 Dec is a working day; due Tue 29 Dec 18:00",
    ),
    (
        "gold", "me-sun-thu", 4, "2026-09-17 15:00",
        "8 working hours from Thu 17 Sep 2026 17:00 Dubai: 1 h until closing at 18:00; Fri 18 Sep is closed; "
        "Sat 19 Sep has Gold hours 12:00-18:00; due Sun 20 Sep 10:00",
    ),
    (
        "gold", "americas", 2, "2026-11-25 22:30",
        "2 working hours from Wed 25 Nov 2026 16:30 New York: 30 min until closing at 17:00; Thu 26 Nov is a holiday "
        "with Gold hours 08:00-12:00; due Thu 26 Nov 09:30",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("plan", "theatre", "level", "when", "expected"), ARITHMETIC)
def test_the_arithmetic_of_a_deadline(plan: str, theatre: str, level: int, when: str, expected: str) -> None:
    assert way([opened(at(when), terms(plan, theatre), level)]) == expected


def test_what_was_counted_before_is_told() -> None:
    """Each stretch, what it counted or why it did not, and the rest from where it resumed."""
    history = [opened(at("2026-09-18 17:00"), terms("gold"), 2), paused(at("2026-09-18 17:30"))]
    history.append(event(at("2026-09-21 09:15"), "resumed"))
    lines = told(history)
    assert "30 min counted from Fri 18 Sep 2026 17:00 Rome to Fri 18 Sep 17:30" in lines
    assert (
        "waiting for the customer from Fri 18 Sep 2026 17:30 Rome to Mon 21 Sep 09:15: not counted" in lines
    )
    assert "1 h 30 min of working time from Mon 21 Sep 2026 09:15 Rome: due Mon 21 Sep 10:45" in lines


def test_a_projection_says_so() -> None:
    history = [opened(at("2026-09-14 10:00"), terms("gold"), 2), paused(at("2026-09-14 10:30"))]
    assert way(history, "2026-09-14 12:00").endswith("due Mon 14 Sep 13:30 if it resumes now")
    assert "the clock waits for the customer since Mon 14 Sep 2026 10:30 Rome" in told(history)


def test_a_deadline_at_a_change_says_so() -> None:
    history = [opened(at("2026-09-14 10:00"), terms("gold"), 2), priority(at("2026-09-14 11:30"), 1)]
    assert way(history) == (
        "1 h 30 min were consumed when the target became 1 h: due at the change, Mon 14 Sep 11:30"
    )
    assert "P1 from Mon 14 Sep 2026 11:30 Rome; 1 h 30 min consumed so far stay consumed" in told(history)


def test_a_moved_day_target_tells_the_waiting() -> None:
    history = [opened(at("2026-09-14 10:00"), terms("basic"), 1), paused(at("2026-09-14 17:00"))]
    history.append(event(at("2026-09-15 11:00"), "resumed"))
    assert way(history).endswith("3 h of base hours were spent waiting; due Wed 16 Sep 12:00")


def test_a_long_way_is_summed_up() -> None:
    """A year with a closing day on all but a few days: not one line per day."""
    binding = terms("basic")
    history = [
        opened(at("2026-09-14 10:00"), binding, 3),
        priority(at("2026-09-14 10:00"), 2),
        event(at("2026-09-14 10:00"), "terms", terms=with_plan(RELEASE, binding, "gold")),
    ]
    assert len(way(history)) < 300


@pytest.mark.parametrize(
    ("plan", "taken", "expected"),
    [
        (
            "gold",
            "2026-09-14 10:59",
            "taken in charge on Mon 14 Sep 2026 10:59 Rome, before the deadline: met",
        ),
        (
            "gold",
            "2026-09-14 11:00",
            "taken in charge on Mon 14 Sep 2026 11:00 Rome, not before the deadline: breached",
        ),
        (
            "basic",
            "2026-09-15 18:00",
            "taken in charge on Tue 15 Sep 2026 18:00 Rome, not after the deadline: met",
        ),
        (
            "basic",
            "2026-09-16 18:00",
            "taken in charge on Wed 16 Sep 2026 18:00 Rome, after the best-effort target: recorded, no breach",
        ),
    ],
)
def test_the_outcome_is_told(plan: str, taken: str, expected: str) -> None:
    history = [opened(at("2026-09-14 10:00"), terms(plan), 1), event(at(taken), "taken")]
    assert expected in told(history)


def test_no_deadline_is_told_with_its_reason() -> None:
    assert "P3 on Basic is best effort: there is no deadline" in told(
        [opened(at("2026-09-14 10:00"), terms("basic"), 3)]
    )
    assert "there is no SLA by email: no deadline" in told(
        [opened(at("2026-09-14 10:00"), terms("gold", channel="email"), 1)]
    )


def test_asia_pacific_is_told() -> None:
    lines = told([opened(at("2026-09-14 10:00"), terms("platinum", asia_pacific=True), 1)])
    assert any(line.startswith("Asia-Pacific: on-call is not available, so P1") for line in lines)


def test_an_earlier_missed_target_is_told() -> None:
    history = [opened(at("2026-09-14 10:00"), terms("gold"), 1), priority(at("2026-09-14 12:00"), 4)]
    expected = "the target of P1 on Gold was missed on Mon 14 Sep 2026 11:00 Rome, before it changed"
    assert expected in told(history)


@settings(max_examples=200, deadline=None)
@given(histories(), LATER)
def test_every_history_can_be_told(history: list[ClockEvent], later: int) -> None:
    """Whatever happened: texts render, stay short, survive storage, and tell one deadline at most."""
    reasons = explain.reasons(RELEASE, history, moment(history, later))
    assert texts(from_documents(to_documents(reasons))) == texts(reasons)
    assert all(len(text) < 1200 for text in texts(reasons))
    deadlines = [r for r in reasons if r.code.startswith("deadline")]
    assert len(deadlines) <= 1


def test_templates_ask_only_for_words_that_can_be_rendered() -> None:
    """Every placeholder is a plain name: translators may reorder, never compute."""
    for code, template in TEMPLATES.items():
        for _, name, spec, conversion in string.Formatter().parse(template):
            assert name is None or name.isidentifier(), code
            assert not spec, code
            assert conversion is None, code


def test_a_reason_is_translated_from_its_template_with_its_own_times() -> None:
    """The stored reason renders in another language without English words left over."""
    reason = Reason("lapsed", {"expired_on": "2026-06-30", "days": 3})
    german = {TEMPLATES["lapsed"]: "Anspruch erloschen: {days} Tage nach {expired_on}"}

    class Numbers(English):
        """Writes times as a German office does."""

        def date(self, on: date) -> str:
            return f"{on:%d.%m.%Y}"

    assert render(reason, german.__getitem__, Numbers()) == "Anspruch erloschen: 3 Tage nach 30.06.2026"


def test_a_stored_text_of_another_version_keeps_its_words() -> None:
    stored = [{"code": "from-the-future", "text": "as it was said", "section": "§1", "params": {}}]
    assert texts(from_documents(stored)) == ["as it was said"]
