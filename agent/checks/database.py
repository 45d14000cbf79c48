"""Databases: online, size, connections, blocked sessions, deadlocks - with the least rights that show them.

One short connection per reading and database, read-only, with a time limit on the server's side and on ours.
The drivers are extras (``ucx-proactive[postgresql]``, ``[mysql]``).

Least-privilege logins, as docs/agent.md has them:
    PostgreSQL   CREATE ROLE ucx_agent LOGIN PASSWORD '...'; GRANT pg_monitor TO ucx_agent;
    MariaDB      CREATE USER ucx_agent@localhost IDENTIFIED BY '...';
                 GRANT PROCESS ON *.* TO ucx_agent@localhost;
                 GRANT SELECT ON <database>.* TO ucx_agent@localhost;
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar, NamedTuple

from agent.bounded import Bounded
from agent.checks import rate
from agent.reading import Reading, columns

ENGINES = ("postgresql", "mysql")
_METRICS = (
    "ucx.database.online",
    "ucx.database.latency",
    "ucx.database.size",
    "ucx.database.connections.utilization",
    "ucx.database.sessions.blocked",
    "ucx.database.deadlock.rate",
)
_CONNECT_S = 4
_QUERY_S = 3
_TOTAL_S = 8.0


class DatabaseRule(NamedTuple):
    """One database."""

    name: str
    """Value of ``db.namespace``."""
    engine: str
    host: str
    port: int
    user: str
    database: str
    password_file: Path | None = None
    """Holds the password and nothing else; readable by the agent's user only."""


class State(NamedTuple):
    """What one look gave."""

    latency_s: float
    size: float | None
    """Bytes."""
    connections: float | None
    """Share of those allowed, 0..1."""
    blocked: float | None
    """Sessions waiting for a lock."""
    deadlocks: float | None
    """Since the server's statistics began."""


class DatabaseCheck:
    name: ClassVar[str] = "database"
    interval_s: ClassVar[float] = 60.0

    def __init__(self, rules: Sequence[DatabaseRule]) -> None:
        self._rules = tuple(rules)
        self._asked = [Bounded(_asking(rule)) for rule in self._rules]
        self._deadlocks: dict[str, tuple[float, float | None]] = {}
        self._columns = tuple(c for rule in rules for c in columns(_METRICS, db__namespace=rule.name))

    def read(self, now_s: float) -> Reading:
        values: list[float | None] = []
        for rule, asked in zip(self._rules, self._asked, strict=True):
            try:
                values += self._values(rule.name, asked.call(_TOTAL_S), now_s)
            except OSError:
                values += [0.0, *[None] * (len(_METRICS) - 1)]
        return Reading(self._columns, values)

    def _values(self, name: str, state: State, now_s: float) -> list[float | None]:
        before_s, before = self._deadlocks.get(name, (now_s, None))
        self._deadlocks[name] = (now_s, state.deadlocks)
        deadlocks = rate(state.deadlocks, before, now_s - before_s)
        return [1.0, state.latency_s, state.size, state.connections, state.blocked, deadlocks]


def _asking(rule: DatabaseRule) -> Callable[[], State]:
    return lambda: ask(rule)


def ask(rule: DatabaseRule) -> State:
    """One look; raises OSError with the reason, whatever the driver calls it."""
    password = rule.password_file.read_text(encoding="utf-8").strip() if rule.password_file else ""
    return _ASK[rule.engine](rule, password)


def _number(value: Any) -> float | None:
    return None if value is None else float(value)


# ---- PostgreSQL ---------------------------------------------------------------------------------------

_POSTGRESQL = """
SELECT pg_database_size(current_database()),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::float
         / nullif(current_setting('max_connections')::int, 0),
       (SELECT count(*) FROM pg_stat_activity
         WHERE wait_event_type = 'Lock' AND datname = current_database()),
       (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database())
"""


def _postgresql(rule: DatabaseRule, password: str) -> State:
    try:
        import psycopg
    except ImportError:
        raise OSError("the driver is missing: pip install 'ucx-proactive[postgresql]'") from None
    began = monotonic()
    try:
        with psycopg.connect(
            host=rule.host,
            port=rule.port,
            user=rule.user,
            password=password,
            dbname=rule.database,
            connect_timeout=_CONNECT_S,
            autocommit=True,
            application_name="ucx-agent",
            options=f"-c default_transaction_read_only=on -c statement_timeout={_QUERY_S * 1000}",
        ) as conn:
            conn.execute("SELECT 1")
            latency = monotonic() - began
            row = conn.execute(_POSTGRESQL).fetchone()
    except psycopg.Error as fault:
        raise OSError(f"{rule.name}: {fault}") from None
    assert row is not None
    size, connections, blocked, deadlocks = map(_number, row)
    return State(latency, size, connections, blocked, deadlocks)


# ---- MariaDB and MySQL --------------------------------------------------------------------------------

_MYSQL_SIZE = """
SELECT coalesce(sum(data_length + index_length), 0) FROM information_schema.tables WHERE table_schema = %s
"""
_MYSQL_BLOCKED = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
_MYSQL_STATUS = """
SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_connected', 'Innodb_deadlocks')
"""


def _mysql(rule: DatabaseRule, password: str) -> State:
    try:
        import pymysql
    except ImportError:
        raise OSError("the driver is missing: pip install 'ucx-proactive[mysql]'") from None
    began = monotonic()
    try:
        with (
            closing(
                pymysql.connect(
                    host=rule.host,
                    port=rule.port,
                    user=rule.user,
                    password=password,
                    database=rule.database,
                    connect_timeout=_CONNECT_S,
                    read_timeout=_QUERY_S,
                    write_timeout=_QUERY_S,
                    autocommit=True,
                )
            ) as conn,
            conn.cursor() as cursor,
        ):
            cursor.execute("SET SESSION TRANSACTION READ ONLY")
            return _mysql_state(cursor, rule.database, began)
    except pymysql.Error as fault:
        raise OSError(f"{rule.name}: {fault}") from None


def _mysql_state(cursor: Any, database: str, began: float) -> State:
    cursor.execute("SELECT 1")
    latency = monotonic() - began
    cursor.execute(_MYSQL_SIZE, (database,))
    size = _number(cursor.fetchone()[0])
    cursor.execute(_MYSQL_BLOCKED)
    blocked = _number(cursor.fetchone()[0])
    cursor.execute(_MYSQL_STATUS)
    status = {name.lower(): float(value) for name, value in cursor.fetchall()}
    cursor.execute("SELECT @@max_connections")
    allowed = float(cursor.fetchone()[0])
    used = status.get("threads_connected")
    connections = used / allowed if used is not None and allowed else None
    return State(latency, size, connections, blocked, status.get("innodb_deadlocks"))


_ASK: dict[str, Callable[[DatabaseRule, str], State]] = {"postgresql": _postgresql, "mysql": _mysql}
