"""The world of the pagers' story: PostgreSQL, two pagers, an auditor, two phone companies.

No collector and no desk: the driver itself writes critical alerts and tickets with open page requests, so
that every kill hits on-call.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import yaml

from oncall.simulator.__main__ import DEMO_NUMBER, DEMO_SID, DEMO_TOKEN
from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from tests.oncall.world import Registry, free_port

HERE = Path(__file__).parent
PAGERS = ("pager-a", "pager-b")
COMPANIES = ("phones", "fallback")
READY_S = 60.0
PAST_CAP_S = 10
"""Pause between the auditor's calls once it has made the calls of an hour."""


class PagerWorld:
    """All processes of one run. ``twin`` names a broken design for the pagers to run."""

    def __init__(self, twin: str | None, seed: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ucx-kill-"))
        self.directory.chmod(0o755)
        self.server = EmbeddedServer(self.directory / "db")
        self.ports = {name: free_port() for name in (*PAGERS, *COMPANIES, "auditor")}
        self.url = ""
        self._twin = twin
        self._seed = seed
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def build(self, fault_rate: float) -> None:
        """Start everything; returns when both pagers answer."""
        self.url = self.server.start()
        migrate(self.url)
        registry = Registry(self.url)
        for number, key in enumerate(("anna", "ben", "carla"), start=1):
            registry.person(key, f"+39058400000{number}")
        registry.request("nothing yet")
        registry.run("DELETE FROM page_request")
        for name in (*COMPANIES, *PAGERS, "auditor"):
            self._spawn(name)
        for name in COMPANIES:
            wait_for(f"{self.address(name)}/state")
        chaos = {"rate": fault_rate, "seed": self._seed, "s": 0.3}
        httpx.post(
            f"{self.address('phones')}/script", json={"chaos": chaos}, trust_env=False
        ).raise_for_status()
        for name in PAGERS:
            wait_for(f"{self.address(name)}/readyz")

    def address(self, name: str) -> str:
        """Where a process listens."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def breach(self, number: int) -> None:
        """One more critical alert, its ticket, and a page request."""
        registry = Registry(self.url)
        tenant, request = registry.request(f"problem {number}")
        registry.rows(_ALERT, (number, number, tenant, request))

    # -- processes --------------------------------------------------------------------------------

    def _words(self, name: str) -> list[str]:
        if name in COMPANIES:
            words = ["-m", "oncall.simulator", "--port", str(self.ports[name]), "--auto-answer", "--quiet"]
            journal = str(self.directory / f"{name}.jsonl")
            return [*words, "--after", "0.5", "--speed", "0.05", "--journal", journal]
        if name == "auditor":
            return [
                "-m",
                "ucx_proactive.main",
                "audit",
                "--config",
                str(self._auditor()),
                "--database-url",
                self.url,
            ]
        module = ["-m", "tests.kill.pager_twins", self._twin] if self._twin else ["-m", "ucx_proactive.main"]
        return [*module, "serve", "--config", str(self._config(name))]

    def _provider(self, name: str) -> dict[str, str]:
        own = {
            "name": name,
            "base_url": self.address(name),
            "account_sid": DEMO_SID,
            "auth_token": DEMO_TOKEN,
        }
        return own | {"from_number": DEMO_NUMBER}

    def _config(self, name: str) -> Path:
        oncall = {"providers": [self._provider("phones")], "persons": ["anna", "ben", "carla"], "poll_s": 0.1}
        oncall |= {
            "ring_s": 5,
            "lease_s": 4,
            "provider_timeout_s": 1,
            "again_after_s": 0.2,
            "never_rang_s": 2,
        }
        oncall |= {
            "ring_grace_s": 2,
            "loop_pause_s": 0.5,
            "failed_pause_s": 0.3,
            "line_gap_s": 0.1,
            "talk_s": 8,
        }
        oncall |= {"bundle_wait_s": 0.3, "busy_look_s": 1, "calls_per_hour": 10000}
        settings = {"port": self.ports[name], "public_url": self.address(name), "log_level": "warning"}
        settings |= {"database_connections": 8, "roles": ["pager"], "oncall": oncall}
        return self._written(name, settings)

    def _auditor(self) -> Path:
        settings = {
            "provider": self._provider("fallback"),
            "directory": str(self.directory / "auditor"),
            "listen": {"public_url": self.address("auditor"), "port": self.ports["auditor"]},
            "numbers": ["+390584000009"],
            "every_s": 0.5,
            "poll_s": 0.3,
            "rung_within_s": 12,
            "answered_within_s": 20,
            "first_pause_s": 2,
            "past_cap_s": PAST_CAP_S,
            "provider_timeout_s": 2,
        }
        return self._written("auditor", settings)

    def _written(self, name: str, settings: dict[str, Any]) -> Path:
        path = self.directory / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return path

    def _spawn(self, name: str) -> None:
        with (self.directory / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, *self._words(name)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "UCX_DATABASE_URL": self.url},
                cwd=HERE.parent.parent,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """SIGKILL, and start it again at once."""
        self.end(name)
        self._spawn(name)

    def end(self, name: str) -> None:
        """SIGKILL, and leave it dead."""
        process = self._running.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
        process.wait()

    def await_ready(self, name: str) -> None:
        """Until this pager works (again)."""
        self.revive()
        wait_for(f"{self.address(name)}/readyz")

    def freeze(self, name: str) -> None:
        """SIGSTOP: it holds whatever it holds."""
        os.kill(self._running[name].pid, signal.SIGSTOP)

    def thaw(self, name: str) -> None:
        """It goes on as if nothing had happened."""
        os.kill(self._running[name].pid, signal.SIGCONT)

    def revive(self) -> None:
        """Start again what has ended by itself."""
        for name in (*PAGERS, "auditor"):
            if name not in self._running or self._running[name].poll() is not None:
                self._spawn(name)

    def tear_down(self, *, keep: bool) -> None:
        """Stop everything; the directory stays when there is something to look at."""
        for name in list(self._running):
            self.end(name)
        self.server.stop("immediate")
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    # -- looking ----------------------------------------------------------------------------------

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Rows of a question to the database."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as conn:
            return conn.execute(statement.encode()).fetchall()

    def journal(self, name: str) -> list[dict[str, Any]]:
        """What a phone company (or the auditor) wrote down."""
        folder = self.directory / "auditor" / "journal.jsonl" if name == "auditor" else None
        path = folder or self.directory / f"{name}.jsonl"
        lines = path.read_bytes().splitlines() if path.exists() else []
        found = []
        for line in lines:
            with contextlib.suppress(
                msgspec.DecodeError, json.JSONDecodeError
            ):  # the last one may be cut off
                found.append(msgspec.json.decode(line))
        return found


_ALERT = """
WITH made AS (
    INSERT INTO alert (tenant_id, deployment_id, rule_id, instance, problem_key, state, priority, since,
                       fired_at, summary, last_seq, changed_at)
    SELECT tenant_id, deployment_id, 'kill', %s::text, 'kill-' || %s::text, 'firing', 1, now(), now(),
           'A breach', 1, now()
    FROM deployment RETURNING tenant_id, alert_id)
INSERT INTO ticket_alert
SELECT m.tenant_id, q.ticket_id, m.alert_id, true
FROM made m JOIN page_request q ON q.tenant_id = %s AND q.page_request_id = %s RETURNING 1
"""


def wait_for(url: str) -> None:
    """Until it answers."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within {READY_S:.0f} s")
