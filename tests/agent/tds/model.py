"""A model of a SQL Server behind the fake: its system views as tables, asked in T-SQL.

Statements are parsed as T-SQL, their tables and columns checked against what Microsoft documents, and then
run by SQLite. So a query that names a view or a column that does not exist, or computes nonsense, fails.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import sqlglot
from sqlglot import exp

from tests.agent.tds.server import Refusal
from tests.agent.tds.tokens import Column, Result

Row = dict[str, Any]
NOW = datetime(2026, 11, 23, 6, 0, 0)  # noqa: DTZ001 - GETDATE() has no zone

DOCUMENTED = {
    "sys.databases": "name database_id create_date state state_desc is_auto_close_on is_cleanly_shutdown",
    "sys.master_files": "database_id file_id type name state size max_size growth is_percent_growth",
    "sys.dm_os_volume_stats": "database_id file_id volume_mount_point volume_id total_bytes available_bytes",
    "sys.dm_db_file_space_usage": "database_id file_id total_page_count allocated_extent_page_count",
    "sys.dm_os_performance_counters": "object_name counter_name instance_name cntr_value cntr_type",
    "sys.dm_exec_sessions": "session_id is_user_process status database_id",
    "sys.dm_exec_requests": "session_id status database_id blocking_session_id wait_type",
    "dbo.backupset": "database_name type backup_finish_date is_copy_only",
    "dbo.sysjobs": "job_id name enabled",
    "dbo.sysjobhistory": "instance_id job_id step_id run_status run_date",
}
"""Views and tables with columns of theirs, from Microsoft's documentation."""

_TYPES = {
    "type": "tinyint",
    "state": "tinyint",
    "is_auto_close_on": "bit",
    "is_cleanly_shutdown": "bit",
    "is_percent_growth": "bit",
    "available_bytes": "bigint",
    "pages": "bigint",
    "value": "bigint",
    "volume_mount_point": "nvarchar",
    "version": "nvarchar",
    "name": "nvarchar",
    "counter": "nvarchar",
}
_SETS = re.compile(
    r"\s*(SET (NOCOUNT ON|LOCK_TIMEOUT \d+|DEADLOCK_PRIORITY LOW|TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"
    r"|(ARITHABORT|CONCAT_NULL_YIELDS_NULL|ANSI_\w+|CURSOR_CLOSE_ON_COMMIT|QUOTED_IDENTIFIER) ON"
    r"|TEXTSIZE \d+))?\s*"
)
_NEEDS_STATE = ("dm_os_", "dm_exec_", "dm_db_")


