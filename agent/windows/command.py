"""``ucx-agent service``: the order of the steps. What each does lies behind ports."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Protocol

from agent.options import Options
from agent.windows import service
from agent.windows.rights import PERFORMANCE_MONITOR_USERS, SERVICE, service_sid
from agent.windows.service import Manager, Place, ServiceError, ServiceSpec

ACTIONS = ("install", "start", "stop", "reload", "status", "remove")


class Access(Protocol):
    """The port to files' rights and groups (acl.py). Each call may raise OSError."""

    def protect_directory(self, path: Path) -> None: ...
    def has_foreign_owner(self, path: Path) -> bool: ...
    def join(self, group: str, member: str) -> None: ...
    def leave(self, group: str, member: str) -> None: ...


def perform(action: str, options: Options, manager: Manager, access: Access, place: Place) -> list[str]:
    """One action; what to print. Raises ServiceError, OSError."""
    options = options._replace(
        state_dir=options.state_dir.absolute(), config_file=options.config_file.absolute()
    )
    if action == "install":
        _refuse_foreign(options.state_dir, access)
        return [service.install(manager, spec(options, place), place), *_prepare(options, access)]
    if action == "remove":
        return _remove(options, manager, access)
    if action == "status":
        return service.status(manager)
    act = {"start": service.start, "stop": service.stop, "reload": service.reload}[action]
    return [act(manager)]


def spec(options: Options, place: Place) -> ServiceSpec:
    """The service for these options; the configuration is named only when the administrator did."""
    arguments = ["--state-dir", str(options.state_dir)]
    arguments += ["--config", str(options.config_file)] if options.config_given else []
    return ServiceSpec(service.command_line(place, arguments))


def _refuse_foreign(state: Path, access: Access) -> None:
    """Before anything is made."""
    if state.exists() and access.has_foreign_owner(state):
        raise ServiceError(
            f"{state} belongs to somebody who is no administrator."
            " Look what is in it, remove it, install again."
        )


def _prepare(options: Options, access: Access) -> list[str]:
    """The state directory and the right to read performance counters."""
    state = options.state_dir
    state.mkdir(parents=True, exist_ok=True)
    access.protect_directory(state)
    said = [f"{state} is open to the system, administrators and the service only."]
    try:
        access.join(PERFORMANCE_MONITOR_USERS, service_sid(SERVICE))
    except OSError as fault:
        return [*said, f"The service may not read performance counters (IIS has no values): {fault}"]
    return [*said, f"{service.ACCOUNT} is a member of Performance Monitor Users."]


def _remove(options: Options, manager: Manager, access: Access) -> list[str]:
    said = []
    try:
        access.leave(PERFORMANCE_MONITOR_USERS, service_sid(SERVICE))
    except OSError as fault:
        said.append(f"Performance Monitor Users still has {service.ACCOUNT} as a member: {fault}")
    said.append(service.remove(manager))
    return [
        *said,
        f"Left for you to delete: {options.state_dir} (key, spool, log) and the folder of the program.",
    ]


def run(action: str, options: Options) -> list[str]:
    """On this system; raises ServiceError."""
    if sys.platform == "win32":
        from agent.windows import acl, scm

        return perform(action, options, scm.SystemManager(), acl, here())
    else:  # noqa: RET505 - type checkers follow the platform only through if and else
        word = {"install": "enable --now", "remove": "disable --now"}.get(action, action)
        raise ServiceError(f"This is for Windows. Here systemd does it: systemctl {word} ucx-agent")


def here() -> Place:
    """Where this program lies."""
    import sysconfig

    # An attribute that interpreters without virtual environments lack.
    python = getattr(sys, "_base_executable", None) or sys.executable
    return Place(str(python), str(Path(__file__).with_name("host.py")), sysconfig.get_path("purelib"))
