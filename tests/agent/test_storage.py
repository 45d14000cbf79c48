"""Storage that recordings are moved to: proven by writing, never hanging the agent."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from agent.checks.storage import PROBE_FILE, StorageCheck, StorageRule
from tests.agent.kit import by_name

ELSEWHERE = Path("/dev/shm")
"""A file system of its own, where there is one."""
_FULL = """
import resource, signal, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
exec(sys.argv.pop(1))
"""


def test_storage_is_proven_by_writing(tmp_path: Path) -> None:
    """Nothing of ours stays there; what does not exist is not reachable."""
    check = StorageCheck([StorageRule("archive", tmp_path), StorageRule("gone", tmp_path / "gone")])
    values = by_name(check.read(0.0))
    assert values["ucx.recording.storage.reachable archive"] == 1
    assert values["ucx.recording.storage.latency archive"] is not None
    assert values["ucx.recording.storage.reachable gone"] == 0
    assert list(tmp_path.glob(f"{PROBE_FILE}*")) == []


def test_storage_that_hangs_hangs_a_child_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a dead NFS mount does: told as not reachable, and not asked again while it hangs.

    The stand-in is a program that ignores every signal it can and sleeps."""
    monkeypatch.setattr("agent.checks.storage._DEADLINE_S", 0.3)
    stuck = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(30)"
    check = StorageCheck([StorageRule("dead", tmp_path)], [sys.executable, "-I", "-S", "-c", stuck])
    kept: list[subprocess.Popen[bytes]] = []
    monkeypatch.setattr(subprocess.Popen, "kill", lambda child: kept.append(child))  # the kernel holds it
    for _ in range(3):
        assert by_name(check.read(0.0))["ucx.recording.storage.reachable dead"] == 0
    [child] = kept
    os.kill(child.pid, 9)
    child.wait()


def _on_root(path: Path) -> bool:
    return path.is_dir() and path.stat().st_dev == Path("/").stat().st_dev


def test_a_mount_that_is_lost_is_not_mistaken_for_its_folder(tmp_path: Path) -> None:
    """The empty folder on the root's own file system can be written; ``mounted`` says that this is not it."""
    homes = [path for path in (tmp_path, Path("/var/tmp"), Path(__file__).parent) if _on_root(path)]
    if not homes or not ELSEWHERE.is_dir() or _on_root(ELSEWHERE):
        pytest.skip("needs a folder on the root's file system and one on another")
    folder = Path(tempfile.mkdtemp(dir=homes[0]))
    rules = [
        StorageRule("lost", folder, mounted=True),
        StorageRule("lost_read", folder, write=False, mounted=True),
        StorageRule("plain", folder),
        StorageRule("there", ELSEWHERE, mounted=True),
    ]
    try:
        values = by_name(StorageCheck(rules).read(0.0))
    finally:
        shutil.rmtree(folder)
    told = {rule.name: values[f"ucx.recording.storage.reachable {rule.name}"] for rule in rules}
    assert told == {"lost": 0, "lost_read": 0, "plain": 1, "there": 1}
    assert list(ELSEWHERE.glob(f"{PROBE_FILE}*")) == []


def test_a_storage_that_is_full_is_left_clean(tmp_path: Path) -> None:
    """The file can be made but not filled: not reachable, and nothing of ours stays there.

    Broken twin: without the clean-up, an empty file stays for each start of the agent."""
    check = StorageCheck([StorageRule("full", tmp_path)], [sys.executable, "-I", "-S", "-c", _FULL])
    assert by_name(check.read(0.0))["ucx.recording.storage.reachable full"] == 0
    assert list(tmp_path.iterdir()) == []
