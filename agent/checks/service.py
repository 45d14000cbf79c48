"""Services that the configuration names: do they run, are they meant to, how often were they restarted.

One question to the system's service manager per reading, for all of them. `ucx.service.running` is 1 or 0 for
a service that is meant to run by itself, and nothing for one that is switched off (disabled, manual) or not
installed: nobody is woken for what was stopped on purpose.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, NamedTuple, Protocol

from agent.events import Feed
from agent.events.winlog import Channel, WindowsFeed, system_log
from agent.reading import Column, Reading

CLASSES = ("core", "other", "database", "web")
_DEADLINE_S = 5.0
_LOOK_AGAIN = 20
_MOST = 60
"""Services; patterns could match hundreds."""
_MAX_OUTPUT = 262_144


class ServiceRule(NamedTuple):
    """One configured service."""

    name: str
    """Of the unit or Windows service, or a pattern (``ucx*``); ``.service`` may be left out."""
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

    def installed(self) -> Sequence[str]:
        """Names of all services."""
        ...


class ServiceCheck:
    name: ClassVar[str] = "service"
    interval_s: ClassVar[float] = 30.0

    def __init__(self, manager: ServiceManager, rules: Sequence[ServiceRule]) -> None:
        self._manager = manager
        self._rules = tuple(rules)
        self._readings = 0
        self._meant: tuple[ServiceRule, ...] = ()
        self._columns: tuple[Column, ...] = ()

    def read(self, now_s: float) -> Reading:
        self._expand()
        if not self._meant:
            return Reading((), ())
        states = self._manager.states([rule.name for rule in self._meant])
        return Reading(self._columns, [v for rule in self._meant for v in values(states.get(rule.name))])

    def _expand(self) -> None:
        """Patterns are looked up at first and every ten minutes: services come and go with updates."""
        wild = any(is_pattern(rule.name) for rule in self._rules)
        if wild and self._readings % _LOOK_AGAIN == 0:
            meant = expand(self._rules, self._manager.installed())
        else:
            meant = self._meant if wild else self._rules
        self._readings += 1
        if meant != self._meant:
            self._meant = meant
            self._columns = tuple(column for rule in meant for column in _columns(rule))


def is_pattern(name: str) -> bool:
    """It stands for several services."""
    return "*" in name or "?" in name


def expand(rules: Sequence[ServiceRule], installed: Sequence[str]) -> tuple[ServiceRule, ...]:
    """The services that are meant: those named, then what patterns match of the others, in the order of the
    rules. Pure; a pattern does not tell upper from lower case."""
    meant = [rule for rule in rules if not is_pattern(rule.name)]
    taken = {rule.name for rule in meant}
    for rule in rules:
        pattern = rule.name.lower().removesuffix(".service")
        for name in sorted(installed) if is_pattern(rule.name) else ():
            if name not in taken and fnmatchcase(name.lower(), pattern):
                taken.add(name)
                meant.append(rule._replace(name=name))
    return tuple(meant[:_MOST])


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
        return parse(self._ask("show", wanted, "--", *units), units)

    def installed(self) -> Sequence[str]:
        """Services whose unit file is there; templates are none, aliases stand for one that is there."""
        found = self._ask("list-unit-files", "--type=service", "--no-legend", "--plain")
        rows = (line.split() for line in found.splitlines())
        units = (row[0] for row in rows if len(row) > 1 and row[1] != "alias")
        return [name.removesuffix(".service") for name in units if "@." not in name]

    def _ask(self, *question: str) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - no shell; units stand after "--"
                [*self._command, question[0], "--no-pager", *question[1:]],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_DEADLINE_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise OSError("systemctl does not answer") from None
        if done.returncode:
            raise OSError(f"systemctl: {done.stderr[:300].decode('utf-8', 'replace').strip()}")
        return done.stdout[:_MAX_OUTPUT].decode("utf-8", "replace")


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


# ---- Windows ------------------------------------------------------------------------------------------


class WindowsService(NamedTuple):
    """One service as the service control manager knows it."""

    state: int
    """1 stopped, 2 starting, 3 stopping, 4 running, 5 continuing, 6 pausing, 7 paused."""
    start: int
    """0 at boot, 1 by the system, 2 automatic, 3 manual, 4 disabled."""
    delayed: bool
    triggered: bool
    """It starts and ends by events (a network, a request): not running is in order."""
    display: str
    """Its name for people, as the event log has it."""


AUTOMATIC, STOPPED, _RUNS = 2, 1, 4
DELAY_S = 600.0
"""Seconds after the start of Windows in which a service of delayed start may still wait for its turn."""
CRASHES = Channel("System", ids=(7031, 7034), providers=("Service Control Manager",))
"""Ended unexpectedly, with and without recovery."""


def of_windows(found: WindowsService, uptime_s: float, crashes: int | None) -> ServiceState:
    """Pure: what that means."""
    waiting = found.delayed and found.state == STOPPED and uptime_s < DELAY_S
    automatic = found.start == AUTOMATIC and not found.triggered and not waiting
    return ServiceState(found.state in (4, 5), automatic, crashes)


def crashed(messages: Sequence[str], displays: Mapping[str, str]) -> Counter[str]:
    """Service -> crashes that the event log tells of: pure. The longest name in a message is meant."""
    found: Counter[str] = Counter()
    by_length = sorted(displays.items(), key=lambda item: -len(item[1]))
    for message in messages:
        if name := next((name for name, display in by_length if display and display in message), None):
            found[name] += 1
    return found


class WindowsServices:
    """The service control manager, and the crashes that the event log tells of since the agent started."""

    def __init__(
        self,
        look: Callable[[list[str]], Mapping[str, WindowsService]],
        installed: Callable[[], Sequence[str]],
        crashes: Feed | None,
        uptime_s: Callable[[], float],
    ) -> None:
        self._look = look
        self.installed = installed
        self._feed = crashes
        self._bookmark = ""
        self._uptime_s = uptime_s
        self._crashes: Counter[str] = Counter()

    def states(self, names: Sequence[str]) -> Mapping[str, ServiceState]:
        found = self._look(list(names))
        counted = self._count({name: one.display for name, one in found.items()})
        uptime_s = self._uptime_s()
        return {
            name: of_windows(one, uptime_s, self._crashes[name] if counted else None)
            for name, one in found.items()
        }

    def _count(self, displays: Mapping[str, str]) -> bool:
        """False when the event log cannot be read: that is the event check's to tell."""
        if self._feed is None:
            return False
        try:
            chunk = self._feed.read(self._bookmark, 80)
        except OSError:
            return False
        self._bookmark = chunk.bookmark
        self._crashes += crashed([record.message for record in chunk.records], displays)
        return True