@dataclass
class Model:
    """A SQL Server 2019 Express with one healthy database, and what a test changes about it."""

    edition: int = 4
    version: str = "15.0.2000.5"
    rights: set[str] = field(
        default_factory=lambda: {
            "VIEW SERVER STATE",
            "VIEW ANY DEFINITION",
            "VIEW ANY DATABASE",
            "CONNECT ANY DATABASE",
            "msdb",
        }
    )
    tables: dict[str, list[Row]] = field(default_factory=dict)
    refuse: dict[str, Refusal] = field(default_factory=dict)
    """By a part of the statement."""

    def __post_init__(self) -> None:
        self.tables = healthy() | self.tables

    def __call__(self, statement: str, values: dict[str, object]) -> Result | None:
        for part, refusal in self.refuse.items():
            if part in statement:
                raise refusal
        if statement.lstrip().startswith("SET "):
            bad = [one for one in statement.split(";") if not _SETS.fullmatch(one)]
            if bad:
                raise Refusal(102, f"Incorrect syntax near '{bad[0]}'.", 15)
            return None
        if re.fullmatch(r"use \[master\]", statement):
            return None
        if statement == "SELECT 1":
            return Result([Column("")], [(1,)])
        return self._select(statement, values)

    def _select(self, statement: str, values: dict[str, object]) -> Result:
        try:
            [tree] = sqlglot.parse(statement, read="tsql")
        except (sqlglot.errors.ParseError, ValueError) as fault:
            raise Refusal(102, f"Incorrect syntax: {fault}", 15) from None
        if not isinstance(tree, exp.Select):
            raise Refusal(262, "This server is only to be read.")
        names = [self._flat(table) for table in tree.find_all(exp.Table)]
        tree = tree.transform(self._rewrite, values)
        with sqlite3.connect(":memory:") as store:
            self._fill(store, names)
            try:
                cursor = store.execute(tree.sql(dialect="sqlite"))
            except sqlite3.OperationalError as fault:
                raise Refusal(207, f"{fault} in {tree.sql(dialect='sqlite')}", 16) from None
            columns = [Column(c[0], _TYPES.get(c[0], "int")) for c in cursor.description]
            return Result(columns, cursor.fetchall())

    def _flat(self, table: exp.Table) -> str:
        """Checks rights and existence; the table then has SQLite's one-part name."""
        name, full = table.name, f"{table.db}.{table.name}"
        if full not in DOCUMENTED:
            raise Refusal(208, f"Invalid object name '{full}'.", 16)
        if name.startswith(_NEEDS_STATE) and not self._sees_state():
            raise Refusal(300, f"VIEW SERVER STATE permission was denied on object '{name}'.")
        if table.catalog == "msdb" and "msdb" not in self.rights:
            raise Refusal(229, f"The SELECT permission was denied on the object '{name}', database 'msdb'.")
        if table.catalog not in ("", "msdb") and "CONNECT ANY DATABASE" not in self.rights:
            raise Refusal(916, f'The server principal is not able to access the database "{table.catalog}".')
        if table.catalog not in ("", "msdb") and table.catalog not in self._names():
            raise Refusal(911, f"Database '{table.catalog}' does not exist.")
        return full

    def _sees_state(self) -> bool:
        newer = self.version >= "16" and "VIEW SERVER PERFORMANCE STATE" in self.rights
        return newer or "VIEW SERVER STATE" in self.rights

    def _names(self) -> set[object]:
        return {row["name"] for row in self.tables["sys.databases"]}

    def _rewrite(self, node: exp.Expression, values: dict[str, object]) -> exp.Expression:
        if isinstance(node, exp.Table):
            return exp.to_table(f"{node.db}_{node.name}", alias=node.alias)
        if isinstance(node, exp.Parameter):
            if isinstance(node.this, exp.Parameter):  # @@MAX_CONNECTIONS
                return exp.Literal.number("32767")
            given = values[f"@{node.name}"]
            return exp.Literal.string(given) if isinstance(given, str) else exp.Literal.number(str(given))
        if isinstance(node, exp.CurrentTimestamp):
            return exp.Literal.string(NOW.isoformat(" "))
        if isinstance(node, exp.Join) and isinstance(node.this, exp.Lateral):
            return _joined(node.this)
        return node

    def _fill(self, store: sqlite3.Connection, names: Iterable[str]) -> None:
        store.create_function("SERVERPROPERTY", 1, self._property)
        store.create_function("HAS_PERMS_BY_NAME", 3, self._has)
        for name in {*names, "sys.dm_os_volume_stats"}:
            columns = DOCUMENTED[name].split()
            flat = name.replace(".", "_")
            store.execute(f"CREATE TABLE {flat} ({', '.join(columns)})")
            for row in self._visible(name):
                assert set(row) <= set(columns), row
                marks = ", ".join("?" for _ in columns)
                store.execute(f"INSERT INTO {flat} VALUES ({marks})", [row.get(c) for c in columns])

    def _visible(self, name: str) -> list[Row]:
        if name == "sys.master_files" and "VIEW ANY DEFINITION" not in self.rights:
            return []
        if name == "sys.databases" and "VIEW ANY DATABASE" not in self.rights:
            return []
        return self.tables[name]

    def _property(self, name: str) -> int | str | None:
        told: dict[str, int | str] = {"EngineEdition": self.edition, "ProductVersion": self.version}
        return told.get(name)

    def _has(self, _object: object, _kind: object, right: str) -> int | None:
        if right == "VIEW SERVER PERFORMANCE STATE" and self.version < "16":
            return None  # not known yet
        return int(right in self.rights)


