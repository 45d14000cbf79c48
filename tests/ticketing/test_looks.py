"""What time brings about, at the very instant: a plan that is met at its deadline is not missed then."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ticketing import looks
from ticketing.lifecycle import Entry, Kind
from ticketing.settings import Settings
from ticketing.terms import to_document

from .facts import at, terms

LEAST = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("plan", "kind", "late"), [("basic", Kind.MISSED, LEAST), ("gold", Kind.BREACHED, 0 * LEAST)]
)
def test_a_target_is_missed_at_the_first_instant_that_is_too_late(
    plan: str, kind: Kind, late: timedelta
) -> None:
    """Gold ("<") is breached at the deadline; Basic ("by") is met at it and missed right after."""
    snapshot = {"terms": to_document(terms(plan=plan))}
    history = [Entry(at("2026-03-02 10:00"), Kind.OPENED, "desk", {"priority": 1}, seq=1)]
    due_at = looks.derive(snapshot, history, history[0].at, Settings()).due_at
    assert due_at is not None

    def missed(after: timedelta) -> bool:
        found = looks.due(snapshot, history, due_at + after, Settings())
        return any(entry.kind is kind for entry in found)

    assert (missed(late - LEAST), missed(late)) == (False, True)
