"""What ticketing forgets: letters that were sent, decisions on alerts that alerting has forgotten and how far
the desk came with them, and, where a limit is set, the trail of changes to the registry. Tickets and their
histories stay, with the ids of their alerts."""

from __future__ import annotations

from collections.abc import Iterator

from storage.forgetting import Forgotten
from storage.sql import Queries
from ticketing.settings import Settings

Q = Queries.load("ticketing")


def forgotten(settings: Settings) -> Iterator[Forgotten]:
    """Tables, with what goes and after how many days."""
    yield Forgotten("outbox", Q.forget_letters, settings.outbox_days)
    yield Forgotten("no_ticket", Q.forget_decisions, settings.decision_days)
    yield Forgotten("desk_progress", Q.forget_progress, settings.decision_days)
    yield Forgotten("registry_change", Q.forget_registry_changes, settings.audit_trail_days)
