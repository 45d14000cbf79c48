"""The world of the collectors' story: PostgreSQL, three collectors behind a balancer, hosts that move between
them. No desk and no pager: every kill hits ingest and evaluation."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import psycopg

from agent.enrol import enrol
from alerting.store import store_pack
from collector.enrolment import issue_token
from tests.kill.balancer import Balancer
from tests.kill.ground import HERE, Connection, Ground, wait_for
from tests.kill.nomad import Nomad
from tests.kill.racer import Racer
from ticketing.registry_file import apply_file
from wire.clock import utcnow

COLLECTORS = ("a", "b", "c")
HOSTS = {f"n{number}": ("patient", "seeded")[number % 2] for number in range(6)}
"""Host -> its customer."""
RACER = "racer"


class CollectorsWorld(Ground):
    """All processes of one run. ``twin`` names a broken design for the collectors to run."""

    def __init__(self, twin: str | None, seed: int) -> None:
        super().__init__(COLLECTORS, twin)
        self.balancer = Balancer(list(self.ports.values()), random.Random(seed))
        self.nomads: list[Nomad] = []
        self._seed = seed

    def build(self) -> Racer:
        """Start everything; returns, with the racer, when the hosts send."""
        self.start_database()
        tokens = self.ask(_furnish)
        for name in COLLECTORS:
            self.spawn(name)
        for name in COLLECTORS:
            wait_for(f"{self.address(name)}/readyz")
        for host, token in tokens.items():
            (self.directory / host).mkdir()
            enrol(self.directory / host, self.address("a"), token, host)
        for number, host in enumerate(HOSTS):
            nomad = Nomad(self.directory / host, self.balancer.address, self._seed + number)
            self.nomads.append(nomad)
            nomad.start()
        return Racer(self.directory / RACER, (self.address("a"), self.address("b")))

    def cut(self) -> int:
        """End every transaction under way by ending its session: a rollback that the collector survives."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as conn:
            return conn.execute(_CUT.encode()).rowcount

    def tear_down(self, *, keep: bool) -> None:
        """The hosts and the balancer are threads of ours: they go first."""
        for nomad in self.nomads:
            nomad.close()
        self.balancer.close()
        super().tear_down(keep=keep)

    def deadlocks(self) -> int:
        """How many PostgreSQL had to break, by its log."""
        logs = (self.server.data_dir / "log").glob("postgresql-*.log")
        return sum(path.read_text(errors="replace").count("deadlock detected") for path in logs)

    def words(self, name: str) -> list[str]:
        """Of a collector."""
        return self._product("tests.kill.collectors_twins", self._config(name))

    def _config(self, name: str) -> Path:
        settings = {
            "port": self.ports[name],
            "log_level": "warning",
            "database_connections": 4,
            "roles": ["ingest", "sweep"],
            # Long enough that the batches of several hosts share a transaction, whatever the machine.
            "collector": {"linger_s": 0.02},
        }
        return self._written(f"collector-{name}", settings)


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
