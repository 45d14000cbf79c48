"""What every world that is killed stands on: a directory, a PostgreSQL, and processes that come back."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml
from psycopg import AsyncConnection

from oncall.simulator.__main__ import DEMO_NUMBER, DEMO_SID, DEMO_TOKEN
from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from tests.oncall.world import free_port

T = TypeVar("T")
Connection = AsyncConnection[Any]
HERE = Path(__file__).parent
READY_S = 60.0


class Ground(ABC):
    """Processes by name, each with a port of its own and a log in the directory. ``twin`` names a broken
    design that the product's own processes run."""

    def __init__(self, names: Iterable[str], twin: str | None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="ucx-kill-"))
        self.directory.chmod(0o755)
        self.server = EmbeddedServer(self.directory / "db")
        self.url = ""
        self.ports = {name: free_port() for name in names}
        self._twin = twin
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @abstractmethod
    def words(self, name: str) -> list[str]:
        """What Python is called with to run this process."""

    # -- the database -----------------------------------------------------------------------------

    def start_database(self) -> None:
        """Start it, and bring it to today's schema."""
        self.url = self.server.start()
        migrate(self.url)

    def crash_database(self) -> None:
        """Immediate mode, which is a crash; then recovery."""
        self.server.stop("immediate")
        assert self.server.start() == self.url, "the processes know the database by this address"

    def ask(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        """Do something with a connection of our own. The database must be up."""

        async def connected() -> T:
            async with await AsyncConnection.connect(self.url, autocommit=True) as conn:
                await conn.execute("SET TimeZone TO 'UTC'")
                return await work(conn)

        return asyncio.run(connected())

    # -- processes --------------------------------------------------------------------------------

    def address(self, name: str) -> str:
        """Where a process listens."""
        return f"http://127.0.0.1:{self.ports[name]}"

    def spawn(self, name: str) -> None:
        """Start a process; it writes on in its log."""
        with (self.directory / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, *self.words(name)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "UCX_DATABASE_URL": self.url},
                cwd=HERE.parent.parent,
                start_new_session=True,
            )

    def kill(self, *victims: str) -> None:
        """SIGKILL them together, and start them again at once."""
        self.end(*victims)
        for victim in victims:
            self.spawn(victim)

    def end(self, *victims: str) -> None:
        """SIGKILL them together, and leave them dead."""
        for victim in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._running[victim].pid, signal.SIGKILL)
        for victim in victims:
            self._running.pop(victim).wait()

    def revive(self) -> None:
        """Start again what has ended by itself (a collector that found no database at its start)."""
        for name in list(self._running):
            if not self._lives(name):
                self.spawn(name)

    def tear_down(self, *, keep: bool) -> None:
        """Stop everything; the directory stays when there is something to look at."""
        self.end(*self._running)
        self.server.stop("immediate")
        if not keep:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _lives(self, name: str) -> bool:
        return name in self._running and self._running[name].poll() is None

    # -- what they are told -----------------------------------------------------------------------

    def _product(self, twins: str, settings: Path) -> list[str]:
        """The product's server, or the broken design of that name out of the module ``twins``."""
        module = ["-m", twins, self._twin] if self._twin else ["-m", "ucx_proactive.main"]
        return [*module, "serve", "--config", str(settings)]

    def _phones(self, name: str, journal: Path, after_s: float) -> list[str]:
        """A phone company at which everybody answers, ``after_s`` seconds after it rings, twenty times as
        fast as in life."""
        words = ["-m", "oncall.simulator", "--port", str(self.ports[name]), "--auto-answer", "--quiet"]
        return [*words, "--after", str(after_s), "--speed", "0.05", "--journal", str(journal)]

    def _provider(self, name: str) -> dict[str, str]:
        """How that phone company is named in settings."""
        return {
            "name": name,
            "base_url": self.address(name),
            "account_sid": DEMO_SID,
            "auth_token": DEMO_TOKEN,
            "from_number": DEMO_NUMBER,
        }

    def _written(self, name: str, settings: dict[str, Any]) -> Path:
        path = self.directory / f"{name}.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        return path


def wait_for(url: str) -> None:
    """Until it answers."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.TransportError):
            if httpx.get(url, timeout=2, trust_env=False).status_code == 200:
                return
        time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within {READY_S:.0f} s")
