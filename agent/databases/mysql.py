"""MariaDB and MySQL (driver: PyMySQL). One short connection per look.

Least-privilege login:
    CREATE USER ucx_agent@localhost IDENTIFIED BY '...'; GRANT PROCESS ON *.* TO ucx_agent@localhost;
    GRANT SELECT ON <database>.* TO ucx_agent@localhost;
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from time import monotonic
from typing import Any

from agent.databases import QUERY_S, Blind, LoginRefused, Missing, State, Unreachable, number
from agent.databases.visit import VisitedDatabase

_SIZE = """
SELECT sum(data_length + index_length) FROM information_schema.tables WHERE table_schema = %s
"""
_BLOCKED = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
_STATUS = "SHOW GLOBAL STATUS WHERE Variable_name IN ('Threads_connected', 'Innodb_deadlocks')"
_DEADLOCKS = "SELECT count FROM information_schema.innodb_metrics WHERE name = 'lock_deadlocks'"
_REFUSED = frozenset({1044, 1045, 1129, 1130, 1698, 1820, 1862, 3118, 3159, 4151})
"""Access denied, host blocked or not allowed, account locked, password expired, TLS required."""
_RIGHT_MISSING = frozenset({1142, 1143, 1227, 1370})
_LOGIN_DO = (
    "Check user and password_file (one line, nothing else), and that the login may come from this host."
)
_PROCESS = "GRANT PROCESS ON *.* TO this login."


class MysqlDatabase(VisitedDatabase):
    """The watched database."""

    engine, driver = "mysql", "pymysql"

    def _visit(self, login: dict[str, Any]) -> State:
        import pymysql

        connection = pymysql.connect(
            **login,
            database=self._rule.database,
            read_timeout=QUERY_S,
            write_timeout=QUERY_S,
            program_name="ucx-agent",
        )
        with closing(connection), connection.cursor() as cursor:
            return _state(cursor, self._rule.database)

    def _fault(self, fault: Any) -> Unreachable | Blind:
        code, text = fault.args[0], f"{fault.args[-1]}"
        if code in _REFUSED:
            return LoginRefused(f"the login failed ({code}: {text})", _LOGIN_DO)
        if code in _RIGHT_MISSING:
            return Blind(f"a right is missing ({code}: {text})", _PROCESS)
        return Unreachable(f"{code}: {text}", "See whether the server runs, and listens there; read its log.")


def _state(cursor: Any, database: str) -> State:
    cursor.execute("SET SESSION TRANSACTION READ ONLY")
    began = monotonic()
    cursor.execute("SELECT 1")
    latency_s = monotonic() - began
    missing: list[Missing] = []
    cursor.execute(_SIZE, (database,))
    size = number(cursor.fetchone()[0])
    if size is None:
        do = f"GRANT SELECT ON `{database}`.* TO this login."
        missing.append(Missing("size", "no table is shown: empty, or the right SELECT is missing", do))
    status = _status(cursor)
    cursor.execute("SELECT @@max_connections")
    used, allowed = status.get("threads_connected"), float(cursor.fetchone()[0])
    return State(
        latency_s,
        size=size,
        connections=used / allowed if used is not None and allowed else None,
        blocked=_tried(missing, "blocked sessions", lambda: _one(cursor, _BLOCKED)),
        deadlocks=_tried(missing, "deadlocks", lambda: _deadlocks(cursor, status)),
        missing=tuple(missing),
    )


def _status(cursor: Any) -> dict[str, float]:
    cursor.execute(_STATUS)
    return {name.lower(): float(value) for name, value in cursor.fetchall()}


def _one(cursor: Any, statement: str) -> float | None:
    cursor.execute(statement)
    row = cursor.fetchone()
    return number(row[0]) if row else None


def _deadlocks(cursor: Any, status: dict[str, float]) -> float | None:
    """MariaDB counts them among its status, MySQL among InnoDB's metrics."""
    counted = status.get("innodb_deadlocks")
    return _one(cursor, _DEADLOCKS) if counted is None else counted


def _tried(missing: list[Missing], what: str, ask: Callable[[], float | None]) -> float | None:
    import pymysql

    try:
        return ask()
    except pymysql.Error as fault:
        if fault.args[0] not in _RIGHT_MISSING:
            raise
        missing.append(Missing(what, str(fault.args[-1]), _PROCESS))
        return None
