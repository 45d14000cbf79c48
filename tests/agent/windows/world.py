"""A Windows of our own for the code that only Windows runs: pywin32's modules, as strict as the real ones.

Written from the documented Win32 functions and from what pywin32 makes of them (argument order, types,
results, error numbers). Whatever the real ones would refuse, an assertion refuses here: a closed handle used
again, a flag that does not exist, a right that was not asked for. ``on_windows`` puts the modules in place;
on Windows itself the real ones stay.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

REAL = sys.platform == "win32"


class WinError(Exception):
    """pywintypes.error: (number, function, text)."""

    def __init__(self, winerror: int, funcname: str = "", strerror: str = "") -> None:
        super().__init__(winerror, funcname, strerror or f"error {winerror}")
        self.winerror = winerror
        self.funcname = funcname
        self.strerror = strerror or f"error {winerror}"


class Handle:
    """Something that must be closed once and not be used after that."""

    def __init__(self, world: World, kind: str, **content: Any) -> None:
        self.kind = kind
        self.open = True
        self.content = content
        world.handles.append(self)

    def use(self, kind: str) -> dict[str, Any]:
        assert self.open, f"a closed {self.kind} handle was used"
        assert self.kind == kind, f"a {self.kind} handle where a {kind} is wanted"
        return self.content

    def Close(self) -> None:
        assert self.open, f"a {self.kind} handle was closed twice"
        self.open = False


class World:
    """What the fakes share."""

    def __init__(self) -> None:
        self.handles: list[Handle] = []
        self.modules: dict[str, ModuleType] = {}
        self.module("pywintypes", error=WinError)

    def module(self, name: str, **content: Any) -> ModuleType:
        made = self.modules.setdefault(name, ModuleType(name))
        for key, value in content.items():
            setattr(made, key, value)
        return made

    def left_open(self) -> list[str]:
        return [handle.kind for handle in self.handles if handle.open]


@contextmanager
def on_windows(world: World, monkeypatch: pytest.MonkeyPatch, *names: str) -> Iterator[list[Any]]:
    """The named modules of ours as Windows would load them; gone again afterwards."""
    with monkeypatch.context() as patch:
        if not REAL:
            patch.setattr(sys, "platform", "win32")
            for name, module in world.modules.items():
                patch.setitem(sys.modules, name, module)
        parents = {}
        for name in names:
            parent, _, child = name.rpartition(".")
            package = importlib.import_module(parent)
            parents[name] = (package, child, getattr(package, child, None), sys.modules.pop(name, None))
        try:
            yield [importlib.import_module(name) for name in names]
        finally:
            for name, (package, child, attribute, before) in parents.items():
                sys.modules.pop(name, None)
                if before is not None:
                    sys.modules[name] = before
                if attribute is None and hasattr(package, child):
                    delattr(package, child)
                elif attribute is not None:
                    setattr(package, child, attribute)
