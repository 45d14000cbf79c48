"""The Windows service: what is installed, who may read its files, how it answers the service manager.

On Linux the code of Windows runs over strict fakes of pywin32 (tests/agent/windows/world.py).
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.main import main
from agent.options import Options
from agent.windows import lifecycle, service
from agent.windows.command import perform, spec
from agent.windows.lifecycle import Control, Phase, State
from agent.windows.rights import (
    ADMINISTRATORS,
    SERVICE,
    SYSTEM,
    TRUSTED_INSTALLER,
    Ace,
    service_sid,
    strangers,
)
from agent.windows.service import NotAllowed, NotInstalled, Place, ServiceError, Unsuitable
from tests.agent.collector import Collector, Ledger
from tests.agent.windows.dispatcher import Dispatcher
from tests.agent.windows.files import ADMINISTRATOR, EVERYBODY, Files
from tests.agent.windows.scm import Scm
from tests.agent.windows.world import REAL, World, on_windows

PLACE = Place(
    r"C:\Program Files\Python312\python.exe",
    r"C:\Program Files\UCX Agent\Lib\site-packages\agent\windows\host.py",
    r"C:\Program Files\UCX Agent\Lib\site-packages",
)
fakes_only = pytest.mark.skipif(REAL, reason="on Windows this would change the machine's own services")


class Host:
    """A Windows on which an administrator (or nobody of note) works."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, *, admin: bool = True) -> None:
        self.world = World()
        self.scm = Scm(self.world, admin=admin)
        self.files = Files(self.world, admin=admin)
        self.options = Options(tmp_path / "UCX Agent", tmp_path / "agent.yaml", False)
        self._monkeypatch = monkeypatch

    @contextmanager
    def modules(self) -> Iterator[tuple[Any, Any]]:
        with on_windows(self.world, self._monkeypatch, "agent.windows.scm", "agent.windows.acl") as found:
            self._monkeypatch.setattr(found[0], "_BETWEEN_LOOKS_S", 0.0)
            yield found[0].SystemManager(), found[1]

    def perform(self, action: str) -> str:
        with self.modules() as (manager, access):
            self.files.accounts[service_sid(SERVICE)] = (SERVICE, "NT SERVICE", 5)
            return "\n".join(perform(action, self.options, manager, access, PLACE))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Host]:
    made = Host(monkeypatch, tmp_path)
    yield made
    assert made.world.left_open() == []


# ---- what is installed --------------------------------------------------------------------------------


@fakes_only
def test_a_service_is_installed_as_documented(host: Host) -> None:
    """Virtual account, delayed start, restarts after 1, 5 and 15 minutes, time to end at shutdown, no
    privilege but the one that everybody has."""
    said = host.perform("install")
    assert "installed" in said
    entry = host.scm.entries[SERVICE]
    assert (entry.account, entry.start) == (r"NT SERVICE\UCXAgent", 2)
    assert entry.more[2]["Actions"] == ((1, 60_000), (1, 300_000), (1, 900_000))
    assert (entry.more[3], entry.more[4], entry.more[5]) == (True, True, 1)
    assert entry.more[6] == ("SeChangeNotifyPrivilege",)
    assert entry.more[7] == 20_000
    assert entry.command == (
        r'"C:\Program Files\Python312\python.exe" -I -S'
        r' "C:\Program Files\UCX Agent\Lib\site-packages\agent\windows\host.py"'
        r' --site "C:\Program Files\UCX Agent\Lib\site-packages"'
        f" --state-dir {subprocess.list2cmdline([str(host.options.state_dir)])}"
    )


@fakes_only
def test_its_directory_is_open_to_system_administrators_and_the_service_only(host: Host) -> None:
    """Nothing is inherited from ProgramData, where users may write; what is made in it inherits; the service
    itself may not change who may."""
    host.perform("install")
    found = host.files.of(host.options.state_dir)
    assert found.protected
    assert found.owner is not None
    assert found.owner.text == ADMINISTRATORS
    assert found.acl is not None
    masks = {sid.text: mask for _, mask, sid in found.acl.aces}
    assert masks == {SYSTEM: 0x1F01FF, ADMINISTRATORS: 0x1F01FF, service_sid(SERVICE): 0x1301BF}
    assert {flags for (_, flags), _, _ in found.acl.aces} == {3}
    assert host.files.groups["Leistungsüberwachungsbenutzer"] == {service_sid(SERVICE)}


