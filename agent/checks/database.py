"""Databases: online, space, log, connections, blocked sessions, deadlocks, backups, jobs.

The engines are in agent/databases; here their looks are started together, each in a thread of its own and
under one deadline, and become values. A database that the agent is not allowed to look into is not called
offline (nobody is woken for an expired password of ours): it is not watched, which is a metric of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

from agent.bounded import Bounded, Deadline
from agent.checks import rate
from agent.databases import TOTAL_S, Blind, Database, DatabaseRule, LoginRefused, State
from agent.reading import Reading, columns

_METRICS = (
    "ucx.database.online",
    "ucx.database.watched",
    "ucx.database.latency",
    "ucx.database.size",
    "ucx.database.size.utilization",
    "ucx.database.free",
    "ucx.database.free_ratio",
    "ucx.database.log.size",
    "ucx.database.log.utilization",
    "ucx.database.connections.utilization",
    "ucx.database.sessions.blocked",
    "ucx.database.deadlock.rate",
    "ucx.database.backup.age",
    "ucx.database.jobs.failed",
)
_LONGEST_PAUSE_S = 3600.0
_COUNTED_FOR_SERVER = frozenset({"mysql", "mssql"})
"""Engines whose deadlocks are those of the whole server: told with the first of its databases only, so that
nobody is told twice. (Failed jobs likewise.)"""

Values = list[float | None]


def open_database(rule: DatabaseRule) -> Database:
    """The rule's engine, not connected yet; its module is loaded only where there is such a database."""
    if rule.engine == "mssql":
        from agent.databases.mssql import MssqlDatabase

        return MssqlDatabase(rule)
    if rule.engine == "mysql":
        from agent.databases.mysql import MysqlDatabase

        return MysqlDatabase(rule)
    from agent.databases.postgresql import PostgresqlDatabase

    return PostgresqlDatabase(rule)


class DatabaseCheck:
    name: ClassVar[str] = "database"
    interval_s: ClassVar[float] = 60.0

    def __init__(
        self, rules: Sequence[DatabaseRule], make: Callable[[DatabaseRule], Database] = open_database
    ) -> None:
        self._rules = tuple(rules)
        self._watched = [_Watched(rule, make(rule)) for rule in self._rules]
        self._speaks = spokesmen(self._rules)
        self._deadlocks: dict[str, tuple[float, float | None]] = {}
        self._columns = tuple(c for rule in rules for c in columns(_METRICS, db__namespace=rule.name))

    def read(self, now_s: float) -> Reading:
        """All at the same time: several that hang cost one deadline."""
        for watched in self._watched:
            watched.start(now_s)
        values: Values = []
        left = Deadline(TOTAL_S)
        for rule, watched in zip(self._rules, self._watched, strict=True):
            try:
                values += self._values(rule.name, watched.result(left.seconds(), now_s), now_s)
            except Blind:
                values += unknown(online=None, watched=0.0)
            except OSError:
                values += unknown(online=0.0, watched=1.0)
        return Reading(self._columns, values)

    def _values(self, name: str, state: State, now_s: float) -> Values:
        deadlocks = state.deadlocks if name in self._speaks else None
        before_s, before = self._deadlocks.get(name, (now_s, None))
        self._deadlocks[name] = (now_s, deadlocks)
        per_s = rate(deadlocks, before, now_s - before_s)
        return values_of(state, per_s, speaks=name in self._speaks)


class _Watched:
    """One database, and how long not to ask it: a login that is refused is tried again later and later, or as
    soon as the password file changes."""

    def __init__(self, rule: DatabaseRule, database: Database) -> None:
        self._file = rule.password_file
        self._looking = Bounded(database.look)
        self._refusal: LoginRefused | None = None
        self._refusals = 0
        self._again_s = 0.0
        self._password: object = None

    def start(self, now_s: float) -> None:
        if self._refusal is not None and (now_s >= self._again_s or _stamp(self._file) != self._password):
            self._refusal = None
        if self._refusal is None:
            self._password = _stamp(self._file)
            self._looking.start()

    def result(self, left_s: float, now_s: float) -> State:
        """What ``start`` began; raises OSError."""
        if self._refusal is not None:
            raise self._refusal
        try:
            state = self._looking.result(left_s)
        except LoginRefused as fault:
            self._refusal, self._refusals = fault.with_traceback(None), self._refusals + 1
            self._again_s = now_s + pause_s(self._refusals)
            raise
        self._refusals = 0
        return state


def pause_s(refusals: int) -> float:
    """Seconds until a login is tried again that was refused so often in a row."""
    return min(_LONGEST_PAUSE_S, 60.0 * 2.0 ** min(refusals, 10))


def _stamp(file: Path | None) -> object:
    """Changes when the file does; None without one."""
    try:
        return None if file is None else file.stat().st_mtime_ns
    except OSError:
        return "gone"


def spokesmen(rules: Sequence[DatabaseRule]) -> frozenset[str]:
    """Names of the rules that tell what is counted for a whole server."""
    first: dict[object, str] = {}
    for rule in rules:
        first.setdefault(rule.server() if rule.engine in _COUNTED_FOR_SERVER else rule.name, rule.name)
    return frozenset(first.values())


def values_of(state: State, deadlocks_per_s: float | None, speaks: bool) -> Values:
    """A state in the order of the metrics."""
    return [
        1.0 if state.online else 0.0,
        1.0,
        state.latency_s,
        state.size,
        state.size_share,
        state.free,
        state.free_share,
        state.log_size,
        state.log_share,
        state.connections,
        state.blocked,
        deadlocks_per_s,
        state.backup_age_s,
        state.jobs_failed if speaks else None,
    ]


def unknown(online: float | None, watched: float) -> Values:
    """When there is no state."""
    return [online, watched, *[None] * (len(_METRICS) - 2)]
