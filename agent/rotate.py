"""``ucx-agent rotate-key``: replaces the key now. A running agent takes the new one over within a minute."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.asking import signed
from agent.clock import Timekeeper
from agent.config import load_config
from agent.identity import load_identity, load_key
from agent.options import Options
from agent.rotation import replace_key
from agent.run import make_transport
from wire.clock import Clock, utcnow


def rotate(options: Options, clock: Clock = utcnow) -> str:
    """Do it; what was done, in a sentence. Raises ConfigError, IdentityError, BadAddress, RotationError,
    Unreachable."""
    config = load_config(options.config_file, required=options.config_given)
    identity = load_identity(options.state_dir)
    key = load_key(options.state_dir, identity.key)
    transport = make_transport(options, config, identity)
    try:
        done = replace_key(options.state_dir, signed(transport, key, identity.agent_id, Timekeeper(clock)))
    finally:
        transport.close()
    until = datetime.fromtimestamp(done.former_until, UTC)
    return f"Host '{done.host}' has a new key; the former one is accepted until {until:%Y-%m-%d %H:%M} UTC."