@fakes_only
def test_a_directory_that_was_laid_there_beforehand_is_not_used(host: Host) -> None:
    """Every user may make a directory in ProgramData; its owner could read the key."""
    host.options.state_dir.mkdir()
    host.files.user = "S-1-5-21-1-2-3-1001"
    with host.modules() as (manager, access):
        host.files.user = ADMINISTRATOR
        host.files.known[str(host.options.state_dir)] = host.files.of(Path("elsewhere"))
        host.files.known[str(host.options.state_dir)].owner.text = "S-1-5-21-1-2-3-1001"  # type: ignore[union-attr]
        with pytest.raises(ServiceError, match="no administrator"):
            perform("install", host.options, manager, access, PLACE)
    assert host.scm.entries == {}


@fakes_only
def test_the_whole_life_of_a_service(host: Host) -> None:
    """Install twice (the second brings it up to date), start, reload, stop, remove; nothing stays behind."""
    host.perform("install")
    host.scm.entries[SERVICE].command = "old"
    assert "brought up to date" in host.perform("install")
    assert host.scm.entries[SERVICE].command.startswith('"C:\\Program Files')
    assert host.perform("start") == "Service UCXAgent runs."
    assert host.perform("start") == "Service UCXAgent runs already."
    assert "running, process 4242" in host.perform("status")
    assert "delayed" in host.perform("status")
    assert "anew" in host.perform("reload")
    assert host.perform("stop") == "Service UCXAgent stopped."
    assert host.scm.entries[SERVICE].controls == [6, 1]
    host.perform("start")
    assert "removed" in host.perform("remove")
    assert host.scm.entries == {}
    assert host.files.groups["Leistungsüberwachungsbenutzer"] == set()
    assert "is not installed" in host.perform("remove")


@fakes_only
def test_what_cannot_be_done_is_said_with_what_to_do(host: Host) -> None:
    """Not installed; a start that fails; a reload of what does not run."""
    for action in ("start", "stop", "reload", "status"):
        with pytest.raises(NotInstalled, match="ucx-agent service install"):
            host.perform(action)
    host.perform("install")
    with pytest.raises(ServiceError, match="does not run"):
        host.perform("reload")
    host.scm.entries[SERVICE].starts_to = 1
    host.scm.entries[SERVICE].exit_code = 2
    with pytest.raises(ServiceError, match=r"stopped \(it ended with 2\).*doctor"):
        host.perform("start")
    host.scm.entries[SERVICE].start = 4
    with pytest.raises(ServiceError, match="it is disabled"):
        host.perform("start")


