"""All that the agent needs on Windows comes as wheels: nothing is compiled on a customer's host."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[3]
EXTRAS = ("postgresql", "mysql", "mssql")


def windows(python: str, extra: str = "") -> dict[str, str]:
    """What markers are asked about."""
    return {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "sys_platform": "win32",
        "os_name": "nt",
        "platform_system": "Windows",
        "platform_machine": "AMD64",
        "extra": extra,
    }


def wanted(requirements: Iterable[str], python: str, extras: Iterable[str] = ()) -> list[Requirement]:
    """Those that count on Windows; pip itself would judge the markers by the system that it runs on."""
    found = []
    for requirement in map(Requirement, requirements):
        marker = requirement.marker
        if marker is None or any(marker.evaluate(windows(python, extra)) for extra in ("", *extras)):
            requirement.marker = None
            found.append(requirement)
    return found


def resolve(requirements: Iterable[Requirement], python: str, folder: Path) -> list[dict[str, Any]] | str:
    """What pip would install from wheels alone; or its words."""
    report = folder / "report.json"
    target = ["--platform", "win_amd64", "--implementation", "cp", "--python-version", python]
    options = ["--dry-run", "--ignore-installed", "--only-binary=:all:", "--target", str(folder / "target")]
    constraints = ["-c", str(ROOT / "constraints.txt")]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "15"),
            *(*options, *target, *constraints, "--report", str(report), *map(str, requirements)),
        ],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    if done.returncode:
        return done.stderr
    installed: list[dict[str, Any]] = json.loads(report.read_text())["install"]
    return installed


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A registry of packages, or a skip."""
    if importlib.util.find_spec("pip") is None:
        pytest.skip("pip is not installed here")
    if not is_reachable(tmp_path_factory.mktemp("probe")):
        pytest.skip(UNREACHABLE)


UNREACHABLE = "no registry of packages is reachable"


def is_reachable(folder: Path) -> bool:
    """A package that is everywhere, and small, can be had."""
    return not isinstance(resolve([Requirement("pycparser")], "3.12", folder), str)


VERSIONS = ("3.11", "3.12", "3.13")


@pytest.fixture(scope="module")
def answers(
    registry: None, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[dict[str, Any]] | str]:
    """What pip would install for each version, asked for together: most of it is waiting."""
    folders = {python: tmp_path_factory.mktemp(f"py{python}") for python in VERSIONS}
    with ThreadPoolExecutor(len(VERSIONS)) as pool:
        found = pool.map(lambda python: everything(python, folders[python]), VERSIONS)
        return dict(zip(VERSIONS, found, strict=True))


def everything(python: str, folder: Path) -> list[dict[str, Any]] | str:
    """The dependencies with all extras of the agent, and what these need in turn there; or pip's words."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = wanted(project["dependencies"], python)
    for extra in EXTRAS:
        asked += wanted(project["optional-dependencies"][extra], python)
    for _ in range(4):
        found = resolve(asked, python, folder)
        if isinstance(found, str) or not (missing := missing_from(found, asked, python)):
            return found
        asked += missing
    return f"still missing: {missing}"


@pytest.mark.parametrize("python", VERSIONS)
def test_every_dependency_has_a_wheel_for_windows(
    python: str, answers: dict[str, list[dict[str, Any]] | str], tmp_path: Path
) -> None:
    """At the pinned versions, with all of the agent's extras, and all that these need in turn on Windows.

    Broken twin: uwsgi, which has no wheel, among the dependencies fails here."""
    found = answers[python]
    if isinstance(found, str):  # a failure only while other things can be had
        assert not is_reachable(tmp_path), found
        pytest.skip(UNREACHABLE)
    names = [str(one["download_info"]["url"]).rsplit("/", 1)[-1] for one in found]
    assert {"pywin32", "tzdata"} <= {one["metadata"]["name"] for one in found}
    assert all(name.endswith(".whl") and ("win_amd64" in name or "-none-any" in name) for name in names)


def missing_from(found: list[dict[str, Any]], asked: Iterable[Requirement], python: str) -> list[Requirement]:
    """What the packages need on Windows and pip left out because this is not Windows."""
    there = {canonicalize_name(one["metadata"]["name"]) for one in found}
    extras = {canonicalize_name(r.name): r.extras for r in asked}
    missing = []
    for one in found:
        name = canonicalize_name(one["metadata"]["name"])
        needs = wanted(one["metadata"].get("requires_dist", []), python, extras.get(name, ()))
        missing += [need for need in needs if canonicalize_name(need.name) not in there]
    return missing
