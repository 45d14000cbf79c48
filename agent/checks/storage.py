"""Storage that recordings are moved to: is it there, can it be written, how long does that take.

The question is asked by a child process. A dead NFS or SMB mount leaves a process in the kernel that no
signal ends; here that is the child: it is left behind, and while it hangs its place is not asked again.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from agent.children import FLAGS, PYTHON
from agent.reading import Reading, columns

_METRICS = ("ucx.recording.storage.reachable", "ucx.recording.storage.latency")
_DEADLINE_S = 5.0
_POLL_S = 0.01
PROBE_FILE = ".ucx-agent-probe"
_MOUNTED = """
import os, sys
folder, name, mounted = sys.argv[1:]
if mounted and os.stat(folder).st_dev == os.stat("/").st_dev:
    sys.exit("nothing is mounted there")
"""
_READ = _MOUNTED + "os.listdir(folder)"
_WRITE = (
    _MOUNTED
    + """
path = os.path.join(folder, name)
try:
    with open(path, "wb") as file:
        file.write(b"ucx")
        file.flush()
        os.fsync(file.fileno())
finally:
    if os.path.lexists(path):
        os.remove(path)
"""
)


class StorageRule(NamedTuple):
    """One configured place."""

    name: str
    path: Path
    write: bool = True
    """Prove it by writing a small file (``.ucx-agent-probe``) and removing it."""
    mounted: bool = False
    """It must be on another file system than ``/``: without this, the empty folder that a lost mount leaves
    behind looks like a storage that can be written."""


class StorageCheck:
    name: ClassVar[str] = "storage"
    interval_s: ClassVar[float] = 120.0

    def __init__(
        self, rules: Sequence[StorageRule], command: Sequence[str] = (PYTHON, "-I", "-S", "-c")
    ) -> None:
        self._rules = tuple(rules)
        self._command = tuple(command)
        self._stuck: dict[str, subprocess.Popen[bytes]] = {}
        self._columns = tuple(c for r in rules for c in columns(_METRICS, ucx__recording__storage=r.name))

    def read(self, now_s: float) -> Reading:
        """All places at the same time: several dead ones cost one deadline."""
        began = time.monotonic()
        running = {rule.name: self._start(rule) for rule in self._rules}
        finished: dict[str, float] = {}
        while time.monotonic() - began < _DEADLINE_S and len(finished) < len(running):
            for name, child in running.items():
                if name not in finished and (child is None or child.poll() is not None):
                    finished[name] = time.monotonic() - began
            time.sleep(_POLL_S)
        values = [v for rule in self._rules for v in self._verdict(rule.name, running[rule.name], finished)]
        return Reading(self._columns, values)

    def _start(self, rule: StorageRule) -> subprocess.Popen[bytes] | None:
        """None while an earlier question to this place hangs."""
        stuck = self._stuck.get(rule.name)
        if stuck is not None and stuck.poll() is None:
            return None
        self._stuck.pop(rule.name, None)
        program = _WRITE if rule.write else _READ
        return subprocess.Popen(  # noqa: S603 - our own interpreter, isolated
            [*self._command, program, str(rule.path), f"{PROBE_FILE}-{os.getpid()}", "1" * rule.mounted],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            creationflags=FLAGS,
        )

    def _verdict(
        self, name: str, child: subprocess.Popen[bytes] | None, finished: dict[str, float]
    ) -> list[float | None]:
        if child is None:
            return [0.0, None]
        if child.returncode is None:
            child.kill()  # ends it, unless the kernel holds it
            self._stuck[name] = child
            return [0.0, None]
        return [1.0, finished.get(name)] if child.returncode == 0 else [0.0, None]
