"""Doubts about rules that are right in the language."""

from __future__ import annotations

from alerting.hints import hints
from alerting.pack import default_document, parse_pack

PACK = """
version: 1
name: doubtful
rules:
  - id: r
    name: R
    component: c
    rationale: r
    runbook: r
    summary: s
    metric: {metric}
    levels: [{{priority: P2, when: value > 1}}]
"""


def test_the_shipped_pack_leaves_no_doubt() -> None:
    """Every metric is sent or announced, and every series of it is told apart."""
    assert list(hints(parse_pack(default_document()).rules)) == []


def test_a_metric_that_nobody_sends_is_doubted() -> None:
    """A slip of the pen would never fire, and nobody would know."""
    (line,) = hints(parse_pack(PACK.format(metric="system.cpu.utilisation")).rules)
    assert line == "r: our agent does not send 'system.cpu.utilisation': it never fires unless others do"


def test_series_that_are_not_told_apart_are_doubted() -> None:
    """Of several volumes only the first would be judged."""
    (line,) = hints(parse_pack(PACK.format(metric="system.filesystem.free")).rules)
    assert line.endswith("only the first is judged")
    assert "system.filesystem.mountpoint" in line
