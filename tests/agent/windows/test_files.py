"""Files on Windows: opened so that nobody is in the way, replaced though somebody looks, closed to others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.windows.rights import ADMINISTRATORS, SERVICE, SYSTEM, service_sid
from tests.agent.windows.files import ADMINISTRATOR, Files
from tests.agent.windows.world import REAL, Handle, WinError, World, on_windows

pytestmark = pytest.mark.skipif(REAL, reason="over fakes: on Windows the suite itself runs on these files")


class SharedFiles:
    """win32file and msvcrt, as far as logs are opened by them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._descriptors: dict[int, int] = {}
        names = ("FILE_SHARE_READ", "FILE_SHARE_WRITE", "FILE_SHARE_DELETE", "GENERIC_READ", "OPEN_EXISTING")
        values = (1, 2, 4, -2147483648, 3)
        world.module("win32con", FILE_ATTRIBUTE_NORMAL=0x80, **dict(zip(names, values, strict=True)))
        world.module("win32file", CreateFile=self.create)
        world.module("msvcrt", open_osfhandle=self.open_osfhandle)

    def create(
        self, path: str, access: int, share: int, security: Any, how: int, flags: int, template: Any
    ) -> Any:
        assert isinstance(path, str)
        assert access == -2147483648, "to read only"
        assert share == 7, "readers, writers and renaming are allowed"
        assert (security, how, flags, template) == (None, 3, 0x80, None)
        if path.endswith("denied.log"):
            raise WinError(5, "CreateFile", "Access is denied.")
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            raise WinError(2, "CreateFile", "The system cannot find the file specified.") from None
        handle = Handle(self._world, "file")
        number = id(handle) % 100_000
        self._descriptors[number] = descriptor

        def detach() -> int:
            handle.Close()  # it belongs to the caller now
            return number

        handle.Detach = detach  # type: ignore[attr-defined]
        return handle

    def open_osfhandle(self, handle: int, flags: int) -> int:
        assert isinstance(handle, int)
        return self._descriptors.pop(handle)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    world = World()
    SharedFiles(world)
    monkeypatch.setattr(os, "O_BINARY", 0, raising=False)
    with on_windows(world, monkeypatch, "agent.sharedfile") as (module,):
        yield module
    assert world.left_open() == []


def test_a_log_is_opened_so_that_it_can_rotate(shared: Any, tmp_path: Path) -> None:
    """All sharing allowed; read as bytes; closed by ``with``."""
    log = tmp_path / "app.log"
    log.write_bytes(b"one\r\ntwo\r\n")
    with shared.open_shared(log) as file:
        log.rename(tmp_path / "app.log.1")
        assert file.read() == b"one\r\ntwo\r\n"


def test_what_cannot_be_opened_is_an_error_of_the_usual_kind(shared: Any, tmp_path: Path) -> None:
    """The readers tell a log that is not there from one that they may not read."""
    with pytest.raises(FileNotFoundError):
        shared.open_shared(tmp_path / "none.log")
    with pytest.raises(OSError, match="denied") as fault:
        shared.open_shared(tmp_path / "denied.log")
    assert not isinstance(fault.value, FileNotFoundError)


@pytest.fixture
def private(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Files]]:
    world = World()
    files = Files(world)
    with on_windows(world, monkeypatch, "agent.windows.acl", "agent.privatefile") as (_, module):
        monkeypatch.setattr(module, "_BETWEEN_TRIES_S", 0.0)
        yield module, files
    assert world.left_open() == []


def test_a_file_that_somebody_looks_at_is_replaced_all_the_same(
    private: tuple[Any, Files], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows refuses while it is open elsewhere: tried again for a second, then it is an error."""
    module, _ = private
    refusals = iter([True] * 5 + [False] * 1)
    replace = Path.replace

    def busy(self: Path, target: Path) -> Path:
        if next(refusals, True):
            raise PermissionError(13, "The process cannot access the file", str(target))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", busy)
    key = tmp_path / "agent.key"
    module.write_private(key, b"secret\n")
    assert key.read_bytes() == b"secret\n"
    with pytest.raises(PermissionError):
        module.write_private(key, b"other\n")
    assert key.read_bytes() == b"secret\n"


@pytest.mark.parametrize("admin", [True, False], ids=["administrator", "user"])
def test_a_directory_is_closed_when_it_is_made(
    private: tuple[Any, Files], tmp_path: Path, admin: bool
) -> None:
    """An administrator's own account gets no rights of its own; an ordinary user keeps what he made."""
    module, files = private
    files.admin = admin
    module.close_directory(tmp_path)
    found = files.of(tmp_path)
    assert found.acl is not None
    expected = {SYSTEM, ADMINISTRATORS, service_sid(SERVICE)} | (set() if admin else {ADMINISTRATOR})
    assert {sid.text for _, _, sid in found.acl.aces} == expected
    assert found.protected
    assert not module.exposed_to_others(tmp_path)
