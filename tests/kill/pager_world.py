"""The world of the pagers' story: PostgreSQL, two pagers, an auditor, two phone companies.

No collector and no desk: the driver itself writes critical alerts and tickets with open page requests, so
that every kill hits on-call.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg

from tests.kill.ground import Ground, wait_for
from tests.oncall.world import Registry

PAGERS = ("pager-a", "pager-b")
COMPANIES = ("phones", "fallback")
PAST_CAP_S = 10
"""Pause between the auditor's calls once it has made the calls of an hour."""


class PagerWorld(Ground):
    """All processes of one run. ``twin`` names a broken design for the pagers to run."""

    def __init__(self, twin: str | None, seed: int) -> None:
        super().__init__((*PAGERS, *COMPANIES, "auditor"), twin)
        self._seed = seed

    def build(self, fault_rate: float) -> None:
        """Start everything; returns when both pagers answer."""
        self.start_database()
        registry = Registry(self.url)
        for number, key in enumerate(("anna", "ben", "carla"), start=1):
            registry.person(key, f"+39058400000{number}")
        registry.request("nothing yet")
        registry.run("DELETE FROM page_request")
        for name in (*COMPANIES, *PAGERS, "auditor"):
            self.spawn(name)
        for name in COMPANIES:
            wait_for(f"{self.address(name)}/state")
        chaos = {"rate": fault_rate, "seed": self._seed, "s": 0.3}
        httpx.post(
            f"{self.address('phones')}/script", json={"chaos": chaos}, trust_env=False
        ).raise_for_status()
        for name in PAGERS:
            wait_for(f"{self.address(name)}/readyz")

    def breach(self, number: int) -> None:
        """One more critical alert, its ticket, and a page request."""
        registry = Registry(self.url)
        tenant, request = registry.request(f"problem {number}")
        registry.rows(_ALERT, (number, number, tenant, request))

    # -- processes --------------------------------------------------------------------------------

    def words(self, name: str) -> list[str]:
        """Of a phone company, the auditor, or a pager."""
        if name in COMPANIES:
            return self._phones(name, self.directory / f"{name}.jsonl", 0.5)
        if name == "auditor":
            settings = str(self._auditor())
            return ["-m", "ucx_proactive.main", "audit", "--config", settings, "--database-url", self.url]
        return self._product("tests.kill.pager_twins", self._config(name))

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
        """Start again what has ended by itself, and what was left dead."""
        for name in (*PAGERS, "auditor"):
            if not self._lives(name):
                self.spawn(name)

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
