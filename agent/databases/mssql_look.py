"""What a SQL Server is asked, and what its answers mean. Every question costs its own values when it is
refused, and the right that it needs is then named.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from agent.databases import Blind, DatabaseRule, Missing, State, Unreachable, number
from agent.databases.space import File, express_limit, space

T = TypeVar("T")
_Sessions = tuple[float | None, float | None]
Ask = Callable[..., list[tuple[Any, ...]]]
"""A statement and its values, to rows; raises Refused, Unreachable or Blind."""

_RIGHTS = """
SELECT CAST(SERVERPROPERTY('EngineEdition') AS int) AS edition,
       CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)) AS version,
       HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER STATE') AS server_state,
       HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW SERVER PERFORMANCE STATE') AS performance_state,
       HAS_PERMS_BY_NAME(NULL, NULL, 'VIEW ANY DATABASE') AS any_database
"""
_STATE = """
SELECT d.database_id, d.state, d.is_auto_close_on, d.is_cleanly_shutdown,
       DATEDIFF(MINUTE, d.create_date, GETDATE()) AS age_min
FROM sys.databases AS d WHERE d.name = %s
"""
_FILES = """
SELECT f.type, f.size, f.max_size, f.growth, f.is_percent_growth, v.volume_mount_point, v.available_bytes
FROM sys.master_files AS f OUTER APPLY sys.dm_os_volume_stats(f.database_id, f.file_id) AS v
WHERE f.database_id = %s AND f.type IN (0, 1)
"""
_FILES_ALONE = """
SELECT f.type, f.size, f.max_size, f.growth, f.is_percent_growth, NULL AS mount, NULL AS available_bytes
FROM sys.master_files AS f WHERE f.database_id = %s AND f.type IN (0, 1)
"""
_USED = "SELECT SUM(u.allocated_extent_page_count) AS pages FROM [{}].sys.dm_db_file_space_usage AS u"
_COUNTERS = """
SELECT RTRIM(c.counter_name) AS counter, MAX(c.cntr_value) AS value
FROM sys.dm_os_performance_counters AS c
WHERE (c.counter_name = 'Number of Deadlocks/sec' AND c.instance_name = '_Total')
   OR (c.counter_name = 'Log File(s) Used Size (KB)' AND c.instance_name = %s)
GROUP BY RTRIM(c.counter_name)
"""
_SESSIONS = """
SELECT (SELECT COUNT(*) FROM sys.dm_exec_sessions AS s WHERE s.is_user_process = 1) AS sessions,
       @@MAX_CONNECTIONS AS allowed,
       (SELECT COUNT(*) FROM sys.dm_exec_requests AS r
         WHERE r.database_id = %s AND r.blocking_session_id <> 0
           AND r.blocking_session_id <> r.session_id AND r.blocking_session_id <> -5) AS blocked
"""
_BACKUP = """
SELECT DATEDIFF(MINUTE, MAX(b.backup_finish_date), GETDATE()) AS age_min
FROM msdb.dbo.backupset AS b WHERE b.database_name = %s AND b.type IN ('D', 'I')
"""
_JOBS = """
SELECT COUNT(*) AS failed FROM msdb.dbo.sysjobs AS j
WHERE j.enabled = 1 AND 0 = (
  SELECT TOP (1) h.run_status FROM msdb.dbo.sysjobhistory AS h
  WHERE h.job_id = j.job_id AND h.step_id = 0 ORDER BY h.instance_id DESC)
