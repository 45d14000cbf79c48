"""What the demo tells: from facts alone, each thing once, in the order in which it happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from ucx_proactive.demo.mailbox import Mail
from ucx_proactive.demo.story import Facts, Line, calm, sentences, timeline

START = datetime(2026, 12, 24, 15, 30, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


MAIL = Mail(after(9), "it@platinum.example", "[UCX-1] Ticket aperto", "it", "<1@x>", "...", Path("m/001.eml"))
WHOLE = Facts(
    first_sample_at=START,
    reading="system.cpu.utilization 97%",
    alert_id=1,
    alert_state="firing",
    alert_since=after(1),
    alert_summary="CPU is saturated",
    alert_reason="97 % > 85 % for 8 s",
    ticket_number="UCX-1",
    ticket_priority=1,
    ticket_opened_at=after(8),
    ticket_due_at=after(3600),
    ticket_taken_by="Mario",
    acknowledged_at=after(15),
    decision=("SLA: garantito", "Platinum garantisce il tempo di presa in carico"),
    paging=(Line(1, after(10), "ringing", "the phone is ringing"), Line(2, after(12), "ringing", "again")),
    mails=(MAIL,),
)


def test_the_whole_chain_is_told_with_its_reasons_and_mails() -> None:
    """Reading, alert, ticket with every reason, call, mail with where it is kept, taking in charge."""
    texts = [told.text for told in sentences(WHOLE)]
    assert texts[0] == "first reading stored (system.cpu.utilization 97%)"
    assert "    - SLA: garantito" in texts
    assert "a mail reached it@platinum.example (it): [UCX-1] Ticket aperto" in texts
    assert "    kept as m/001.eml, .txt, .html" in texts
    assert texts[-1].startswith("taken in charge by Mario")


def test_a_pick_up_that_two_sources_tell_is_told_once() -> None:
    """The call's question for its words and its status both say so; seen failing without the comparison. The
    next call's is told again."""
    heard = (("answered", "picked up"), ("heard", "picked up"), ("heard", "ended"), ("answered", "picked up"))
    lines = tuple(Line(no, after(10 + no), *line) for no, line in enumerate(heard))
    texts = [told.text for told in sentences(msgspec.structs.replace(WHOLE, paging=lines))]
    assert [text for text in texts if text in ("picked up", "ended")] == ["picked up", "ended", "picked up"]


def test_nothing_is_told_before_it_is_known() -> None:
    """No facts, no sentences; a refusal tells its reasons and no ticket."""
    assert list(sentences(Facts())) == []
    refused = Facts(refused=True, decision=("Basic does not include proactive monitoring",))
    assert [told.text for told in sentences(refused)] == [
        "no ticket, and this is why:",
        "    - Basic does not include proactive monitoring",
    ]


def test_sentences_can_be_told_once() -> None:
    """Every sentence has a key of its own, so that a second look adds only what is new."""
    keys = [told.key for told in sentences(WHOLE)]
    assert len(keys) == len(set(keys))
    later = msgspec.structs.replace(WHOLE, alert_state="resolved")
    assert set(keys) < {told.key for told in sentences(later)}


def test_the_timeline_counts_from_the_crossing_to_the_first_ringing() -> None:
    """Nine seconds; without a call there is no such time."""
    times = timeline(WHOLE, "platinum", "cpu")
    assert times.crossing_to_ringing_s == 9.0
    assert (times.priority, times.mails) == (1, ("[UCX-1] Ticket aperto",))
    assert timeline(Facts(), "basic", "cpu").crossing_to_ringing_s is None


def test_calm_means_measured_and_nothing_wrong() -> None:
    """A machine that was not measured yet is not known to be calm."""
    assert [calm(f) for f in (Facts(), Facts(first_sample_at=START), WHOLE)] == [False, True, False]