def _joined(lateral: exp.Lateral) -> exp.Join:
    """OUTER APPLY of a function of two columns, as a join on them."""
    function = lateral.this.expression
    one, two = function.expressions
    alias = lateral.alias
    on = f"{alias}.database_id = {one.sql()} AND {alias}.file_id = {two.sql()}"
    table = exp.to_table(f"sys_{function.name}", alias=alias)
    return exp.Join(this=table, side="LEFT", on=sqlglot.parse_one(on))


def healthy() -> dict[str, list[Row]]:
    """System views of a server with the database ``calls`` (id 5): 4 GB of data, half of it used."""
    day_ago = (NOW - timedelta(hours=20)).isoformat(" ")
    pages = 4 * 1024 * 128
    return {
        "sys.databases": [database("master", 1), database("calls", 5)],
        "sys.master_files": [
            {"database_id": 5, "file_id": 1, "type": 0, "size": pages, "max_size": -1, "growth": 8192}
            | {"is_percent_growth": 0},
            {"database_id": 5, "file_id": 2, "type": 1, "size": 131_072, "max_size": 268_435_456}
            | {"growth": 8192, "is_percent_growth": 0},
            {"database_id": 1, "file_id": 1, "type": 0, "size": 512, "max_size": -1, "growth": 10}
            | {"is_percent_growth": 1},
        ],
        "sys.dm_os_volume_stats": [
            {"database_id": 5, "file_id": 1, "volume_mount_point": "D:\\", "available_bytes": 60 << 30},
            {"database_id": 5, "file_id": 2, "volume_mount_point": "L:\\", "available_bytes": 3 << 30},
        ],
        "sys.dm_db_file_space_usage": [{"file_id": 1, "allocated_extent_page_count": pages // 2}],
        "sys.dm_os_performance_counters": [
            counter("Number of Deadlocks/sec", "_Total", 7),
            counter("Number of Deadlocks/sec", "Key", 5),
            counter("Log File(s) Used Size (KB)", "calls", 1 << 20),
            counter("Log File(s) Used Size (KB)", "_Total", 1 << 21),
        ],
        "sys.dm_exec_sessions": [
            *({"session_id": 51 + n, "is_user_process": 1} for n in range(9)),
            {"session_id": 1, "is_user_process": 0},
        ],
        "sys.dm_exec_requests": [
            {"session_id": 51, "database_id": 5, "blocking_session_id": 0},
            {"session_id": 52, "database_id": 5, "blocking_session_id": 51},
            {"session_id": 53, "database_id": 5, "blocking_session_id": 53},
            {"session_id": 54, "database_id": 5, "blocking_session_id": -5},
            {"session_id": 55, "database_id": 6, "blocking_session_id": 51},
        ],
        "dbo.backupset": [
            {"database_name": "calls", "type": "D", "backup_finish_date": day_ago},
            {"database_name": "calls", "type": "L", "backup_finish_date": NOW.isoformat(" ")},
        ],
        "dbo.sysjobs": [{"job_id": n, "enabled": int(n < 4)} for n in range(1, 5)],
        "dbo.sysjobhistory": [
            run(1, 1, status=0),
            run(2, 1, status=1),  # failed, then repaired
            run(3, 2, status=1),
            run(4, 2, status=0),  # fails now
            run(5, 2, status=1, step=1),  # of a step, not of the job
            run(6, 4, status=0),  # of a job that is switched off
        ],
    }


def database(name: str, identity: int, **changes: object) -> Row:
    made = (NOW - timedelta(days=90)).isoformat(" ")
    plain: Row = {"name": name, "database_id": identity, "create_date": made, "state": 0}
    return plain | {"is_auto_close_on": 0, "is_cleanly_shutdown": 0} | changes


def counter(name: str, instance: str, value: int) -> Row:
    return {"counter_name": name, "instance_name": instance, "cntr_value": value}


def run(instance: int, job: int, status: int, step: int = 0) -> Row:
    return {"instance_id": instance, "job_id": job, "step_id": step, "run_status": status}
