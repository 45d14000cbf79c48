"""``ucx-agent service``: what is installed, and the decisions; the manager itself is a port (scm.py).

ServiceError          the message says what to do
|- NotInstalled       no such service
|- NotAllowed         no administrator
`- Unsuitable         this Python cannot carry a service
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import PureWindowsPath
from typing import NamedTuple, Protocol

from agent.windows.rights import SERVICE

ACCOUNT = rf"NT SERVICE\{SERVICE}"


class ServiceError(Exception):
    """Base; the message says what to do."""


class NotInstalled(ServiceError):
    def __init__(self) -> None:
        super().__init__(f"The service {SERVICE} is not installed. Run: ucx-agent service install")


class NotAllowed(ServiceError):
    def __init__(self) -> None:
        super().__init__(
            "Only an administrator may do this: open the command prompt with 'Run as administrator'."
        )


class Unsuitable(ServiceError):
    pass


class ServiceSpec(NamedTuple):
    """What the service control manager is told at installation."""

    command: str
    """The program with its arguments, quoted."""
    name: str = SERVICE
    display: str = "UCX Proactive agent"
    description: str = (
        "Measures this host for UCX Proactive support and delivers the readings. Opens no port."
        " 'ucx-agent doctor' explains every problem."
    )
    account: str = ACCOUNT
    restart_after_s: tuple[int, ...] = (60, 300, 900)
    """After the first, second and every further failure."""
    forget_failures_after_s: int = 86_400
    preshutdown_ms: int = 20_000
    privileges: tuple[str, ...] = ("SeChangeNotifyPrivilege",)
    """All that its token keeps: passing through directories, which everybody has."""


class Found(NamedTuple):
    """The service as the manager knows it."""

    state: str
    """stopped | starting | stopping | running | paused."""
    start: str
    """automatic | delayed | manual | disabled."""
    command: str
    account: str
    pid: int
    """0 while it does not run."""
    exit_code: int
    """Of its last end; 0 = in good order."""


class Manager(Protocol):
    """The port. Each call may raise ServiceError."""

    def find(self, name: str) -> Found | None: ...
    def create(self, spec: ServiceSpec) -> None: ...
    def change(self, spec: ServiceSpec) -> None: ...
    def start(self, name: str) -> None: ...
    def control(self, name: str, code: int) -> None: ...
    def delete(self, name: str) -> None: ...
    def wait(self, name: str, state: str, seconds: float) -> bool: ...


class Place(NamedTuple):
    """Where this program lies."""

    python: str
    """The interpreter itself, not the one of a virtual environment: that is a launcher which starts the real
    one as its child, and the manager talks only to the process that it started."""
    host: str
    """agent/windows/host.py."""
    site: str
    """Folder of the installed packages."""


def command_line(place: Place, arguments: Sequence[str]) -> str:
    """The service's program: isolated (-I) and without the interpreter's own packages (-S)."""
    return subprocess.list2cmdline([place.python, "-I", "-S", place.host, "--site", place.site, *arguments])


def fault_of_place(place: Place) -> str | None:
    """Why the service's account could not run this; None when it can."""
    for path in place:
        parts = [part.lower() for part in PureWindowsPath(path).parts]
        if "windowsapps" in parts:
            return f"{path} is the Store's Python, which no service can run"
        if "users" in parts[1:2] and "public" not in parts[2:3]:
            return f"{path} lies in a user's profile, which the service's account cannot read"
        if not PureWindowsPath(path).is_absolute() or path.startswith("\\\\"):
            return f"{path} is not on a disk of this host"
    return None


def install(manager: Manager, spec: ServiceSpec, place: Place) -> str:
    """Make the service, or bring an installed one up to date (after an update of the program)."""
    if fault := fault_of_place(place):
        raise Unsuitable(
            f"{fault}. Install Python for all users (python.org, below C:\\Program Files), make the virtual"
            r" environment in C:\Program Files\UCX Agent, and install again."
        )
    if manager.find(spec.name) is None:
        manager.create(spec)
        return f"Service {spec.name} installed; it runs as {spec.account} and starts with Windows."
    manager.change(spec)
    return f"Service {spec.name} was installed already: brought up to date. Restart it to use it."


def start(manager: Manager, name: str = SERVICE) -> str:
    """Start it and see that it stays."""
    found = _installed(manager, name)
    if found.state == "running":
        return f"Service {name} runs already."
    if found.state == "stopped":
        manager.start(name)
    if manager.wait(name, "running", 40.0):
        return f"Service {name} runs."
    raise ServiceError(_why_not(manager.find(name), name))


def stop(manager: Manager, name: str = SERVICE) -> str:
    """Stop it in good order."""
    found = _installed(manager, name)
    if found.state == "stopped":
        return f"Service {name} does not run."
    if found.state != "stopping":
        manager.control(name, 1)
    if manager.wait(name, "stopped", 40.0):
        return f"Service {name} stopped."
    raise ServiceError(
        f"Service {name} has not stopped within 40 seconds. Look at agent.log beside its state."
    )


def reload(manager: Manager, name: str = SERVICE) -> str:
    """Let it read its configuration anew."""
    if _installed(manager, name).state != "running":
        raise ServiceError(f"Service {name} does not run; it reads its configuration when it starts.")
    manager.control(name, 6)
    return (
        f"Service {name} reads its configuration anew; a faulty one is refused ('ucx-agent doctor' says why)."
    )


def remove(manager: Manager, name: str = SERVICE) -> str:
    """Stop it and take it out of the manager."""
    if manager.find(name) is None:
        return f"Service {name} is not installed."
    stop(manager, name)
    manager.delete(name)
    return f"Service {name} removed."


def status(manager: Manager, name: str = SERVICE) -> list[str]:
    """For people."""
    found = _installed(manager, name)
    process = f", process {found.pid}" if found.pid else ""
    ended = f", ended with {found.exit_code}" if found.state == "stopped" and found.exit_code else ""
    return [
        f"service      {name}, {found.state}{process}{ended}",
        f"starts       {found.start}, as {found.account}",
        f"program      {found.command}",
    ]


def _installed(manager: Manager, name: str) -> Found:
    found = manager.find(name)
    if found is None:
        raise NotInstalled
    return found


def _why_not(found: Found | None, name: str) -> str:
    if found is None:
        return f"Service {name} has gone."
    ended = f" (it ended with {found.exit_code})" if found.exit_code else ""
    return (
        f"Service {name} is {found.state}{ended}. Run: ucx-agent doctor; its last words stand in agent.log."
    )
