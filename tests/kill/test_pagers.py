"""The pagers' story, short: it belongs to every run of the tests."""

from __future__ import annotations

import pytest

from tests.kill import pagers


@pytest.mark.kill
@pytest.mark.timeout(240)
def test_two_pagers_and_an_auditor_are_killed_frozen_and_buried_and_no_alert_is_lost() -> None:
    """Eight kills at random moments, 30 % of the requests to the phone company going wrong, each pager frozen
    once, both dead once: every critical alert is answered by a real key, and the auditor rings when
    nobody else can, boundedly.

    Broken twins, each seen to fail by ``python -m tests.kill --story pagers --twin ...``: mark-before-call,
    session-lock, trust-2xx."""
    result = pagers.run(8, 11, None, print)
    assert result.faults == []
    assert result.answered == result.alerts
