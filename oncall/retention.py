"""What on-call forgets: how somebody was reached for tickets closed long ago, and the watch's own books.

A paging goes only when its ticket was closed before the keep and nothing of it is due: whatever is open, or
might be looked at again, keeps its history, so that nobody is rung twice. Acknowledgements stay: they are the
proof of who answered.
"""

from __future__ import annotations

from collections.abc import Iterator

from oncall.settings import Settings
from storage.forgetting import Forgotten
from storage.sql import Queries

Q = Queries.load("oncall")


def forgotten(settings: Settings) -> Iterator[Forgotten]:
    """Tables, with what goes and after how many days."""
    yield Forgotten("page_event", Q.forget_pagings, settings.page_history_days)
    yield Forgotten("auditor_entry", Q.forget_auditor_entries, settings.watch_history_days)
    yield Forgotten("synthetic_run", Q.forget_synthetic_runs, settings.watch_history_days)
    yield Forgotten("test_call", Q.forget_test_calls, settings.watch_history_days)