@fakes_only
def test_nobody_but_an_administrator_changes_services(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And is told how to become one; looking is free."""
    host = Host(monkeypatch, tmp_path, admin=False)
    with pytest.raises(NotAllowed, match="Run as administrator"):
        host.perform("install")
    host.scm.add(SERVICE, delayed=True)
    assert "running" in host.perform("status")
    with pytest.raises(NotAllowed):
        host.perform("stop")
    assert host.world.left_open() == []


@pytest.mark.parametrize(
    ("python", "word"),
    [
        (r"C:\Users\ada\AppData\Local\Programs\Python\Python312\python.exe", "profile"),
        (r"C:\Program Files\WindowsApps\PythonSoftwareFoundation.Python.3.12\python.exe", "Store"),
        (r"\\server\share\python.exe", "not on a disk"),
    ],
    ids=["profile", "store", "share"],
)
def test_a_python_that_a_service_cannot_run_is_refused_at_installation(python: str, word: str) -> None:
    """Otherwise it would fail at the start, with an error that says nothing (1053)."""
    with pytest.raises(Unsuitable, match=f"{word}.*all users"):
        service.install(Refusing(), service.ServiceSpec("x"), PLACE._replace(python=python))


class Refusing:
    """A manager that must not be asked."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_paths_with_blanks_reach_the_program_whole() -> None:
    """Windows passes one string; the C library's rules take it apart again."""
    options = Options(Path("/state dir"), Path('/a"b/agent.yaml'), True)
    assert spec(options, PLACE).command.endswith('--state-dir "/state dir" --config /a\\"b/agent.yaml')


@fakes_only
def test_relative_paths_are_made_whole(host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The service starts in another directory than the administrator."""
    monkeypatch.chdir(tmp_path)
    host.options = Options(Path("state"), Path("my.yaml"), True)
    host.perform("install")
    command = host.scm.entries[SERVICE].command
    assert f"--state-dir {tmp_path / 'state'} --config {tmp_path / 'my.yaml'}" in command


def test_flags_that_the_service_would_not_keep_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is dropped silently."""
    assert main(["service", "install", "--proxy", "http://proxy.example.com:3128"]) == 2
    assert "stand in the configuration" in capsys.readouterr().err


@pytest.mark.skipif(REAL, reason="there it works")
def test_elsewhere_the_command_says_what_to_use(capsys: pytest.CaptureFixture[str]) -> None:
    """systemd on Linux."""
    assert main(["service", "install"]) == 1
    assert "systemctl enable --now ucx-agent" in capsys.readouterr().err


# ---- rights -------------------------------------------------------------------------------------------


def test_the_sid_of_a_service_follows_from_its_name() -> None:
    """Held against two that Windows publishes; upper and lower case are one."""
    assert service_sid("TrustedInstaller") == TRUSTED_INSTALLER
    assert service_sid("trustedinstaller") == TRUSTED_INSTALLER
    assert service_sid("MSSQLSERVER") == "S-1-5-80-3880718306-3832830129-1677859214-2598158968-1052248003"


def test_who_may_read_a_private_file() -> None:
    """Entries that deny, or count only for children, let nobody in; no list at all lets everybody in."""
    friends = (SYSTEM,)
    assert strangers([Ace(0, 0, 1, SYSTEM)], friends) == ()
    assert strangers([Ace(0, 0, 1, EVERYBODY), Ace(0, 0, 2, EVERYBODY)], friends) == (EVERYBODY,)
    assert strangers([Ace(1, 0, 1, EVERYBODY), Ace(0, 8, 1, EVERYBODY)], friends) == ()
    assert strangers(None, friends) == (EVERYBODY,)


@fakes_only
@pytest.mark.parametrize("admin", [True, False], ids=["administrator", "user"])
def test_a_key_is_private_on_windows_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, admin: bool
) -> None:
    """Written by an administrator, read by the service: neither finds a stranger in the list. One that others
    may read is not used."""
    host = Host(monkeypatch, tmp_path, admin=admin)
    key = tmp_path / "agent.key"
    with on_windows(host.world, monkeypatch, "agent.windows.acl", "agent.privatefile") as (acl, private):
        private.write_private(key, b"secret")
        host.files.known[str(key)] = host.files.known[str(key) + ".new"]  # a rename takes its list along
        assert key.read_bytes() == b"secret"
        assert not private.exposed_to_others(key)
        if admin:
            host.files.user, host.files.admin = service_sid(SERVICE), False
            assert not private.exposed_to_others(key)
        host.files.known[str(key)].acl.aces.append(  # type: ignore[union-attr]
            ((0, 0), 1, acl.win32security.ConvertStringSidToSid(EVERYBODY))
        )
        assert private.exposed_to_others(key)
        with pytest.raises(OSError, match="cannot find"):
            private.exposed_to_others(tmp_path / "nothing")
    assert host.world.left_open() == []


# ---- answers to the manager ---------------------------------------------------------------------------


@given(st.lists(st.sampled_from([*Control, 99, "ready", "progress"]), max_size=12))
def test_any_order_of_controls_ends_legally(script: list[Any]) -> None:
    """Phases go forward only; the agent is told to stop once; checkpoints never fall while it is pending.

    Broken twin: letting ``ready`` take a stop back (phase STOPPING -> RUNNING) fails here."""
    state, stops = State(), 0
    for step in script:
        before = state
        if step == "ready":
            state, report = lifecycle.ready(state)
        elif step == "progress":
            state, report = lifecycle.progress(state)
        else:
            answer = lifecycle.respond(state, int(step))
            state, report = answer.state, answer.report
            stops += answer.order == "stop"
        assert report.phase is state.phase
        if before.phase is Phase.STOPPING:
            assert state.phase is Phase.STOPPING
            assert report.checkpoint >= before.checkpoint
        assert (report.accepted != 0) == (report.phase is Phase.RUNNING)
        assert (report.wait_hint_ms > 0) == (report.phase is not Phase.RUNNING)
    assert stops == (1 if any(step in lifecycle._ENDINGS for step in script) else 0)


def _serve(
    monkeypatch: pytest.MonkeyPatch, state: Path, play: Any, *, config: str = "{}"
) -> tuple[Dispatcher, str]:
    """The host program from its first line to its last, with ``play`` in the manager's place."""
    world = World()
    Scm(world)
    Files(world)
    dispatcher = Dispatcher(world)
    (state / "agent.yaml").write_text(config)
    handlers = list(logging.getLogger().handlers)
    names = ("agent.windows.acl", "agent.windows.host")
    # Signs of life come as often as they can: they must be legal at any moment.
    with on_windows(world, monkeypatch, *names) as (_, host), monkeypatch.context() as here:
        # The host is loaded; what it runs is this system's agent.
        here.setattr(sys, "platform", "linux")
        here.setattr(host, "_BETWEEN_SIGNS_S", 0.001)
        arguments = ["--site", "x", "--state-dir", str(state), "--config", str(state / "agent.yaml")]
        thread = threading.Thread(target=host.main, args=(arguments,))
        thread.start()
        try:
            play(dispatcher)
        finally:
            thread.join(20)
            for handler in set(logging.getLogger().handlers) - set(handlers):
                logging.getLogger().removeHandler(handler)
                handler.close()
    assert not thread.is_alive()
    return dispatcher, (state / "agent.log").read_text()


@fakes_only
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its process would have ended
@pytest.mark.parametrize("control", [Control.STOP, Control.SHUTDOWN, Control.PRESHUTDOWN])
def test_the_service_measures_and_stops_in_good_order(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, control: Control
) -> None:
    """A real agent under the service's rules: starting, running, stopping, stopped; readings delivered."""
    with Collector(ledger=(ledger := Ledger())) as collector:
        enrol = ["enrol", "--collector", collector.url, "--token", "ucxe_good", "--host-name", "web-1"]
        assert main(["--state-dir", str(tmp_path), *enrol]) == 0

        def play(dispatcher: Dispatcher) -> None:
            dispatcher.wait_for(Phase.RUNNING)
            dispatcher.control(Control.INTERROGATE)
            dispatcher.control(Control.PARAMCHANGE)
            end = time.monotonic() + 30
            while not ledger.batches:  # the event of its start is sent at once
                assert time.monotonic() < end
                time.sleep(0.01)
            dispatcher.control(control)

        dispatcher, log = _serve(monkeypatch, tmp_path, play)
    assert [s.state for s in dispatcher.said if s.state != 4][-1] == 1
    assert dispatcher.said[-1].win32_exit == 0
    assert "read anew" in log
    assert "stopped" in log
    assert json.loads((tmp_path / "status.json").read_text())["stopped"] is True
    assert ledger.batches


@fakes_only
def test_a_log_that_somebody_looks_at_loses_no_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The rename fails: it grows on, and turns over when the person has gone.

    Broken twin: the standard library's handler loses each line from then on."""
    world = World()
    Scm(world)
    Dispatcher(world)
    with on_windows(world, monkeypatch, "agent.windows.host") as (host,):
        log = host.AgentLog(tmp_path / "agent.log", maxBytes=200, backupCount=2, encoding="utf-8")
        with monkeypatch.context() as looking:
            looking.setattr(os, "rename", _refuse)
            for number in range(20):
                log.emit(logging.makeLogRecord({"msg": f"line {number:02} {'x' * 20}"}))
        assert len((tmp_path / "agent.log").read_text().splitlines()) == 20
        log.emit(logging.makeLogRecord({"msg": "after"}))
        log.close()
    assert (tmp_path / "agent.log").read_text() == "after\n"
    assert len((tmp_path / "agent.log.1").read_text().splitlines()) == 20


def _refuse(*_: object) -> None:
    raise PermissionError(13, "The process cannot access the file")


@fakes_only
def test_a_service_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Not enrolled: the log and the event log say what to do; the error makes the manager try again later."""
    dispatcher, log = _serve(monkeypatch, tmp_path, lambda dispatcher: dispatcher.wait_for(1))
    assert dispatcher.said[-1].win32_exit != 0
    assert "ucx-agent enrol" in log
    assert "Traceback" not in log
    assert "ucx-agent enrol" in dispatcher.logged[0]
