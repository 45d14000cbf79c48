"""SIGKILL at any point of spool and delivery: nothing that was put is lost, nothing is stored twice."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent.identity import make_key
from tests.agent.collector import AGENT, Collector
from wire.batch import EventBatch, FrameBatch

ROOT = Path(__file__).parents[2]
LIVES = int(os.environ.get("UCX_TEST_LIVES", "80"))
"""By hand: UCX_TEST_LIVES=2000 python -m pytest tests/agent/test_mortal.py"""


@pytest.mark.kill
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and fork")
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_any_point_nothing_is_lost_and_nothing_doubled(tmp_path: Path, seed: int) -> None:
    """Eighty lives, each killed before or after a random statement or request.

    Broken twin: a spool that forgets a batch before its receipt is judged loses what was killed then."""
    state, journal = tmp_path / "state", tmp_path / "journal"
    state.mkdir()
    with Collector() as collector:
        collector.ledger.keys_by_agent[AGENT] = make_key(state).public_key()
        done = subprocess.run(
            [
                *(sys.executable, "-W", "error", "-m", "tests.agent.mortal", "--state", str(state)),
                *("--collector", collector.url, "--journal", str(journal)),
                *("--lives", str(LIVES), "--seed", str(seed)),
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=110 if LIVES <= 80 else None,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        batches = collector.ledger.batches
        assert not collector.ledger.faults
    said = journal.read_text().split("\n")[:-1]
    stored = [f"frame {f.values[0]:g}" for b in batches if isinstance(b, FrameBatch) for f in b.frames]
    stored += [f"event {e.event_id}" for b in batches if isinstance(b, EventBatch) for e in b.events]
    assert len(set(stored)) == len(stored), "something was stored twice"
    assert set(said) <= set(stored), "something was lost"
    assert len(stored) - len(said) <= LIVES, "killed between the spool and the journal: at most one per life"
    assert not list(state.glob("*.corrupt-*"))
    found = re.search(r"(\d+) killed, (\d+) MB", done.stdout)
    assert found is not None
    assert int(found[1]) > LIVES / 2
    assert int(found[2]) < 100, "memory is bounded"