_OF_WINDOWS = "##"
"""Instances of SQL Server that Windows keeps for its own features (MSSQL$MICROSOFT##WID)."""
_WELL_KNOWN = (("W3SVC", "web"), ("WAS", "web"), ("MSSQLSERVER", "database"), ("MSSQL$*", "database"))


def found_by_default(installed: Sequence[str], rules: Sequence[ServiceRule]) -> tuple[ServiceRule, ...]:
    """IIS and SQL Server are watched without being named in the configuration: pure."""
    return tuple(
        ServiceRule(name, kind)
        for pattern, kind in _WELL_KNOWN
        for name in sorted(installed)
        if fnmatchcase(name.lower(), pattern.lower())
        and _OF_WINDOWS not in name
        and not any(fnmatchcase(name.lower(), rule.name.lower()) for rule in rules)
    )


def for_this_system() -> ServiceManager:
    """systemd, or Windows."""
    if sys.platform == "win32":
        import time

        from agent.windows import services

        make_log = system_log()
        feed = WindowsFeed(CRASHES, make_log()) if make_log is not None else None
        return WindowsServices(services.look, services.installed, feed, time.monotonic)
    else:  # noqa: RET505 - type checkers follow the platform only through if and else
        return Systemd()


def web_server_runs() -> bool:
    """Whether IIS runs here; False where that cannot be told."""
    if sys.platform == "win32":
        from agent.windows import services

        try:
            return any(one.state == _RUNS for one in services.look(["W3SVC"]).values())
        except OSError:
            return False
    else:
        return False


def well_known(rules: Sequence[ServiceRule]) -> tuple[ServiceRule, ...]:
    """What this system runs that is watched without being named; nothing on Linux, where units differ."""
    if sys.platform == "win32":
        from agent.windows import services

        try:
            return found_by_default(services.installed(), rules)
        except OSError:
            return ()
    else:
        return ()
