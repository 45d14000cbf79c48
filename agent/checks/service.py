"""Services that the configuration names: do they run, are they meant to, how often were they restarted.

One question to the system's service manager per reading, for all of them. `ucx.service.running` is 1 or 0 for
a service that is meant to run by itself, and nothing for one that is switched off (disabled, manual) or not
installed: nobody is woken for what was stopped on purpose.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Protocol

from agent.reading import Column, Reading

CLASSES = ("core", "other", "database", "web")
_DEADLINE_S = 5.0
_MAX_OUTPUT = 262_144


class ServiceRule(NamedTuple):
    """One configured service."""

    name: str
    """Of the unit or Windows service; ``.service`` may be left out."""
    kind: str = "other"
    """Value of ``ucx.service.class``: core | other | database | web."""


class ServiceState(NamedTuple):
    """What the service manager says."""

    running: bool
    automatic: bool
    """It starts by itself."""
    restarts: int | None
    """Since it was loaded; None where the system does not count them."""


class ServiceManager(Protocol):
    """The port. May raise OSError; a service that is not installed is left out."""

    def states(self, names: Sequence[str]) -> Mapping[str, ServiceState]: ...


class ServiceCheck:
    name: ClassVar[str] = "service"
    interval_s: ClassVar[float] = 30.0

    def __init__(self, manager: ServiceManager, rules: Sequence[ServiceRule]) -> None:
        self._manager = manager
        self._rules = tuple(rules)
        self._columns = tuple(column for rule in rules for column in _columns(rule))

    def read(self, now_s: float) -> Reading:
        if not self._rules:
            return Reading((), ())
        states = self._manager.states([rule.name for rule in self._rules])
        return Reading(self._columns, [v for rule in self._rules for v in values(states.get(rule.name))])


def _columns(rule: ServiceRule) -> tuple[Column, ...]:
    named = (("ucx.service.name", rule.name), ("ucx.service.class", rule.kind))
    return Column("ucx.service.running", named), Column("ucx.service.restarts", named[:1])


def values(state: ServiceState | None) -> list[float | None]:
    """In the order of the columns."""
    if state is None:
        return [None, None]
    return [float(state.running) if state.automatic else None, state.restarts]


class Systemd:
    """``systemctl show``: one process for all units."""

    def __init__(self, command: Sequence[str] = ("systemctl",)) -> None:
        self._command = tuple(command)

    def states(self, names: Sequence[str]) -> Mapping[str, ServiceState]:
        units = {unit_name(name): name for name in names}
        wanted = "--property=Id,Names,LoadState,ActiveState,UnitFileState,NRestarts,Type"
        try:
            done = subprocess.run(  # noqa: S603 - no shell; units stand after "--"
                [*self._command, "show", "--no-pager", wanted, "--", *units],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_DEADLINE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise OSError("systemctl does not answer") from None
        if done.returncode:
            raise OSError(f"systemctl: {done.stderr[:300].decode('utf-8', 'replace').strip()}")
        return parse(done.stdout[:_MAX_OUTPUT].decode("utf-8", "replace"), units)


def unit_name(name: str) -> str:
    """systemd's full name of a unit."""
    return name if "." in name.rsplit("/", 1)[-1] else f"{name}.service"


_AUTOMATIC = frozenset(("enabled", "enabled-runtime", "static", "generated", "indirect", "alias", "linked"))
_RUNNING = frozenset(("active", "reloading", "refreshing"))


def parse(text: str, units: Mapping[str, str]) -> dict[str, ServiceState]:
    """The blocks that systemctl prints, one per unit; aliases are found by their names."""
    found = {}
    for block in text.strip().split("\n\n"):
        said = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if said.get("LoadState") in ("not-found", "masked", None):
            continue
        state = ServiceState(
            said.get("ActiveState") in _RUNNING,
            said.get("UnitFileState") in _AUTOMATIC,
            int(count) if (count := said.get("NRestarts", "")).isdecimal() else None,
        )
        for unit in {said.get("Id", ""), *said.get("Names", "").split()} & set(units):
            found[units[unit]] = state
    return found


class WindowsServices:
    """The service control manager, asked through psutil."""

    def states(self, names: Sequence[str]) -> Mapping[str, ServiceState]:
        if sys.platform == "win32":
            import psutil

            found = {}
            for name in names:
                try:
                    said = psutil.win_service_get(name).as_dict()
                except psutil.NoSuchProcess:
                    continue
                found[name] = ServiceState(
                    said["status"] == "running", said["start_type"] == "automatic", None
                )
            return found
        else:  # noqa: RET505 - type checkers follow the platform only through if and else
            raise OSError("only on Windows")


def for_this_system() -> ServiceManager:
    """systemd, or Windows."""
    return WindowsServices() if sys.platform == "win32" else Systemd()
