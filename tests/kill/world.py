"""The world that the driver kills: PostgreSQL, two collectors, two scripted hosts, a phone company."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psycopg
import yaml
from psycopg import AsyncConnection

from agent.enrol import enrol
from alerting.store import store_pack
from collector.enrolment import issue_token
from oncall.simulator.__main__ import DEMO_NUMBER, DEMO_SID, DEMO_TOKEN
from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from ticketing.registry_file import apply_file
from wire.clock import utcnow

T = TypeVar("T")
Connection = AsyncConnection[Any]
HERE = Path(__file__).parent
COLLECTORS = ("a", "b")
HOSTS = {"h1": "a", "h2": "b"}
"""Scripted host -> the collector that it reports to."""
RACER = "racer"
"""A host that the driver itself plays, through both collectors at once."""
READY_S = 60.0


class World:
    """All processes of one run. ``twin`` names a broken design for the collectors to run."""

    def __init__(self, twin: str | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ucx-kill-"))
        self.directory.chmod(0o755)
        self.server = EmbeddedServer(self.directory / "db")
        self.url = ""
        self.ports = {name: _free_port() for name in (*COLLECTORS, "phones")}
        self.journals = {host: self.directory / f"{host}.jsonl" for host in HOSTS}
        self.phone_journal = self.directory / "phones.jsonl"
        self._twin = twin
        self._scripts = {host: self.directory / f"{host}.json" for host in HOSTS}
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    # -- building ---------------------------------------------------------------------------------

    def build(self) -> None:
        """Start everything; returns when the hosts deliver."""
        self.url = self.server.start()
        migrate(self.url)
        self._spawn("phones")
        for name in COLLECTORS:
            self._spawn(name)
        for name in COLLECTORS:
            _wait_for(f"{self.address(name)}/readyz")
        tokens = self.ask(_furnish)
        for host, token in tokens.items():
            (self.directory / host).mkdir()
            enrol(self.directory / host, self.address(HOSTS.get(host, "a")), token, host)
        for host in HOSTS:
            self.tell(host, [], quiet=False)
            self._spawn(host)

    def ask(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do something with a connection of our own. The database must be up."""

        async def connected() -> T:
            async with await AsyncConnection.connect(self.url, autocommit=True) as conn:
                return await work(conn)

        return asyncio.run(connected())

    def address(self, name: str) -> str:
        """Where a collector (or the phone company) listens."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def tell(self, host: str, breached: list[str], *, quiet: bool) -> None:
        """Give a scripted host its next script."""
        scratch = self._scripts[host].with_suffix(".new")
        scratch.write_text(json.dumps({"breach": breached, "quiet": quiet}), encoding="utf-8")
        scratch.replace(self._scripts[host])

    def _words(self, name: str) -> list[str]:
        if name == "phones":
            words = ["-m", "oncall.simulator", "--port", str(self.ports[name]), "--auto-answer", "--quiet"]
            return [*words, "--after", "0.2", "--speed", "0.05", "--journal", str(self.phone_journal)]
        if name in HOSTS:
            words = ["-m", "tests.kill.host", "--state-dir", str(self.directory / name)]
            words += ["--collector", self.address(HOSTS[name]), "--script", str(self._scripts[name])]
            return [*words, "--journal", str(self.journals[name])]
        module = ["-m", "tests.kill.twins", self._twin] if self._twin else ["-m", "ucx_proactive.main"]
        return [*module, "serve", "--config", str(self._config(name))]

    def _config(self, name: str) -> Path:
        provider = {
            "name": "phones",
            "base_url": self.address("phones"),
            "account_sid": DEMO_SID,
            "auth_token": DEMO_TOKEN,
            "from_number": DEMO_NUMBER,
        }
        oncall = {"providers": [provider], "persons": ["technician"], "ring_s": 5, "poll_s": 0.1}
        oncall |= {"lease_s": 4, "provider_timeout_s": 1, "again_after_s": 0.2, "never_rang_s": 5}
        # The word that a call is over may be lost with whoever was killed: we ask for it after this.
        oncall |= {"talk_s": 8}
        settings = {
            "port": self.ports[name],
            "public_url": self.address(name),
            "log_level": "warning",
            "database_connections": 6,
            "ticketing": {"poll_s": 0.3, "retry_s": 0.2, "failures_to_park": 6},
            "oncall": oncall,
        }
        path = self.directory / f"collector-{name}.yaml"
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

    # -- killing ----------------------------------------------------------------------------------

    def kill(self, *victims: str) -> None:
        """SIGKILL processes (PostgreSQL: immediate mode) and start them again at once."""
        if "postgresql" in victims:
            self.server.stop("immediate")
            assert self.server.start() == self.url, "the collectors know the database by this address"
        processes = [victim for victim in victims if victim != "postgresql"]
        for victim in processes:
            self._strike(victim)
        for victim in processes:
            self._running.pop(victim).wait()
            self._spawn(victim)

    def _strike(self, name: str) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._running[name].pid, signal.SIGKILL)

    def revive(self) -> None:
        """Start again what has ended by itself (a collector that found no database at its start)."""
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                self._spawn(name)

    def tear_down(self, *, keep: bool) -> None:
        """Stop everything; the directory stays when there is something to look at."""
        for name, process in self._running.items():
            self._strike(name)
            process.wait()
        self.server.stop("immediate")
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

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


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(url, timeout=2, trust_env=False).status_code == 200
    return False


def _wait_for(url: str) -> None:
    for _ in range(round(READY_S / 0.1)):
        if _answers(url):
            return
        time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within {READY_S:.0f} s")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
