"""What ``status`` and ``doctor`` say of the service around the agent: does the system start it by itself, are
its files closed to others."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from agent.checks.service import ServiceState, for_this_system
from agent.finding import Finding, ok, problem, warning
from agent.privatefile import exposed_to_others, how_to_close

NAME = "UCXAgent" if sys.platform == "win32" else "ucx-agent"
INSTALL = (
    "ucx-agent service install"
    if sys.platform == "win32"
    else "copy deploy/ucx-agent.service to /etc/systemd/system, then: systemctl enable --now ucx-agent"
)
START = "ucx-agent service start" if sys.platform == "win32" else "systemctl enable --now ucx-agent"


class Supervision(NamedTuple):
    """In words."""

    what: str
    good: bool
    do: str = ""


def look() -> Supervision | None:
    """None where no service manager answers (a container)."""
    try:
        return judge(for_this_system().states([NAME]).get(NAME))
    except OSError:
        return None


def judge(state: ServiceState | None) -> Supervision:
    """Pure: what its state means."""
    if state is None:
        return Supervision(
            f"{NAME} is not installed: nothing starts the agent with the system", False, INSTALL
        )
    if not state.automatic:
        runs = "runs" if state.running else "does not run"
        return Supervision(f"{NAME} {runs}, but does not start with the system", False, START)
    if not state.running:
        return Supervision(f"{NAME} is installed but does not run", False, START)
    return Supervision(f"{NAME} runs and starts with the system", True)


def findings() -> Iterator[Finding]:
    """For ``doctor``."""
    found = look()
    if found is not None:
        yield ok("service", found.what) if found.good else warning("service", found.what, found.do)


def site_logs(root: Path | None) -> list[Finding]:
    """On Windows: whether the logs of IIS can be read by whoever asks."""
    if sys.platform == "win32":
        from agent.checks.iislog import SiteLogs, default_root

        logs = SiteLogs(root or default_root())
        logs.read()
        grant = 'icacls FOLDER /grant "NT SERVICE\\UCXAgent:(OI)(CI)RX"'
        found = warning("IIS", f"server errors are not counted: {logs.fault}", grant)
        return [found] if logs.fault else []
    else:  # noqa: RET505 - type checkers follow the platform only through if and else
        return []


def exposure(state: Path) -> list[Finding]:
    """On Windows a directory lets in whomever the one above it lets in, unless it was closed. On Linux the
    rights of each file tell, and those are looked at where the file is read."""
    if sys.platform == "win32":
        try:
            exposed = exposed_to_others(state)
        except OSError as fault:
            return [warning("rights", f"those of {state} cannot be read: {fault}", "Run as administrator.")]
        found = problem("rights", f"{state} is open to other users", how_to_close(state))
        return [found] if exposed else []
    else:  # noqa: RET505 - type checkers follow the platform only through if and else
        return []
