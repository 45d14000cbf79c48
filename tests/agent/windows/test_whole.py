"""The agent as Windows composes it: every part of its own in place, over the fakes, on psutil's source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent import supervisor
from agent.checks import service
from agent.checks.own import OwnState
from agent.clock import Timekeeper
from agent.config import Config
from agent.options import default_config_file, default_state_dir
from agent.reading import Column
from agent.selection import make_checks, make_feeds
from agent.sources.portable import PortableSource
from tests.agent.windows.evtlog import EvtLog
from tests.agent.windows.files import Files
from tests.agent.windows.pdh import Pdh
from tests.agent.windows.scm import Scm
from tests.agent.windows.test_iis import serve
from tests.agent.windows.test_services import Registry
from tests.agent.windows.world import REAL, World, on_windows
from wire.batch import Event
from wire.catalogue import load
from wire.clock import utcnow

pytestmark = pytest.mark.skipif(
    REAL, reason="over the fakes; on Windows the rest of the suite does it for real"
)
_OURS = ("acl", "counters", "eventlog", "services")


class Book:
    """Takes events and bookmarks, as the spool does."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.marks: dict[str, str] = {}

    def bookmark(self, feed: str) -> str:
        return self.marks.get(feed, "")

    def put_marked(self, events: list[Event], correction_ms: int, feed: str, bookmark: str) -> bool:
        self.events += events
        self.marks[feed] = bookmark
        return True


class Windows:
    """One host."""

    def __init__(self, world: World) -> None:
        self.scm, self.log, self.pdh, self.files = Scm(world), EvtLog(world), Pdh(world), Files(world)
        self.registry = Registry()
        world.modules["winreg"] = self.registry.module()


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> Iterator[Windows]:
    world = World()
    host = Windows(world)
    with on_windows(world, monkeypatch, *(f"agent.windows.{name}" for name in _OURS)):
        yield host
    assert set(world.left_open()) <= {"subscription", "event", "metadata"}


def checks_of(book: Book, config: Config) -> list[Any]:
    return make_checks(
        config,
        PortableSource(),
        clock_offset_s=lambda: 0.0,
        own_state=lambda: OwnState(0, 0, 0, 0, 0, 0, {}),
        emit=lambda *_: None,
        sink=book,
        stamp=Timekeeper(utcnow),
    )


def test_every_check_reads_without_any_configuration(windows: Windows, tmp_path: Path) -> None:
    """IIS, its services, SQL Server and the event log are there by themselves; all is in the catalogue."""
    for name in ("W3SVC", "WAS", "MSSQL$SQLEXPRESS", "EventLog"):
        windows.scm.add(name)
    serve(windows.pdh)
    book = Book()
    checks = checks_of(book, Config(iis_logs=tmp_path))
    assert {"service", "iis", "events"} <= {check.name for check in checks}
    catalogue = load().metrics
    series: dict[Column, float | None] = {}
    for round_s in (0.0, 30.0):
        for check in checks:
            reading = check.read(round_s)
            assert len(reading.columns) == len(reading.values)
            series |= dict(zip(reading.columns, reading.values, strict=True))
    assert {column.metric for column in series} <= set(catalogue)
    running = {c.attributes: v for c, v in series.items() if c.metric == "ucx.service.running"}
    assert {dict(key)["ucx.service.name"]: dict(key)["ucx.service.class"] for key in running} == {
        "W3SVC": "web",
        "WAS": "web",
        "MSSQL$SQLEXPRESS": "database",
    }
    assert all(value == 1 for value in running.values())


def test_a_crash_reaches_the_spool_as_the_rules_want_it(windows: Windows) -> None:
    """From the System log, with the id and source of the default pack's rule."""
    book = Book()
    (events,) = (check for check in checks_of(book, Config()) if check.name == "events")
    events.read(0.0)
    windows.log.channels["System"].write(7031, "UCX Core")
    windows.log.channels["System"].write(7036, "UCX Core")
    windows.log.channels["Application"].write(9002, "log full", provider="MSSQL$SQLEXPRESS")
    events.read(30.0)
    assert [(e.source, e.event_id) for e in book.events] == [
        ("Service Control Manager", "7031"),
        ("MSSQL$SQLEXPRESS", "9002"),
    ]
    assert "UCX Core" in book.events[0].message
    assert {feed.name for feed in make_feeds(Config(), lambda: 0.0)} == {
        "windows:System",
        "windows:Application",
    }


def test_a_host_without_iis_or_sql_server_has_no_such_series(windows: Windows) -> None:
    """And no fault: nothing is configured, nothing is missing."""
    checks = {check.name: check for check in checks_of(Book(), Config())}
    assert "service" not in checks
    assert checks["iis"].read(0.0).columns == ()


def test_doctor_knows_the_service(windows: Windows) -> None:
    """By the name that Windows has for it."""
    assert supervisor.judge(None).good is False
    monitored = service.for_this_system()
    windows.scm.add(supervisor.NAME, delayed=True)
    assert supervisor.judge(monitored.states([supervisor.NAME])[supervisor.NAME]).good


def test_doctor_says_when_the_logs_of_iis_cannot_be_read(
    windows: Windows, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the command that gives the right."""
    assert supervisor.site_logs(tmp_path) == []

    def refuse(*_: object) -> Any:
        raise PermissionError(13, "Access is denied")

    monkeypatch.setattr("agent.checks.iislog.os.scandir", refuse)
    (found,) = supervisor.site_logs(tmp_path)
    assert "Access is denied" in found.what
    assert "icacls" in found.do


def test_files_lie_where_windows_keeps_programs_data(
    windows: Windows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below ProgramData, wherever that is."""
    for name in ("UCX_AGENT_STATE", "UCX_AGENT_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ProgramData", "/programdata")
    assert default_state_dir() == Path("/programdata/UCX Agent")
    assert default_config_file() == Path("/programdata/UCX Agent/agent.yaml")
