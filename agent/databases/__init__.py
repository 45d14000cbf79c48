"""Databases the agent looks into: one module per engine, same shape.

A module has one class, made from a rule, with two verbs: ``look`` gives a State or raises a DatabaseFault,
and ``close`` gives up what is held. ``look`` runs in a thread of its own (agent/checks/database.py) and keeps
to limits of its own: it connects, asks, and is back, or fails.

    DatabaseFault           always with what an administrator can do about it
      Unreachable           nobody answers, or the server says that it cannot serve: the database is down
      Blind                 the agent cannot look: login, trust, right, driver; says nothing about it
        LoginRefused        the server does not take user and password
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
ENGINES = tuple(PORTS)
TLS = ("trusted", "unverified", "plain")
"""How an mssql server is trusted: by its certificate; not at all, though encrypted; not even encrypted. The
last two are for loopback only."""

TOTAL_S = 8.0
"""A look that takes longer than this is given up."""
CONNECT_S = 4
QUERY_S = 3


class DatabaseRule(NamedTuple):
    """One database."""

    name: str
    """Value of ``db.namespace``."""
    engine: str
    host: str
    port: int
    user: str
    """Empty or ``DOMAIN\\user`` (mssql): Windows authentication, when empty as the agent's own account."""
    database: str
    password_file: Path | None = None
    """Holds the password and nothing else; readable by the agent's user only."""
    instance: str = ""
    """mssql: a named instance, whose port the SQL Server Browser tells; then ``port`` is not used."""
    tls: str = "trusted"
    ca_file: Path | None = None
    """mssql: trust only the roots in this PEM file; default: the system's."""
    certificate_sha256: str = ""
    """mssql: trust this certificate (64 hexadecimal digits of its SHA-256) and no other."""

    def server(self) -> tuple[str, str, int, str]:
        """What is the same for all databases of one server."""
        return self.engine, self.host.lower(), self.port, self.instance.lower()


class Missing(NamedTuple):
    """A value that could not be had, though the database answers."""

    what: str
    why: str
    do: str
    """What the administrator can do."""


class State(NamedTuple):
    """What one look gave; None = not known, or no such thing in this engine. Bytes and seconds."""

    latency_s: float | None = None
    """Of a trivial query."""
    online: bool = True
    size: float | None = None
    """Of the data files, as far as they are allocated."""
    size_share: float | None = None
    """Used data as a share of what the edition lets it become."""
    free: float | None = None
    """What data may still take."""
    free_share: float | None = None
    """``free`` as a share of all that it may take."""
    log_size: float | None = None
    log_share: float | None = None
    """Used log as a share of what the log may become."""
    connections: float | None = None
    """Share of those allowed, 0..1."""
    blocked: float | None = None
    """Sessions waiting for a lock."""
    deadlocks: float | None = None
    """Since the server's statistics began; of the whole server where the engine counts no finer."""
    backup_age_s: float | None = None
    jobs_failed: float | None = None
    """Scheduled jobs whose latest run failed; of the whole server."""
    missing: tuple[Missing, ...] = ()


class DatabaseFault(OSError):
    """There is no state; the message says why."""

    def __init__(self, why: str, do: str) -> None:
        super().__init__(why)
        self.do = do
        """What the administrator can do."""


class Unreachable(DatabaseFault):
    """The database serves nobody, as far as can be seen from here."""


class Blind(DatabaseFault):
    """The agent may not or cannot look."""


class LoginRefused(Blind):
    """Trying again every minute would lock the account and fill the server's log: the check waits, longer
    each time."""


class Database(Protocol):
    """What each engine's module offers."""

    def look(self) -> State: ...
    def close(self) -> None: ...


def password_of(rule: DatabaseRule) -> str:
    """The password; empty when none is configured. Raises Blind."""
    if rule.password_file is None:
        return ""
    try:
        text = rule.password_file.read_text(encoding="utf-8")
    except (OSError, ValueError) as fault:
        reason = getattr(fault, "strerror", None) or "it is not UTF-8"
        raise Blind(
            f"the password file {rule.password_file} cannot be read: {reason}",
            "Make it readable for the agent's user, and for nobody else.",
        ) from None
    return text.strip()


def no_driver(engine: str) -> Blind:
    """The engine's driver is not installed."""
    return Blind("the driver is missing", f"pip install 'ucx-proactive[{engine}]' where the agent runs.")


def number(value: object) -> float | None:
    """A driver's number as ours."""
    return None if value is None else float(value)  # type: ignore[arg-type]  # int, float or Decimal
