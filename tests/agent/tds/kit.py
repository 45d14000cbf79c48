"""A fake SQL Server with its certificate, and rules that lead to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agent.databases import DatabaseRule
from agent.databases.mssql import MssqlDatabase
from tests.agent.tds.model import Model
from tests.agent.tds.server import FakeSqlServer, Script
from tests.agent.tls import Authority


class Site:
    """One folder with an authority, a password and what a test starts."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self.authority = Authority(folder)
        self.certificate = self.authority.certificate()
        self.password_file = folder / "password"
        self.password_file.write_text("secret\n")
        self._stack = stack

    def server(self, model: Callable[..., Any] | None = None, **script: Any) -> FakeSqlServer:
        """A server that runs until the test ends."""
        chosen = Script(**({"certificate": self.certificate} | script))
        return self._stack.enter_context(FakeSqlServer(chosen, model or Model()))

    def rule(self, server: FakeSqlServer, **changes: Any) -> DatabaseRule:
        rule = DatabaseRule(
            "calls",
            "mssql",
            "localhost",
            server.port,
            "ucx_agent",
            "calls",
            self.password_file,
            ca_file=self.authority.ca_file,
        )
        return rule._replace(**changes)

    def database(self, server: FakeSqlServer, **changes: Any) -> MssqlDatabase:
        """Ready to look; closed when the test ends."""
        database = MssqlDatabase(self.rule(server, **changes))
        self._stack.callback(database.close)
        return database


@contextmanager
def opened(folder: Path) -> Iterator[Site]:
    with ExitStack() as stack:
        yield Site(folder, stack)


def allow_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a busy machine does not reach."""
    monkeypatch.setattr("agent.databases.mssql.CONNECT_S", 40.0)
    for name in ("agent.databases.mssql.TOTAL_S", "agent.checks.database.TOTAL_S"):
        monkeypatch.setattr(name, 80.0)
