"""The collectors' story, short: it belongs to every run of the tests. Hundreds of kills by command:
``python -m tests.kill --story collectors --cycles 300``."""

from __future__ import annotations

import pytest

from tests.kill import collectors

pytestmark = [pytest.mark.kill, pytest.mark.timeout(240)]


def test_hosts_move_between_three_collectors_that_are_killed_and_nothing_disagrees() -> None:
    """Five disasters (a collector, two of them, every transaction, PostgreSQL), every request through another
    collector, some through two: what was acknowledged is stored once and readable, every alert's history is
    the one of a single evaluator, and PostgreSQL had no deadlock to break.

    Broken twins, each seen to fail by ``python -m tests.kill --story collectors --twin ...``:
    acknowledge-before-commit, layouts-before-commit, locks-in-any-order, no-host-lock, no-ledger, and the one
    below."""
    result = collectors.run(5, 3, None, print)
    assert result.faults == []
    assert min(result.acknowledged, result.transitions, result.layouts, result.twice) > 0


def test_a_collector_that_believes_its_own_memory_is_seen() -> None:
    """The twin state-without-version: nobody is killed, and histories disagree."""
    result = collectors.run(0, 3, "state-without-version", print)
    assert any(fault.startswith("disagree: ") for fault in result.faults), result.faults
