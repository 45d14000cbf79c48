"""What only one system has is imported on that system alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WINDOWS = {
    *(
        "pywintypes",
        "servicemanager",
        "win32api",
        "win32con",
        "win32event",
        "win32evtlog",
        "win32file",
        "win32net",
    ),
    *("win32pdh", "win32security", "win32service", "win32serviceutil", "winreg", "msvcrt"),
}
POSIX = {"fcntl", "pwd", "grp", "resource"}
FILES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "agent").rglob("*.py"))


def guarded(tree: ast.Module) -> bool:
    """The module begins with ``assert sys.platform == "win32"``: who imports it must be on Windows."""
    return any(
        isinstance(node, ast.Assert) and ast.unparse(node.test) == "sys.platform == 'win32'"
        for node in tree.body
    )


@cache
def ours_of_windows() -> frozenset[str]:
    """Modules of ours that only Windows can load."""
    found = set()
    for file in FILES:
        if guarded(ast.parse((ROOT / file).read_text(encoding="utf-8"))):
            found.add(file.removesuffix(".py").replace("/", "."))
    return frozenset(found)


def imports(node: ast.AST, system: str | None = None) -> Iterator[tuple[str, str | None, int]]:
    """(module, system that a branch around it is for, line)."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from ((name.name, system, child.lineno) for name in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield child.module or "", system, child.lineno
            yield from ((f"{child.module}.{name.name}", system, child.lineno) for name in child.names)
        elif isinstance(child, ast.If) and (only := system_of(child.test)):
            yield from imports(ast.Module(child.body, []), only)
            yield from imports(ast.Module(child.orelse, []), f"not {only}")
        else:
            yield from imports(child, system)


def system_of(test: ast.expr) -> str | None:
    """The system that a condition asks for, if it does."""
    text = ast.unparse(test)
    return "win32" if text == "sys.platform == 'win32'" else None


@pytest.mark.parametrize("file", FILES)
def test_imports_of_one_system_stand_in_its_branch(file: str) -> None:
    """pywin32, winreg and our modules over them only under ``sys.platform == "win32"``; fcntl and the like
    only outside of it. So the agent starts everywhere, and type checkers see each branch.

    Broken twin: ``import win32api`` at the head of agent/run.py fails here."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    everywhere = "win32" if guarded(tree) else None
    only_windows = WINDOWS | ours_of_windows()
    wrong = [
        f"{file}:{line}: {name}"
        for name, system, line in imports(tree, everywhere)
        if (name in only_windows and system != "win32")
        or (name in POSIX and system == "win32")
        or (name in POSIX and system is None and not file.startswith("agent/sources/linux"))
    ]
    assert wrong == []


def test_the_guarded_modules_are_the_ones_that_the_package_names() -> None:
    """agent/windows/__init__.py lists what needs pywin32, and what is pure."""
    said = (ROOT / "agent" / "windows" / "__init__.py").read_text(encoding="utf-8")
    _, _, listed = said.partition("pywin32  ")
    names = {f"agent.windows.{name.strip()}" for name in listed.splitlines()[0].split(",")}
    assert names == ours_of_windows()
