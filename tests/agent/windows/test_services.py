"""Windows services as the service check sees them: state, start mode, crashes."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from agent.checks.service import (
    CRASHES,
    ServiceCheck,
    ServiceRule,
    ServiceState,
    WindowsService,
    WindowsServices,
    crashed,
    found_by_default,
    of_windows,
)
from agent.events.winlog import WindowsFeed
from tests.agent.windows.evtlog import EvtLog
from tests.agent.windows.scm import Scm
from tests.agent.windows.world import REAL, World, on_windows

RUNNING = WindowsService(4, 2, False, False, "UCX Core")


class Registry:
    """winreg, as far as it is asked: which services have triggers."""

    HKEY_LOCAL_MACHINE = 0x80000002

    def __init__(self) -> None:
        self.triggers: dict[str, int] = {}

    def module(self) -> Any:
        return SimpleNamespace(
            HKEY_LOCAL_MACHINE=self.HKEY_LOCAL_MACHINE, OpenKey=self.open, QueryInfoKey=lambda key: key.info
        )

    def open(self, root: int, path: str) -> Any:
        assert root == self.HKEY_LOCAL_MACHINE
        prefix, _, rest = path.partition("Services\\")
        assert prefix == "SYSTEM\\CurrentControlSet\\"
        name, _, leaf = rest.partition("\\")
        assert leaf == "TriggerInfo"
        if name not in self.triggers:
            raise FileNotFoundError(2, "The system cannot find the file specified")
        return Key(self.triggers[name])


class Key:
    """A registry key; closed by ``with``."""

    def __init__(self, subkeys: int) -> None:
        self.info = (subkeys, 0, 0)

    def __enter__(self) -> Key:
        return self

    def __exit__(self, *_: object) -> None: ...


class Bench:
    """Services, their triggers and the event log of one Windows."""

    def __init__(self, scm: Scm, log: EvtLog, registry: Registry, modules: list[Any]) -> None:
        self.scm = scm
        self.system = log.channels["System"]
        self.log = log
        self.registry = registry
        self.services, eventlog = modules
        self.uptime_s = 86_400.0
        feed = WindowsFeed(CRASHES, eventlog.SystemEventLog())
        self.manager = WindowsServices(
            self.services.look, self.services.installed, feed, lambda: self.uptime_s
        )

    def states(self, *names: str) -> dict[str, ServiceState]:
        return dict(self.manager.states(names))


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    if REAL:
        pytest.skip("over the fakes; the real manager has a test of its own")
    world, registry = World(), Registry()
    scm, log = Scm(world, admin=False), EvtLog(world)
    world.modules["winreg"] = registry.module()
    with on_windows(world, monkeypatch, "agent.windows.services", "agent.windows.eventlog") as modules:
        yield Bench(scm, log, registry, modules)
    assert set(world.left_open()) <= {"subscription", "event", "metadata"}


def test_services_that_should_run_and_do_not_are_seen(bench: Bench) -> None:
    """No administrator is needed; what is manual, disabled, triggered or not installed says nothing."""
    bench.scm.add("UcxCore")
    bench.scm.add("UcxDown", state=1)
    bench.scm.add("UcxManual", start=3, state=1)
    bench.scm.add("UcxOff", start=4, state=1)
    bench.scm.add("UcxTrigger", state=1)
    bench.registry.triggers["UcxTrigger"] = 2
    names = ["UcxCore", "UcxDown", "UcxManual", "UcxOff", "UcxTrigger", "UcxNone"]
    check = ServiceCheck(bench.manager, [ServiceRule(name) for name in names])
    running = [v for c, v in zip(*check.read(1.0), strict=True) if c.metric == "ucx.service.running"]
    assert running == [1, 0, None, None, None, None]


@pytest.mark.parametrize(
    ("found", "uptime_s", "running", "automatic"),
    [
        (RUNNING, 10, True, True),
        (RUNNING._replace(state=1), 10, False, True),
        (RUNNING._replace(state=1, delayed=True), 10, False, False),
        (RUNNING._replace(state=1, delayed=True), 700, False, True),
        (RUNNING._replace(state=2, delayed=True), 10, False, True),
        (RUNNING._replace(state=5), 10, True, True),
        (RUNNING._replace(state=7), 10, False, True),
        (RUNNING._replace(triggered=True), 10, True, False),
    ],
    ids=["runs", "down", "delayed-early", "delayed-late", "hangs", "continues", "paused", "triggered"],
)
def test_what_a_state_means(found: WindowsService, uptime_s: float, running: bool, automatic: bool) -> None:
    """A service of delayed start is given ten minutes; one that hangs while starting does not run."""
    assert of_windows(found, uptime_s, 0) == ServiceState(running, automatic, 0)


def test_crashes_are_counted_from_the_event_log(bench: Bench) -> None:
    """7031 and 7034 name the service as people see it; those before the agent started do not count."""
    bench.scm.add("UcxCore").display = "UCX Core"
    bench.scm.add("UcxCoreGw").display = "UCX Core Gateway"
    bench.system.write(7031, "UCX Core")
    assert bench.states("UcxCore")["UcxCore"].restarts == 0
    bench.system.write(7031, "UCX Core")
    bench.system.write(7034, "UCX Core Gateway")
    bench.system.write(7036, "UCX Core")
    states = bench.states("UcxCore", "UcxCoreGw")
    assert (states["UcxCore"].restarts, states["UcxCoreGw"].restarts) == (1, 1)
    bench.log.down = True
    assert bench.states("UcxCore")["UcxCore"] == ServiceState(True, True, None)
    bench.log.down = False
    bench.system.write(7034, "UCX Core")
    assert bench.states("UcxCore")["UcxCore"].restarts == 2


def test_a_manager_that_refuses_fails_the_check(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its words and number; no handle stays open."""

    def refuse(*_: Any) -> Any:
        raise bench.services.pywintypes.error(1115, "OpenService", "A system shutdown is in progress.")

    monkeypatch.setattr(bench.services.win32service, "OpenService", refuse)
    with pytest.raises(OSError, match=r"service manager: A system shutdown is in progress\. \(1115\)"):
        bench.states("UcxCore")


