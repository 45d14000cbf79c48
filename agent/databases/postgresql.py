"""PostgreSQL (driver: psycopg). One short connection per look.

Least-privilege login: ``CREATE ROLE ucx_agent LOGIN PASSWORD '...'; GRANT pg_monitor TO ucx_agent;``
"""

from __future__ import annotations

from time import monotonic
from typing import Any

from agent.databases import QUERY_S, Blind, LoginRefused, Missing, State, Unreachable, number
from agent.databases.visit import VisitedDatabase

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


class PostgresqlDatabase(VisitedDatabase):
    """The watched database."""

    engine, driver = "postgresql", "psycopg"

    def _visit(self, login: dict[str, Any]) -> State:
        import psycopg

        with psycopg.connect(
            **login,
            **_LINE,
            dbname=self._rule.database,
            application_name="ucx-agent",
            options=f"-c default_transaction_read_only=on -c statement_timeout={QUERY_S * 1000}",
        ) as conn:
            return _state(conn)

    def _fault(self, fault: Any) -> Unreachable | Blind:
        text = " ".join(str(fault).split())
        state = fault.sqlstate or ""
        if state.startswith(_NOT_AUTHORISED) or any(words in text for words in _LOGIN_WORDS):
            return LoginRefused(f"the login failed: {text}", _LOGIN_DO)
        if state == "42501":
            return Blind(f"a right is missing: {text}", "GRANT pg_monitor TO this login.")
        return Unreachable(text, "See whether PostgreSQL runs, and listens there; read its log.")


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
