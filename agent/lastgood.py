"""The configuration that the agent ran on last: used when the file is faulty at the next start.

A faulty file must not silence a host: who edited it may be asleep when the machine restarts. So a copy of
the configuration that the agent took last is kept beside the spool; a faulty one is refused, reported, and
the copy runs on.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from agent.config import Config, ConfigError, load_config, parse_config
from agent.options import Options
from agent.privatefile import write_private

log = logging.getLogger("ucx.config")

FILE = "config.good"
_MAX_BYTES = 1_048_576


def load(options: Options, check: Callable[[Config], object]) -> tuple[Config, str]:
    """The configuration to start with, and why the file was refused (empty when it was not).

    ``check`` raises what else can be wrong with a configuration (ValueError, OSError). Raises what it or
    ``load_config`` raises, when there is no copy that is good."""
    try:
        config = load_config(options.config_file, required=options.config_given)
        check(config)
    except (ConfigError, ValueError, OSError) as fault:
        kept = _kept(options, check)
        if kept is None:
            raise
        log.warning("the configuration is refused, the last good one runs on: %s", fault)
        return kept, str(fault)
    return config, ""


def keep(options: Options) -> None:
    """Remember the file as it is now: it was taken. Trouble with the disk is no reason to stop."""
    with suppress(OSError):
        text = options.config_file.read_bytes() if options.config_file.exists() else b""
        path = options.state_dir / FILE
        if not path.exists() or path.read_bytes() != text:
            write_private(path, text)


def _kept(options: Options, check: Callable[[Config], object]) -> Config | None:
    path: Path = options.state_dir / FILE
    try:
        text = path.read_bytes()
        config = parse_config(text[:_MAX_BYTES], str(path))
        check(config)
    except (ConfigError, ValueError, OSError):
        return None
    return config
