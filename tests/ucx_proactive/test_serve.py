"""``ucx-proactive serve`` as a real process: starts from nothing, survives its database, stops in order."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

PATIENCE_S = 60
ROOT = Path(__file__).parents[2]


class Serve:
    """One process with its log."""

    def __init__(self, data_dir: Path, log: Path) -> None:
        self.data_dir = data_dir
        self.log = log
        words = ["serve", "--port", "0", "--data-dir", str(data_dir)]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "ucx_proactive.main", *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if not name.startswith("UCX_")},
            )
        self.url = self.wait(self._address)

    def wait(self, look: Callable[[], str | None]) -> str:
        given_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < given_up:
            found = look()
            if found:
                return found
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def _address(self) -> str | None:
        match = re.search(r"listening on (http://\S+)", self.log.read_text())
        return match[1] if match else None

    def ready(self) -> str | None:
        try:
            answer = httpx.get(f"{self.url}/readyz", timeout=5)
        except httpx.HTTPError:
            return None
        return "ready" if answer.status_code == 200 else None

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "ucx_proactive.main", *words, "--data-dir", str(self.data_dir)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_S,
        )


@contextmanager
def serving(data_dir: Path, log: Path) -> Iterator[Serve]:
    started = Serve(data_dir, log)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.stop()


def postmasters(data_dir: Path) -> list[psutil.Process]:
    pid_file = data_dir / "pgdata" / "postmaster.pid"
    if not pid_file.exists():
        return []
    pid = int(pid_file.read_text().split()[0])
    return [psutil.Process(pid)] if psutil.pid_exists(pid) else []


def _require_metrics(text: str) -> None:
    """Every name once, and every one that the documentation tells people to watch: of all rooms.

    Broken twin: the collector's registry alone; then nothing said that the pager loops."""
    families = [family.name for family in text_string_to_metric_families(text)]
    assert len(families) == len(set(families))
    shown = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    pages = [*ROOT.glob("docs/**/*.md"), ROOT / "README.md"]
    named = {
        name
        for page in pages
        for name in re.findall(
            r"\bucx_(?:desk|oncall|alert|alerting|outbox|collector)_[a-z_]+", page.read_text()
        )
    }
    assert {"ucx_oncall_loops_total", "ucx_desk_parked_total", "ucx_collector_upkeep_failures"} <= named
    assert named <= shown
    assert "process_resident_memory_bytes" in shown


@pytest.mark.story
def test_from_nothing_to_ready_through_a_dead_database_to_an_orderly_end(
    data_dir: Path, tmp_path: Path
) -> None:
    """One process: an empty directory, all workers well; commands join the running database; PostgreSQL
    is killed and comes back by itself; SIGTERM ends it with 0 and leaves no process and no note behind."""
    with serving(data_dir, tmp_path / "serve.log") as serve:
        serve.wait(serve.ready)
        made = serve.command("api-key", "create", "--name", "ops", "--role", "admin", "--json")
        assert made.returncode == 0, made.stderr
        key = {"Authorization": f"Bearer {json.loads(made.stdout)['key']}"}
        assert httpx.get(f"{serve.url}/v1/hosts", headers=key).json() == []
        assert "ops" in serve.command("api-key", "list").stdout
        unknown = serve.command("enrol-token", "--tenant", "nobody", "--deployment", "x")
        assert unknown.returncode == 1
        assert "no deployment" in unknown.stderr
        _require_metrics(httpx.get(f"{serve.url}/metrics").text)

        for process in postmasters(serve.data_dir):
            process.kill()
        serve.wait(lambda: "again" if "starting it again" in serve.log.read_text() else None)
        serve.wait(serve.ready)
        assert httpx.get(f"{serve.url}/v1/hosts", headers=key).json() == []

        assert serve.stop() == 0
        assert "stopped" in serve.log.read_text()
        assert "Traceback" not in serve.log.read_text().split("told to stop")[1]
        assert postmasters(serve.data_dir) == []
        assert not (serve.data_dir / "database.url").exists()
    doctor = subprocess.run(
        [sys.executable, "-m", "ucx_proactive.main", "doctor", "--data-dir", str(serve.data_dir)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert doctor.returncode == 1
    assert "nobody runs it" in doctor.stdout


def test_two_processes_on_one_directory_refuse_clearly(data_dir: Path, tmp_path: Path) -> None:
    """The second one ends with 1 and says why; the first goes on."""
    with serving(data_dir, tmp_path / "serve.log") as serve:
        second = serve.command("serve", "--port", "0")
        assert second.returncode == 1
        assert str(serve.data_dir) in second.stderr
        assert "Traceback" not in second.stderr
        serve.wait(serve.ready)
