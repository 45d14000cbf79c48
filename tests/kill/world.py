"""The world that the driver kills: PostgreSQL, two collectors, two scripted hosts, a phone company."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path

import psycopg

from agent.enrol import enrol
from alerting.store import store_pack
from collector.enrolment import issue_token
from tests.kill.ground import HERE, Connection, Ground, wait_for
from ticketing.registry_file import apply_file
from wire.clock import utcnow

COLLECTORS = ("a", "b")
HOSTS = {"h1": "a", "h2": "b"}
"""Scripted host -> the collector that it reports to."""
RACER = "racer"
"""A host that the driver itself plays, through both collectors at once."""


class World(Ground):
    """All processes of one run. ``twin`` names a broken design for the collectors to run."""

    def __init__(self, twin: str | None = None) -> None:
        super().__init__((*COLLECTORS, "phones"), twin)
        self.journals = {host: self.directory / f"{host}.jsonl" for host in HOSTS}
        self.phone_journal = self.directory / "phones.jsonl"
        self._scripts = {host: self.directory / f"{host}.json" for host in HOSTS}

    # -- building ---------------------------------------------------------------------------------

    def build(self) -> None:
        """Start everything; returns when the hosts deliver."""
        self.start_database()
        self.spawn("phones")
        for name in COLLECTORS:
            self.spawn(name)
        for name in COLLECTORS:
            wait_for(f"{self.address(name)}/readyz")
        tokens = self.ask(_furnish)
        for host, token in tokens.items():
            (self.directory / host).mkdir()
            enrol(self.directory / host, self.address(HOSTS.get(host, "a")), token, host)
        for host in HOSTS:
            self.tell(host, [], quiet=False)
            self.spawn(host)

    def tell(self, host: str, breached: list[str], *, quiet: bool) -> None:
        """Give a scripted host its next script."""
        scratch = self._scripts[host].with_suffix(".new")
        scratch.write_text(json.dumps({"breach": breached, "quiet": quiet}), encoding="utf-8")
        scratch.replace(self._scripts[host])

    def words(self, name: str) -> list[str]:
        """Of the phone company, a scripted host, or a collector."""
        if name == "phones":
            return self._phones(name, self.phone_journal, 0.2)
        if name in HOSTS:
            words = ["-m", "tests.kill.host", "--state-dir", str(self.directory / name)]
            words += ["--collector", self.address(HOSTS[name]), "--script", str(self._scripts[name])]
            return [*words, "--journal", str(self.journals[name])]
        return self._product("tests.kill.twins", self._config(name))

    def _config(self, name: str) -> Path:
        oncall = {"providers": [self._provider("phones")], "persons": ["technician"], "poll_s": 0.1}
        oncall |= {"ring_s": 5, "lease_s": 4, "provider_timeout_s": 1, "again_after_s": 0.2}
        # The word that a call is over may be lost with whoever was killed: we ask for it after talk_s.
        oncall |= {"never_rang_s": 5, "talk_s": 8}
        settings = {
            "port": self.ports[name],
            "public_url": self.address(name),
            "log_level": "warning",
            "database_connections": 6,
            "ticketing": {"poll_s": 0.3, "retry_s": 0.2, "failures_to_park": 6},
            "oncall": oncall,
        }
        return self._written(f"collector-{name}", settings)

    # -- killing ----------------------------------------------------------------------------------

    def kill(self, *victims: str) -> None:
        """SIGKILL processes (PostgreSQL: immediate mode) and start them again at once."""
        if "postgresql" in victims:
            self.crash_database()
        super().kill(*(victim for victim in victims if victim != "postgresql"))

    def query(self, statement: str) -> list[tuple[object, ...]]:
        """Rows of a question to the database; retried while it is down."""
        for attempt in range(100):
            try:
                with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as conn:
                    return conn.execute(statement.encode()).fetchall()
            except psycopg.OperationalError:
                if attempt == 99:
                    raise
                time.sleep(0.1)
        raise AssertionError("unreachable")


async def _furnish(conn: Connection) -> dict[str, str]:
    """Customers, rules, and an enrolment token for each host."""
    registry = (HERE / "registry.yaml").read_text(encoding="utf-8")
    await apply_file(conn, registry, now=utcnow(), actor="kill", origin="registry.yaml")
    await store_pack(conn, (HERE / "rules.yaml").read_text(encoding="utf-8"), "kill", "kill")
    tokens = {}
    for host in (*HOSTS, RACER):
        tokens[host], _ = await issue_token(
            conn, "patient", "main", ttl=timedelta(hours=1), by="kill", now=utcnow()
        )
    return tokens
