"""The kill driver, bounded: the design survives, and each broken twin is seen.

About 40 kills in all; ``./dev kill --cycles N`` runs as many as one likes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.kill


def drive(cycles: int, *words: str) -> dict[str, Any]:
    """The driver's JSON and, under ``code``, its exit code."""
    command = [sys.executable, "-m", "tests.kill", "--cycles", str(cycles), "--seed", "1", "--json", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.stdout, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result | {"code": done.returncode}


@pytest.mark.timeout(300)
def test_nothing_is_lost_or_doubled_whatever_is_killed() -> None:
    """20 kills of hosts, collectors (ingest, desk and pager in each) and PostgreSQL: every sample that was
    acknowledged is stored once, every episode is one ticket and rang, every keypress counts, every step of
    the escalation matrix is taken once, no end overtakes its beginning, and what cannot be handled is parked
    and shown. The five tests below break the design on purpose."""
    found = drive(20)
    assert found["faults"] == []
    assert (found["code"], found["cycles"]) == (0, 20)
    assert (found["lost"], found["doubled"], found["unpaged"], found["misdone"]) == (0, 0, 0, 0)
    assert found["tickets"] == found["episodes"] > 0
    assert found["escalations"] > 0


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("twin", "kills", "symptom"),
    [
        ("acknowledge-before-commit", 4, "lost: frame"),
        ("no-ledger", 6, "doubled: "),
        ("mark-before-call", 3, "said to be placed, the phone company has no such call"),
        ("no-host-lock", 1, "racer/i000: nothing was wrong there"),
        ("progress-apart", 3, "tickets: ticket for h"),
    ],
)
def test_a_broken_twin_is_seen(twin: str, kills: int, symptom: str) -> None:
    """With one thing taken out of the design, the driver fails and says what is wrong."""
    found = drive(kills, "--twin", twin)
    assert found["code"] == 1
    assert any(symptom in fault for fault in found["faults"]), found["faults"]