def test_a_service_that_hides_itself_costs_the_others_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its own access list may refuse us: no value, said once. It was the whole check that failed."""
    bench.scm.add("UcxCore")
    bench.scm.add("Hidden")
    ask = bench.services.win32service.OpenService

    def refuse(manager: Any, name: str, access: int) -> Any:
        if name == "Hidden":
            raise bench.services.pywintypes.error(5, "OpenService", "Access is denied.")
        return ask(manager, name, access)

    monkeypatch.setattr(bench.services.win32service, "OpenService", refuse)
    for _ in range(3):
        assert set(bench.states("UcxCore", "Hidden")) == {"UcxCore"}
    assert len(caplog.records) == 1


def test_iis_and_sql_server_are_watched_without_being_named(bench: Bench) -> None:
    """Under the classes of the default rules; what the configuration names keeps its own class, and the
    database that Windows keeps for itself wakes nobody."""
    for name in ("W3SVC", "WAS", "MSSQLSERVER", "MSSQL$SQLEXPRESS", "MSSQL$MICROSOFT##WID", "Spooler"):
        bench.scm.add(name)
    mine = [ServiceRule("mssqlserver", "core"), ServiceRule("w3*")]
    rules = found_by_default(bench.services.installed(), mine)
    assert rules == (
        ServiceRule("WAS", "web"),
        ServiceRule("MSSQL$SQLEXPRESS", "database"),
    )


def test_a_pattern_means_the_services_that_are_installed(bench: Bench) -> None:
    """Those that a rule names keep its class; one that an update adds is found within ten minutes."""
    for name in ("UCXCore", "UCXGateway", "Spooler"):
        bench.scm.add(name)
    check = ServiceCheck(bench.manager, [ServiceRule("ucx*", "other"), ServiceRule("UCXCore", "core")])

    def watched() -> dict[str, str]:
        return {
            dict(c.attributes)["ucx.service.name"]: c.attributes[-1][1] for c in check.read(0.0).columns[::2]
        }

    assert watched() == {"UCXCore": "core", "UCXGateway": "other"}
    bench.scm.add("UCXNew")
    for _ in range(20):
        names = watched()
    assert set(names) == {"UCXCore", "UCXGateway", "UCXNew"}
    assert check.read(0.0).columns is check.read(30.0).columns


def test_the_longest_name_in_a_message_is_meant() -> None:
    """One service's name may begin another's; a service without a name is never meant."""
    displays = {"a": "UCX", "b": "UCX Core", "c": ""}
    assert crashed(["The UCX Core service ended", "UCX ended", "Spooler ended"], displays) == {"a": 1, "b": 1}


@pytest.mark.skipif(not REAL, reason="the real service manager is on Windows only")
def test_real_services_are_read() -> None:  # pragma: no cover - on Windows only
    """The event log's own service is everywhere and runs."""
    services = import_module("agent.windows.services")
    assert services.look(["EventLog"])["EventLog"].state == 4
    assert "EventLog" in services.installed()
