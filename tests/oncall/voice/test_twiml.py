"""What the callee hears."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from oncall.simulator.instructions import Gather, Hangup, Redirect, Say, parse
from oncall.voice import twiml
from ticketing.published import Briefing

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def briefing(**changes: Any) -> Briefing:
    """A ticket of a Platinum customer."""
    values: dict[str, Any] = {
        "number": "UCX-2026-000123",
        "customer": "Acme & Sons",
        "deployment": "HQ",
        "host": "srv1",
        "title": "CPU saturated.",
        "priority": 1,
        "state": "new",
        "opened_at": NOW,
        "since": NOW - timedelta(minutes=12),
        "due_at": None,
        "theatre": "europe",
        "language": "en",
    }
    return Briefing(**values | changes)


def test_the_message_says_customer_problem_priority_since_when_and_number() -> None:
    """One sentence each, the number character by character."""
    assert twiml.message("Anna", [briefing()], NOW) == (
        "Hello Anna. This is U C X on-call. Priority 1 for Acme & Sons: CPU saturated on srv1, "
        "since 11:48 UTC, 12 minutes ago. Ticket U C X, 2 0 2 6, 0 0 0 1 2 3."
    )


def test_a_summary_reads_out_each_ticket() -> None:
    """Several tickets in one call are counted and read one after the other."""
    head, first, second = twiml.summary("Anna", [briefing(), briefing(title="Disk full", host=None)], NOW)
    assert head == "Hello Anna. This is U C X on-call with 2 tickets."
    assert first.startswith("Ticket 1. Priority 1 for Acme & Sons: CPU saturated on srv1, since")
    assert second.startswith("Ticket 2. Priority 1 for Acme & Sons: Disk full, since")


def test_a_summary_listens_only_after_everything_was_read() -> None:
    """The texts stand before the Gather, where no key cuts them short: key 4 takes what was heard."""
    steps = parse(
        twiml.menu_after(["Hello.", "One.", "Two."], "http://x/k", None, 2, "").encode(), "http://x/"
    )
    assert [type(step) for step in steps] == [Say, Say, Say, Gather, Say, Hangup]
    assert isinstance(steps[3], Gather)
    assert steps[3].prompts == (Say("Press 4 to take all 2 in charge, 5 for the next person, 1 to repeat."),)


@given(st.integers(-100, 10_000))
def test_ages_are_spoken(minutes: int) -> None:
    """Never negative, with singular and plural."""
    text = twiml.spoken_since(NOW - timedelta(minutes=minutes), NOW)
    assert "-" not in text
    assert not text.startswith("since 1 minutes")


def test_the_menu_listens_for_one_key_and_then_goes_on() -> None:
    """Gather of one digit; nothing pressed: the menu again, or good-bye."""
    steps = parse(twiml.menu("Hello.", "http://x/gather?a=1&b=2", "http://x/twiml").encode(), "http://x/")
    gather, redirect = steps
    assert isinstance(gather, Gather)
    assert (gather.action, gather.digits) == ("http://x/gather?a=1&b=2", 1)
    assert redirect == Redirect("http://x/twiml", "POST")
    last = parse(twiml.menu("Hello.", "http://x/gather", None).encode(), "http://x/")
    assert isinstance(last[-1], Hangup)


@given(st.text(min_size=1, max_size=60))
def test_any_customer_name_makes_a_document(name: str) -> None:
    """Markup, control characters, surrogates: the document stays well-formed and says the name."""
    document = twiml.menu(twiml.message("Anna", [briefing(customer=name)], NOW), "http://x/", None)
    gather = parse(document.encode(), "http://x/")[0]
    assert isinstance(gather, Gather)
    said = gather.prompts[0]
    assert isinstance(said, Say)
    assert said.text.startswith("Hello Anna.")