"""

_DEADLOCKS = "Number of Deadlocks/sec"
_LOG_USED = "Log File(s) Used Size (KB)"
_ONLINE = 0
_EXPRESS = 4
_RIGHT_MISSING = frozenset({229, 230, 262, 297, 300, 371, 916, 15247, 15562})


class _Look(NamedTuple):
    """What the questions of one look share."""

    ask: Ask
    grantee: str
    """The login as T-SQL writes it."""
    missing: list[Missing]


class Refused(Exception):
    """The server answered one question with an error."""

    def __init__(self, number: int, text: str) -> None:
        super().__init__(text)
        self.number = number


def look_into(ask: Ask, rule: DatabaseRule) -> State:
    """One look over a connection to master; raises Unreachable, Blind, Refused."""
    began = monotonic()
    ask("SELECT 1")
    latency_s = monotonic() - began
    look = _Look(ask, _grantee(rule.user), [])
    [(edition, version, *may_view, any_database)] = ask(_RIGHTS)
    identity, state, dormant, age_min = _database(look, rule.database, sees_all=any_database == 1)
    sees = 1 in may_view
    if not sees:
        look.missing.append(_no_view(look.grantee))
    online = state == _ONLINE
    counters = _counters(look, rule.database) if sees else {}
    files = _files(look, identity, _FILES if sees and online and not dormant else _FILES_ALONE)
    used = _used(look, rule.database) if online and not dormant and files else None
    limit = express_limit(version) if edition == _EXPRESS else None
    connections, blocked = _sessions(look, identity) if sees else (None, None)
    return State(
        latency_s,
        online,
        *space(files, used, _log_used(counters), limit),
        connections=connections,
        blocked=blocked,
        deadlocks=counters.get(_DEADLOCKS),
        backup_age_s=_backup_age(look, rule.database, age_min),
        jobs_failed=_jobs_failed(look),
        missing=tuple(look.missing),
    )


def _database(look: _Look, name: str, sees_all: bool) -> tuple[int, int, bool, int | None]:
    """(id, state, closed until somebody uses it, age in minutes)."""
    found = look.ask(_STATE, name)
    if not found and sees_all:
        raise Unreachable(f"there is no database '{name}'", "Correct `database`.")
    if not found:
        raise Blind("the login may not see databases", f"GRANT VIEW ANY DATABASE TO {look.grantee}")
    [(identity, state, auto_close, closed, age_min)] = found
    return identity, state, bool(auto_close and closed), age_min


def _log_used(counters: dict[str, float]) -> float | None:
    kilobytes = counters.get(_LOG_USED)
    return None if kilobytes is None else kilobytes * 1024


def _grantee(user: str) -> str:
    return f"[{user.replace(']', ']]')}]" if user else "[the agent's account]"


def _no_view(grantee: str) -> Missing:
    return Missing(
        "deadlocks, log use, sessions, volumes",
        "the right VIEW SERVER STATE is missing",
        f"GRANT VIEW SERVER STATE TO {grantee} (from SQL Server 2022 on VIEW SERVER PERFORMANCE STATE)",
    )


def _tried(look: _Look, what: str, do: str, ask: Callable[[], T], otherwise: T) -> T:
    try:
        return ask()
    except Refused as refusal:
        grant = do if refusal.number in _RIGHT_MISSING else "Read the server's error log."
        look.missing.append(Missing(what, f"{refusal.number}: {refusal}", grant))
        return otherwise


def _counters(look: _Look, database: str) -> dict[str, float]:
    def ask() -> dict[str, float]:
        return {name: float(value) for name, value in look.ask(_COUNTERS, database)}

    return _tried(look, "deadlocks, log use", f"GRANT VIEW SERVER STATE TO {look.grantee}", ask, {})


def _sessions(look: _Look, identity: int) -> _Sessions:
    def ask() -> _Sessions:
        [(sessions, allowed, blocked)] = look.ask(_SESSIONS, identity)
        return (sessions / allowed if allowed else None), number(blocked)

    do = f"GRANT VIEW SERVER STATE TO {look.grantee}"
    nothing: _Sessions = (None, None)
    return _tried(look, "sessions", do, ask, nothing)


def _files(look: _Look, identity: int, statement: str) -> Sequence[File]:
    do = f"GRANT VIEW ANY DEFINITION TO {look.grantee}"
    rows = _tried(look, "sizes", do, lambda: look.ask(statement, identity), None)
    if rows is not None and not rows:  # without the right there is no error: nothing is shown
        look.missing.append(Missing("sizes", "the right VIEW ANY DEFINITION is missing", do))
    return [File.of_row(row) for row in rows or ()]


def _used(look: _Look, database: str) -> float | None:
    statement = _USED.format(database.replace("]", "]]"))
    do = (
        f"GRANT CONNECT ANY DATABASE TO {look.grantee} (before SQL Server 2014: CREATE USER in the database);"
        f" GRANT VIEW SERVER STATE TO {look.grantee}"
    )
    pages = _tried(look, "used space", do, lambda: number(look.ask(statement)[0][0]), None)
    return None if pages is None else pages * 8192


def _in_msdb(look: _Look, *tables: str) -> str:
    grants = "; ".join(f"GRANT SELECT ON dbo.{table} TO {look.grantee}" for table in tables)
    return f"USE msdb; CREATE USER {look.grantee} FOR LOGIN {look.grantee}; {grants}"


def _backup_age(look: _Look, database: str, age_min: int | None) -> float | None:
    def ask() -> float | None:
        [(minutes,)] = look.ask(_BACKUP, database)
        known = age_min if minutes is None else minutes
        return None if known is None else max(0, known) * 60.0

    return _tried(look, "last backup", _in_msdb(look, "backupset"), ask, None)


def _jobs_failed(look: _Look) -> float | None:
    def ask() -> float | None:
        return number(look.ask(_JOBS)[0][0])

    return _tried(look, "failed jobs", _in_msdb(look, "sysjobs", "sysjobhistory"), ask, None)
