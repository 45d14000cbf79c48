"""What a page can become: any order of the same news ends in the same state."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from oncall.page import News, Page, State, from_key, from_status, hear

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def page(**changes: Any) -> Page:
    """A page just claimed."""
    values: dict[str, Any] = {
        "tenant_id": 1,
        "page_id": UUID(int=1),
        "page_request_id": 1,
        "person_id": 1,
        "person_name": "Anna",
        "address": "+390584000001",
        "transport": "voice",
        "step": 0,
        "attempt": 1,
        "round": 1,
        "fence": 1,
        "state": State.CLAIMED,
        "provider": "p1",
        "provider_ref": None,
        "created_at": NOW,
    }
    return Page(**values | changes)


statuses = st.sampled_from(
    ["queued", "initiated", "ringing", "in-progress", "busy", "no-answer", "failed", "canceled", "completed"]
)
machines = st.sampled_from(["", "human", "unknown", "machine_start", "machine_end_beep", "fax"])


@st.composite
def news(draw: st.DrawFn) -> News:
    """Anything that a provider may say, or a person press."""
    if draw(st.booleans()):
        heard = from_status(draw(statuses), draw(machines), "CA1")
    else:
        heard = from_key(draw(st.sampled_from(["4", "5"])), "Anna", "CA1")
    assert heard is not None
    return heard


@given(st.lists(news(), max_size=12), st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(heard: list[News], shuffler: random.Random) -> None:
    """The same news in another order, some of it twice: the same state and the same call."""
    other = heard + shuffler.sample(heard, len(heard) // 2)
    shuffler.shuffle(other)
    assert after(heard) == after(other)


def after(heard: list[News]) -> tuple[State, str | None]:
    now, present = NOW, page()
    for one in heard:
        now += timedelta(seconds=1)
        present = hear(present, one, now).page
    return present.state, present.provider_ref


@given(st.lists(news(), max_size=12))
def test_only_key_4_acknowledges_and_nothing_takes_it_back(heard: list[News]) -> None:
    """Acknowledged if and only if key 4 was among the news."""
    changes = [hear(page(), one, NOW) for one in heard]
    pressed = any(one.state is State.ACKNOWLEDGED for one in heard)
    assert any(change.acknowledges for change in changes) == pressed
    assert (after(heard)[0] is State.ACKNOWLEDGED) == pressed


@given(st.lists(news(), max_size=8))
def test_times_are_of_the_first_time(heard: list[News]) -> None:
    """A repeated callback moves no time."""
    once = page()
    for one in heard:
        once = hear(once, one, NOW).page
    twice = once
    for one in heard:
        twice = hear(twice, one, NOW + timedelta(hours=1)).page
    assert once == twice


def test_voicemail_is_not_an_answer() -> None:
    """A machine that picks up, and the end of that call, are a voicemail; key 4 on it still counts."""
    heard = [
        from_status("in-progress", "machine_start", None),
        from_status("completed", "machine_start", None),
    ]
    assert after([one for one in heard if one])[0] is State.VOICEMAIL
    key = from_key("4", "Anna", None)
    assert key is not None
    assert hear(page(state=State.VOICEMAIL), key, NOW).acknowledges


def test_unknown_words_and_keys_are_no_news() -> None:
    """A status or key that we do not know changes nothing."""
    assert from_status("levitating", "", None) is None
    assert all(from_key(key, "Anna", None) is None for key in ("", "1", "7", "44", "#"))
