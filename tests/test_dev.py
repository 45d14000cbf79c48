"""``./dev``: when it sets up, what it repairs, and what it says when it cannot."""

from __future__ import annotations

import fcntl
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType

import psutil
import pytest

from tests import stages

ROOT = Path(__file__).parent.parent


@pytest.fixture
def dev(tmp_path: Path) -> ModuleType:
    """The script, loaded from a small tree of its own (a copy without the product)."""
    for name in ("dev", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    loader = SourceFileLoader("dev_under_test", str(tmp_path / "dev"))
    spec = importlib.util.spec_from_loader("dev_under_test", loader)
    assert spec
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
    loader.exec_module(module)
    sys.dont_write_bytecode = before
    return module


READY = {"state": "ready", "hash": "h", "root": "/tree"}


@pytest.mark.parametrize(
    ("exists", "runs", "mark", "todo"),
    [
        (False, False, None, "create"),
        (True, True, READY, "nothing"),
        (True, True, READY | {"hash": "older"}, "install"),
        (True, True, READY | {"state": "installing"}, "recreate"),
        (True, True, READY | {"root": "/elsewhere"}, "recreate"),
        (True, False, READY, "recreate"),
        (True, True, {}, "recreate"),
        (True, True, None, "install"),
        (True, False, None, "recreate"),
    ],
    ids=[
        "nothing there",
        "complete",
        "dependencies changed",
        "killed while installing",
        "the tree was moved",
        "its Python is gone",
        "killed while the mark was written",
        "made by somebody else: not deleted",
        "made by somebody else and broken",
    ],
)
def test_the_set_up_decides(
    dev: ModuleType, exists: bool, runs: bool, mark: dict[str, str] | None, todo: str
) -> None:
    """From what is found to what is done, without looking at the world."""
    assert dev.decide(exists, runs, mark, "h", "/tree") == todo


def test_a_complete_set_up_costs_nothing_again(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second start runs no installer; a change of constraints.txt brings one back."""
    steps: list[str] = []
    monkeypatch.setattr(dev, "step", lambda title, command: steps.append(_play(dev, title, command)))
    monkeypatch.setattr(dev.shutil, "which", lambda name: None)
    dev.ensure_venv()
    assert steps == ["making .venv", "installing"]
    dev.ensure_venv()
    assert steps == ["making .venv", "installing"]
    Path(dev.ROOT, "constraints.txt").write_text("# other\n")
    dev.ensure_venv()
    assert steps == ["making .venv", "installing", "installing"]


def test_a_killed_set_up_is_made_anew(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in the middle of the installation, the half is thrown away, not built upon."""

    def killed(title: str, command: list[str]) -> None:
        _play(dev, title, command)
        if title == "installing":
            raise KeyboardInterrupt

    monkeypatch.setattr(dev.shutil, "which", lambda name: None)
    monkeypatch.setattr(dev, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        dev.ensure_venv()
    half = Path(dev.VENV, "half-a-package")
    half.touch()
    monkeypatch.setattr(dev, "step", lambda title, command: _play(dev, title, command))
    dev.ensure_venv()
    assert not half.exists()
    assert json.loads(Path(dev.MARK).read_text())["state"] == "ready"


def test_of_a_linked_venv_that_belongs_elsewhere_the_link_alone_goes(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another tree's .venv, linked here, is not ours to empty (before: a traceback, and nothing set up)."""
    monkeypatch.setattr(dev.shutil, "which", lambda name: None)
    monkeypatch.setattr(dev, "step", lambda title, command: _play(dev, title, command))
    others = tmp_path / "others"
    (others / "bin").mkdir(parents=True)
    (others / Path(dev.MARK).name).write_text(json.dumps(READY))
    Path(dev.VENV).symlink_to(others)
    dev.ensure_venv()
    assert (others / "bin").exists()
    assert not Path(dev.VENV).is_symlink()
    assert json.loads(Path(dev.MARK).read_text())["state"] == "ready"


def test_without_ensurepip_pip_works_from_outside(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Debian cuts ensurepip out: .venv is made without pip, and the system's pip fills it."""
    commands: list[list[str]] = []
    monkeypatch.setattr(dev, "has", lambda module: module == "pip")
    monkeypatch.setattr(dev, "step", lambda title, command: commands.append(command))
    pip = dev.Pip()
    pip.create()
    pip.install()
    assert "--without-pip" in commands[0]
    assert commands[1][:5] == [sys.executable, "-m", "pip", "--python", dev.in_venv("python")]


def test_without_any_installer_it_says_what_to_install(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither ensurepip nor pip: the message names the packages."""
    monkeypatch.setattr(dev, "has", lambda module: False)
    with pytest.raises(dev.Failure, match="apt install python3-venv, or python3-pip"):
        dev.Pip().command()


def test_uv_first_and_pip_when_uv_cannot(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """uv does not read pip's configuration: where only pip knows the way to the packages, pip takes over."""
    used: list[str] = []

    def play(title: str, command: list[str]) -> None:
        used.append(Path(command[0]).name)
        _play(dev, title, command)
        if command[0] == "uv" and "install" in command:
            raise dev.Failure("no route to the index")

    monkeypatch.setattr(dev, "step", play)
    monkeypatch.setattr(dev.shutil, "which", lambda name: "/usr/bin/uv" if name == "uv" else None)
    dev.ensure_venv()
    assert used[:2] == ["uv", "uv"]
    assert used[2:] == [Path(sys.executable).name, "python"]


def test_an_old_python_is_told_which_one_it_needs(dev: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no newer Python on the PATH the message names the versions; with one, the script goes on in it."""
    monkeypatch.setattr(dev.sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(dev.shutil, "which", lambda name: None)
    with pytest.raises(dev.Failure, match=r"this is Python 3\.9; Python 3\.11 to 3\.13 is needed"):
        dev.require_python()
    started: list[str] = []
    monkeypatch.setattr(dev.shutil, "which", lambda name: f"/bin/{name}" if name == "python3.12" else None)
    monkeypatch.setattr(dev.os, "execv", lambda path, arguments: started.append(path))
    monkeypatch.setattr(dev.os, "environ", {})
    with pytest.raises(dev.Failure):  # execv never returns in earnest
        dev.require_python()
    assert started == ["/bin/python3.12"]


def test_two_at_once_wait_for_each_other(dev: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The second says that it waits, and goes on when the first is done."""
    path = os.path.join(dev.WORK, "setup.lock")
    script = f"import runpy; runpy.run_path({dev.__file__!r}, run_name='x')['Lock']({path!r}).__enter__()"
    with dev.Lock(path):
        waiting = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.PIPE, text=True)
        assert waiting.stderr
        assert "waiting" in waiting.stderr.readline()
        assert waiting.poll() is None
    waiting.communicate(timeout=30)
    assert waiting.returncode == 0


def test_an_installer_that_outlives_its_dev_keeps_the_lock(dev: ModuleType) -> None:
    """./dev is killed while pip works: the next one waits until that pip has ended."""
    path = os.path.join(dev.WORK, "setup.lock")
    script = (
        f"import runpy; dev = runpy.run_path({dev.__file__!r}, run_name='x')\n"
        f"with dev['Lock']({path!r}): dev['step']('sleeping', ['sh', '-c', 'sleep 0.5; touch ended'])"
    )
    killed = subprocess.Popen([sys.executable, "-c", script])
    ended = Path(dev.ROOT, "ended")
    while not _locked(path):
        assert killed.poll() is None
    while not _children(killed.pid):
        assert killed.poll() is None
    killed.kill()
    killed.wait()
    with dev.Lock(path):
        assert ended.exists()


@pytest.mark.parametrize("arguments", [[], ["--help"], ["help"], ["setup", "--help"], ["clean", "-h"]])
def test_help_needs_no_set_up(arguments: list[str]) -> None:
    """Help comes at once, before anything is installed."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "dev"), *arguments], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("./dev")


def test_an_unknown_command_says_what_there_is() -> None:
    """One line, no traceback."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "dev"), "tset"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stderr.startswith("dev: no command 'tset'. There are: setup, demo, test")


def test_programs_that_tests_ask_for_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test names, only what we know a package for, only what is not there."""
    asking = '@pytest.mark.needs("{}")\n'
    (tmp_path / "test_a.py").write_text(
        asking.format("sipp") + asking.format("chromium") + asking.format("vi")
    )
    (tmp_path / "test_b.py").write_text('@pytest.mark.needs("amtool", "prometheus")\n')
    (tmp_path / "conftest.py").write_text(asking.format("promtool"))  # speaks of the marker, has no test
    monkeypatch.setattr("shutil.which", lambda name: "/bin/x" if name == "chromium" else None)
    assert stages.missing_programs(tmp_path) == ["amtool", "prometheus", "sipp"]


def test_the_real_amtool_and_prometheus_are_installed_for_their_tests(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a Debian that has neither, what the integration tests ask for comes to these two packages.

    Broken twin: with amtool missing from ``DEBIAN_PACKAGES``, its tests were skipped for ever."""
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name: "/bin/x" if name == "apt-get" else None)

    def apt(arguments: tuple[str, ...], limit_s: float) -> str:
        asked.append(arguments)
        return ""

    monkeypatch.setattr(stages, "_apt", apt)
    stages.install(stages.missing_programs(ROOT / "tests" / "alerting"))
    installed = [arguments[-1] for arguments in asked if arguments[0] == "install"]
    assert installed == ["prometheus", "prometheus-alertmanager"]


def test_a_package_that_cannot_be_had_does_not_stop_the_tests(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """apt-get fails: it is said, and nothing is raised."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name: "/bin/x")
    monkeypatch.setattr(stages, "_apt", lambda arguments, limit_s: "no network")
    stages.install(["sipp"])
    assert "sip-tester could not be installed (no network). Its tests are skipped." in capsys.readouterr().out


def test_an_ordinary_user_is_told_what_is_skipped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only root installs packages."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    stages.install(["sipp"])
    assert "only root on Debian can: sipp" in capsys.readouterr().out


def _children(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if child.name() == "sh"]


def _locked(path: str) -> bool:
    try:
        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _play(dev: ModuleType, title: str, command: list[str]) -> str:
    """Does what an installer would leave behind."""
    python = Path(dev.in_venv("python"))
    python.parent.mkdir(parents=True, exist_ok=True)
    python.touch()
    if "pip" in command or "venv" in command:
        Path(dev.in_venv("pip")).touch()
    return title
