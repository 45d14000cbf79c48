"""Real faults, made on this very machine, bounded, and undone afterwards.

Each fault is a context manager: entering makes the machine ill, leaving heals it, whatever happened in
between. Everything lives in child processes that end by themselves when this process dies (they watch their
standard input), so that even a kill -9 of the demo leaves no load behind.

Bounds: at most ``MAX_S`` seconds, ``MAX_MEMORY`` bytes of RAM, ``MAX_FILE`` bytes of disk.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path

import psutil

MAX_S = 180
"""A fault heals by itself after this many seconds."""
MAX_MEMORY = 2 * 1024**3
"""At most this many bytes of RAM are taken (and never more than half of what is available)."""
MAX_FILE = 4 * 1024**3
"""At most this many bytes of disk are taken (and never more than a quarter of what is free)."""

PLATFORM_PROCESS = f"ucx-demo-{os.getpid() % 1_000_000}"
"""Name of the stand-in for one of the platform's own processes (``--fault process`` kills it): at most the
15 characters that Linux keeps, and another in each demo, or a second demo would hide that it is gone."""


class Fault(StrEnum):
    """What can go wrong in the demo."""

    CPU = "cpu"
    MEMORY = "memory"
    DISK = "disk"
    PROCESS = "process"
    AGENT_SILENT = "agent-silent"


_UNTIL_PARENT_DIES = f"""
import os, select, signal, sys, time
signal.alarm({MAX_S})
def parent_lives():
    ready, _, _ = select.select([sys.stdin], [], [], 0)
    return not ready
"""

_BURN_CPU = (
    _UNTIL_PARENT_DIES
    + """
while parent_lives():
    end = time.monotonic() + 0.2
    while time.monotonic() < end:
        pass
"""
)

_TAKE_MEMORY = (
    _UNTIL_PARENT_DIES
    + """
held = bytearray(int(sys.argv[1]))
for page in range(0, len(held), 4096):
    held[page] = 1
while parent_lives():
    time.sleep(0.2)
"""
)

_IDLE = (
    _UNTIL_PARENT_DIES.replace(f"signal.alarm({MAX_S})", "")
    + """
while parent_lives():
    time.sleep(0.2)
"""
)


def _child(code: str, *arguments: str, program: str = sys.executable) -> subprocess.Popen[bytes]:
    """A Python child that ends when this process does."""
    return subprocess.Popen(  # noqa: S603 - our own interpreter with our own code
        [program, "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C reaches the demo, which then stops its children in order
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    child.wait()
    if child.stdin:
        child.stdin.close()


@contextlib.contextmanager
def burn_cpu() -> Iterator[str]:
    """One busy process per core, and one more."""
    children = [_child(_BURN_CPU) for _ in range((os.cpu_count() or 1) + 1)]
    try:
        yield f"{len(children)} processes now burn every core of this machine"
    finally:
        for child in children:
            _end(child)


def memory_to_take() -> int:
    """Bytes of RAM that the memory fault will take here."""
    return min(MAX_MEMORY, int(psutil.virtual_memory().available * 0.5))


@contextlib.contextmanager
def take_memory() -> Iterator[str]:
    """Hold and touch a block of RAM."""
    size = memory_to_take()
    child = _child(_TAKE_MEMORY, str(size))
    try:
        yield f"a process now holds {size / 1024**3:.1f} GiB of this machine's RAM"
    finally:
        _end(child)


def disk_to_take(directory: Path) -> int:
    """Bytes of disk that the disk fault will take on the volume of ``directory``."""
    return min(MAX_FILE, int(shutil.disk_usage(directory).free * 0.25))


@contextlib.contextmanager
def fill_disk(directory: Path) -> Iterator[str]:
    """One large file, allocated (not sparse), removed at the end."""
    size = disk_to_take(directory)
    path = directory / "fault-disk.bin"
    try:
        _allocate(path, size)
        yield f"a file of {size / 1024**3:.1f} GiB now lies on the volume of {directory}"
    finally:
        path.unlink(missing_ok=True)


def _allocate(path: Path, size: int) -> None:
    with path.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
            return
        block = b"\1" * (8 * 1024**2)
        for _ in range(size // len(block)):
            file.write(block)


class PlatformProcess:
    """A stand-in for one of the platform's own processes: it runs until the fault kills it."""

    def __init__(self, directory: Path) -> None:
        self._program = directory / PLATFORM_PROCESS
        """A link to the interpreter: the system names a process after the file that it was started from."""
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if not self._program.is_symlink():
            self._program.symlink_to(Path(sys.executable).resolve())
        self._child = _child(_IDLE, program=str(self._program))

    def stop(self) -> None:
        if self._child is not None:
            _end(self._child)
            self._child = None

    @contextlib.contextmanager
    def killed(self) -> Iterator[str]:
        """Kill it now, start it again at the end."""
        self.stop()
        try:
            yield f"the process {PLATFORM_PROCESS} was killed and does not come back by itself"
        finally:
            self.start()


@contextlib.contextmanager
def silence(agent_pid: int) -> Iterator[str]:
    """Freeze the agent, as a hung host would; let it go on at the end."""
    os.kill(agent_pid, signal.SIGSTOP)
    try:
        yield "the agent is frozen: nothing comes from this host any more"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(agent_pid, signal.SIGCONT)


def make(
    fault: Fault, *, directory: Path, process: PlatformProcess, agent_pid: Callable[[], int]
) -> contextlib.AbstractContextManager[str]:
    """The context manager that makes ``fault``; it yields a sentence that says what was done."""
    match fault:
        case Fault.CPU:
            return burn_cpu()
        case Fault.MEMORY:
            return take_memory()
        case Fault.DISK:
            return fill_disk(directory)
        case Fault.PROCESS:
            return process.killed()
        case Fault.AGENT_SILENT:
            return silence(agent_pid())
