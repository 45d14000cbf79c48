"""The program that the service control manager starts: the agent under a service's rules.

The manager starts the interpreter itself, isolated (-I -S; service.command_line), so this file first makes
the installed packages known: with them comes pywin32's own start-up, which makes its libraries loadable.
There is no console: the log is ``agent.log`` in the state directory, three files of 1 MB at most; what keeps
the agent from starting stands in the Application event log too.
"""

from __future__ import annotations

import sys

assert sys.platform == "win32"  # read by type checkers too

if __name__ == "__main__":  # pragma: no cover - only the service manager starts it so
    import site
    from pathlib import Path

    if "--site" in sys.argv[:-1]:
        site.addsitedir(sys.argv[sys.argv.index("--site") + 1])
    sys.path.append(str(Path(__file__).resolve().parents[2]))

import argparse
import logging
import threading
from collections.abc import Callable, Sequence
from logging.handlers import RotatingFileHandler
from typing import Any, Protocol

import servicemanager
import win32service
import win32serviceutil

from agent.options import Options
from agent.windows import lifecycle
from agent.windows.lifecycle import Phase, Report, State
from agent.windows.rights import SERVICE

log = logging.getLogger("ucx.service")
_BETWEEN_SIGNS_S = 4.0
_LOG_BYTES, _LOG_FILES = 1 << 20, 2


class Running(Protocol):
    """What the service needs of an agent."""

    def run(self) -> None: ...
    def order(self, word: str) -> None: ...


class Desk:
    """Keeps what was reported; one at a time, for controls come on the manager's own thread."""

    def __init__(self, tell: Callable[[Report], None]) -> None:
        self._tell = tell
        self._lock = threading.Lock()
        self._state = State()

    def ready(self) -> None:
        self._take(lifecycle.ready)

    def progress(self) -> None:
        """A sign of life, while the manager waits for one."""
        if self._state.phase is not Phase.RUNNING:
            self._take(lifecycle.progress)

    def respond(self, control: int) -> str:
        """The order for the agent; empty = none."""
        with self._lock:
            answer = lifecycle.respond(self._state, control)
            self._state = answer.state
            self._tell(answer.report)
            return answer.order

    def _take(self, step: Callable[[State], tuple[State, Report]]) -> None:
        with self._lock:
            self._state, report = step(self._state)
            self._tell(report)


class AgentService(win32serviceutil.ServiceFramework):
    """One run of the service."""

    _svc_name_ = SERVICE
    _svc_display_name_ = SERVICE
    make: Callable[[], Running]
    """Builds the agent; set before the manager is answered."""

    def __init__(self, arguments: Sequence[str]) -> None:
        super().__init__(arguments)
        self._desk = Desk(self._tell)
        self._lock = threading.Lock()
        self._agent: Running | None = None
        self._early: list[str] = []
        """Orders that came before there was an agent."""
        self._over = threading.Event()

    def _tell(self, report: Report) -> None:
        win32service.SetServiceStatus(
            self.ssh,
            (
                win32service.SERVICE_WIN32_OWN_PROCESS,
                int(report.phase),
                report.accepted,
                0,
                0,
                report.checkpoint,
                report.wait_hint_ms,
            ),
        )

    def ServiceCtrlHandlerEx(self, control: int, event_type: int, data: Any) -> None:
        """Called by the manager's thread."""
        order = self._desk.respond(control)
        if not order:
            return
        with self._lock:
            if self._agent is None:
                self._early.append(order)
            else:
                self._agent.order(order)

    def SvcRun(self) -> None:
        """The service's life. When this returns, pywin32 reports it stopped in good order; when it raises,
        stopped with an error: then the manager restarts it after a while."""
        signs = threading.Thread(target=self._give_signs, name="ucx-service", daemon=True)
        signs.start()
        try:
            self._live()
        except Exception as fault:
            log.critical("the agent cannot go on: %s", fault, exc_info=not _is_told(fault))
            servicemanager.LogErrorMsg(f"ucx-agent cannot go on: {fault}")
            raise
        finally:
            self._over.set()
            signs.join()

    def _live(self) -> None:
        agent = type(self).make()
        with self._lock:
            self._agent = agent
            for order in self._early:
                agent.order(order)
        self._desk.ready()
        agent.run()

    def _give_signs(self) -> None:
        while not self._over.wait(_BETWEEN_SIGNS_S):
            self._desk.progress()


def _is_told(fault: Exception) -> bool:
    """Its message says what to do; where it came from is of no use to anybody."""
    from agent.config import ConfigError
    from agent.identity import IdentityError
    from agent.lock import Locked
    from agent.run import BadAddress

    return isinstance(fault, (ConfigError, IdentityError, Locked, BadAddress, OSError))


class _Agent:
    """The agent as the service sees it."""

    def __init__(self, options: Options) -> None:
        from agent.run import Agent

        def make() -> Agent:
            return Agent(options)

        self._make = make
        self._agent = self._make()
        self._last = ""

    def run(self) -> None:
        """Another agent goes on where one ended for that; a stop that came between the two counts."""
        while self._agent.run():
            self._agent = self._make()
            if self._last == "stop":
                self._agent.inbox.put(self._last)

    def order(self, word: str) -> None:
        self._last = word
        self._agent.inbox.put(word)


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer the service control manager; returns when the service has ended."""
    options = _options(arguments)
    _log_to_file(options)
    AgentService.make = staticmethod(lambda: _Agent(options))
    servicemanager.Initialize()
    servicemanager.PrepareToHostSingle(AgentService)
    dispatch: Callable[[], None] = servicemanager.StartServiceCtrlDispatcher  # its stub is not typed
    dispatch()
    return 0


def _options(arguments: Sequence[str] | None) -> Options:
    from pathlib import Path

    from agent.options import default_config_file, default_state_dir

    parser = argparse.ArgumentParser(prog="ucx-agent service", allow_abbrev=False)
    parser.add_argument("--site")
    parser.add_argument("--state-dir", type=Path, default=default_state_dir())
    parser.add_argument("--config", type=Path)
    parsed = parser.parse_args(arguments)
    config = parsed.config or default_config_file()
    return Options(parsed.state_dir, config, parsed.config is not None)


class AgentLog(RotatingFileHandler):
    """Windows renames no file that somebody has open: while a person looks at the log, it goes on growing
    instead of losing every line."""

    def doRollover(self) -> None:
        try:
            super().doRollover()
        except OSError:
            self.stream = self._open()


def _log_to_file(options: Options) -> None:
    """A log that cannot be written does not keep the agent from running."""
    try:
        handler: logging.Handler = AgentLog(
            options.state_dir / "agent.log", maxBytes=_LOG_BYTES, backupCount=_LOG_FILES, encoding="utf-8"
        )
    except OSError:
        handler = logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    logging.getLogger("ucx").setLevel(logging.INFO)
    logging.raiseExceptions = False


if __name__ == "__main__":  # pragma: no cover - only the service manager starts it so
    sys.exit(main())
