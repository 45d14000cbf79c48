"""The world of the collectors' story: PostgreSQL, three collectors behind a balancer, hosts that move between
them. No desk and no pager: every kill hits ingest and evaluation."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import yaml
from psycopg import AsyncConnection

from agent.enrol import enrol
from alerting.store import store_pack
from collector.enrolment import issue_token
from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from tests.kill.balancer import Balancer
from tests.kill.nomad import Nomad
from tests.kill.pager_world import wait_for
from tests.kill.racer import Racer
from tests.oncall.world import free_port
from ticketing.registry_file import apply_file
from wire.clock import utcnow

T = TypeVar("T")
Connection = AsyncConnection[Any]
HERE = Path(__file__).parent
COLLECTORS = ("a", "b", "c")
HOSTS = {f"n{number}": ("patient", "seeded")[number % 2] for number in range(6)}
"""Host -> its customer."""
RACER = "racer"


class CollectorsWorld:
    """All processes of one run. ``twin`` names a broken design for the collectors to run."""

    def __init__(self, twin: str | None, seed: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ucx-kill-"))
        self.directory.chmod(0o755)
        self.server = EmbeddedServer(self.directory / "db")
        self.ports = {name: free_port() for name in COLLECTORS}
        self.url = ""
        self.balancer = Balancer(list(self.ports.values()), random.Random(seed))
        self.nomads: list[Nomad] = []
        self._twin = twin
        self._seed = seed
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def build(self) -> Racer:
        """Start everything; returns, with the racer, when the hosts send."""
        self.url = self.server.start()
        migrate(self.url)
        tokens = self.ask(_furnish)
        for name in COLLECTORS:
            self._spawn(name)
        for name in COLLECTORS:
            wait_for(f"{self._address(name)}/readyz")
        for host, token in tokens.items():
            (self.directory / host).mkdir()
            enrol(self.directory / host, self._address("a"), token, host)
        for number, host in enumerate(HOSTS):
            nomad = Nomad(self.directory / host, self.balancer.address, self._seed + number)
            self.nomads.append(nomad)
            nomad.start()
        return Racer(self.directory / RACER, (self._address("a"), self._address("b")))

    def ask(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do something with a connection of our own. The database must be up."""

        async def connected() -> T:
            async with await AsyncConnection.connect(self.url, autocommit=True) as conn:
                await conn.execute("SET TimeZone TO 'UTC'")
                return await work(conn)

        return asyncio.run(connected())

    def _address(self, name: str) -> str:
        return f"http://127.0.0.1:{self.ports[name]}"

    # -- killing ----------------------------------------------------------------------------------

    def kill(self, *victims: str) -> None:
        """SIGKILL collectors and start them again at once."""
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._running[victim].pid, signal.SIGKILL)
        for victim in victims:
            self._running.pop(victim).wait()
            self._spawn(victim)

    def crash_database(self) -> None:
        """Immediate mode, which is a crash; then recovery."""
        self.server.stop("immediate")
        assert self.server.start() == self.url, "the collectors know the database by this address"

    def cut(self) -> int:
        """End every transaction under way by ending its session: a rollback that the collector survives."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as conn:
            return conn.execute(_CUT.encode()).rowcount

    def revive(self) -> None:
        """Start again what has ended by itself (a collector that found no database at its start)."""
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                self._spawn(name)

    def tear_down(self, *, keep: bool) -> None:
        """Stop everything; the directory stays when there is something to look at."""
        for nomad in self.nomads:
            nomad.close()
        self.balancer.close()
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
            process.wait()
        self.server.stop("immediate")
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def deadlocks(self) -> int:
        """How many PostgreSQL had to break, by its log."""
        logs = (self.server.data_dir / "log").glob("postgresql-*.log")
        return sum(path.read_text(errors="replace").count("deadlock detected") for path in logs)

    def _spawn(self, name: str) -> None:
        module = (
            ["-m", "tests.kill.collectors_twins", self._twin] if self._twin else ["-m", "ucx_proactive.main"]
        )
        with (self.directory / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, *module, "serve", "--config", str(self._config(name))],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "UCX_DATABASE_URL": self.url},
                cwd=HERE.parent.parent,
                start_new_session=True,
            )

    def _config(self, name: str) -> Path:
        settings = {
            "port": self.ports[name],
            "log_level": "warning",
            "database_connections": 4,
            "roles": ["ingest", "sweep"],
            # Long enough that the batches of several hosts share a transaction, whatever the machine.
            "collector": {"linger_s": 0.02},
        }
        path = self.directory / f"collector-{name}.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return path


async def _furnish(conn: Connection) -> dict[str, str]:
    """Customers, rules, and an enrolment token for each host."""
    registry = (HERE / "registry.yaml").read_text(encoding="utf-8")
    await apply_file(conn, registry, now=utcnow(), actor="kill", origin="registry.yaml")
    await store_pack(conn, (HERE / "collectors.yaml").read_text(encoding="utf-8"), "kill", "kill")
    return {
        host: (await issue_token(conn, tenant, "main", ttl=timedelta(hours=1), by="kill", now=utcnow()))[0]
        for host, tenant in {**HOSTS, RACER: "patient"}.items()
    }


_CUT = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
"""
