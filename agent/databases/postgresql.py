"""PostgreSQL (driver: psycopg). One short connection per look: a kept one would stand in the way of whoever
drops, renames or copies the database.

Least-privilege login: ``CREATE ROLE ucx_agent LOGIN PASSWORD '...'; GRANT pg_monitor TO ucx_agent;``
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from agent.databases import (
    CONNECT_S,
    QUERY_S,
    Blind,
    DatabaseRule,
    LoginRefused,
    Missing,
    State,
    Unreachable,
    no_driver,
    number,
    password_of,
)

_LOOK = """
SELECT pg_database_size(current_database()),
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend')::float
         / nullif(current_setting('max_connections')::int, 0),
       (SELECT count(*) FROM pg_stat_activity
         WHERE wait_event_type = 'Lock' AND datname = current_database()),
       (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()),
       pg_has_role('pg_monitor', 'USAGE') OR pg_has_role('pg_read_all_stats', 'USAGE')
"""
_LINE: dict[str, Any] = {
    "keepalives_idle": 2,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 6000,
}
"""A line that was cut in the middle of a question is given up after seconds: by default the system takes two
hours, and as long the database would count as out of reach though the line is back."""
_LOGIN_DO = "Check user and password_file (one line, nothing else), and that pg_hba.conf lets this host in."
_NOT_AUTHORISED = "28"
"""Class of SQLSTATE: wrong password, unknown role, no entry in pg_hba.conf."""
_LOGIN_WORDS = ("password authentication failed", "no pg_hba.conf entry", "authentication failed")


class PostgresqlDatabase:
    """The watched database."""

    def __init__(self, rule: DatabaseRule) -> None:
        self._rule = rule

    def close(self) -> None:
        """Nothing is kept."""

    def look(self) -> State:
        """One look; raises Unreachable or Blind."""
        try:
            import psycopg
        except ImportError:
            raise no_driver("postgresql") from None
        password = password_of(self._rule)
        try:
            with psycopg.connect(
                host=self._rule.host,
                port=self._rule.port,
                user=self._rule.user,
                password=password,
                dbname=self._rule.database,
                connect_timeout=CONNECT_S,
                autocommit=True,
                application_name="ucx-agent",
                **_LINE,
                options=f"-c default_transaction_read_only=on -c statement_timeout={QUERY_S * 1000}",
            ) as conn:
                return _state(conn)
        except psycopg.Error as fault:
            raise _fault(fault) from None


def _state(conn: Any) -> State:
    began = monotonic()
    conn.execute("SELECT 1")
    latency_s = monotonic() - began
    *values, may_see = conn.execute(_LOOK).fetchone()
    size, connections, blocked, deadlocks = map(number, values)
    if not may_see:  # other roles' sessions are then shown without what they wait for
        missing = Missing(
            "blocked sessions", "the role pg_monitor is missing", "GRANT pg_monitor TO this login."
        )
        return State(latency_s, size=size, deadlocks=deadlocks, missing=(missing,))
    return State(latency_s, size=size, connections=connections, blocked=blocked, deadlocks=deadlocks)


def _fault(fault: Any) -> Unreachable | Blind:
    text = " ".join(str(fault).split())
    state = fault.sqlstate or ""
    if state.startswith(_NOT_AUTHORISED) or any(words in text for words in _LOGIN_WORDS):
        return LoginRefused(f"the login failed: {text}", _LOGIN_DO)
    if state == "42501":
        return Blind(f"a right is missing: {text}", "GRANT pg_monitor TO this login.")
    return Unreachable(text, "See whether PostgreSQL runs, and listens there; read its log.")
