"""Inhibition: what is hidden behind something worse, and what must never be."""

from __future__ import annotations

from alerting.evaluator import Evaluator
from alerting.pack import default_document, parse_pack
from tests.alerting.kit import START, Host, frame, layout_of, minutes

EVALUATOR = Evaluator(1, parse_pack(default_document()).rules)
LAYOUT = layout_of(
    ("ucx.service.running", {"ucx.service.name": "MSSQL$OLD", "ucx.service.class": "database"}),
    ("ucx.database.online", {"db.namespace": "MAIN"}),
)


def muted(down_since: int, offline_since: int) -> list[bool]:
    """Whether the P1 "Database not online" is hidden each time it fires; minutes of service and database."""
    host = Host(EVALUATOR)
    for minute in range(offline_since + 30):
        running, online = float(minute < down_since), float(minute < offline_since)
        host.feed(frame(LAYOUT, START + minutes(minute), running, online))
    changes = [alert for outcome in host.outcomes for alert in outcome.alerts]
    return [
        bool(alert.hidden)
        for alert in changes
        if alert.rule_id == "database.state" and alert.change.to_state == "firing"
    ]


def test_a_database_goes_down_with_its_service() -> None:
    """The service stops and its database is offline at the same time: one problem, one ticket."""
    assert muted(down_since=60, offline_since=60)[-1]


def test_what_has_been_down_for_days_hides_no_new_outage() -> None:
    """A retired instance has been down for hours when the main database goes offline: that P1 is told."""
    assert not any(muted(down_since=0, offline_since=180))
