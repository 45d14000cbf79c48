"""What the command line and the environment say, and where things lie by default."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple


class Options(NamedTuple):
    """Shared by all commands."""

    state_dir: Path
    config_file: Path
    config_given: bool
    """The file was named on the command line: then it must exist."""
    collector_url: str | None = None
    """Overrides configuration and enrolment."""
    ca_file: Path | None = None
    insecure_http: bool = False
    proxy: str | None = None
    """Overrides configuration and environment; ``none`` = a direct line."""
    interval_s: float | None = None
    """Overrides the interval of every check."""
    ship_every_s: float | None = None
    max_backoff_s: float | None = None
    log_level: str | None = None
    """Overrides the configuration's."""


def default_state_dir() -> Path:
    """``UCX_AGENT_STATE``, else the system's place."""
    if found := os.environ.get("UCX_AGENT_STATE"):
        return Path(found)
    return _program_data() if sys.platform == "win32" else Path("/var/lib/ucx-agent")


def default_config_file() -> Path:
    """``UCX_AGENT_CONFIG``, else the system's place."""
    if found := os.environ.get("UCX_AGENT_CONFIG"):
        return Path(found)
    return _program_data() / "agent.yaml" if sys.platform == "win32" else Path("/etc/ucx-agent/agent.yaml")


def _program_data() -> Path:
    return Path(os.environ.get("ProgramData", r"C:\ProgramData")) / "UCX Agent"  # noqa: SIM112 - its name there
