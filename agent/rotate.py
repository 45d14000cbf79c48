"""``ucx-agent rotate-key``: replaces the key now. A running agent takes the new one over within a minute."""

from __future__ import annotations

from datetime import UTC, datetime

from agent.clock import Timekeeper
from agent.config import load_config
from agent.delivery import Reply, date_s, is_ours
from agent.identity import load_identity, load_key
from agent.options import Options
from agent.rotation import replace_key
from agent.run import make_transport
from agent.token import sign
from wire.clock import Clock, utcnow


def rotate(options: Options, clock: Clock = utcnow) -> str:
    """Do it; what was done, in a sentence. Raises ConfigError, IdentityError, BadAddress, RotationError,
    Unreachable."""
    config = load_config(options.config_file, required=options.config_given)
    identity = load_identity(options.state_dir)
    key = load_key(options.state_dir, identity.key)
    timekeeper = Timekeeper(clock)
    transport = make_transport(options, config, identity)

    def ask(method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        reply = Reply(0, "", "", "", b"", False)
        for _ in range(2):  # the first answer may be about the clock, and then teaches it
            sent = timekeeper.raw_s()
            token = sign(key, identity.agent_id, timekeeper.stamp_ms() // 1000)
            reply = transport.request(method, path, body, headers | {"Authorization": f"Bearer {token}"})
            date = date_s(reply.date) if is_ours(reply) else None
            if reply.status != 401 or date is None or not timekeeper.learn(sent, timekeeper.raw_s(), date):
                break
        return reply

    try:
        done = replace_key(options.state_dir, ask)
    finally:
        transport.close()
    until = datetime.fromtimestamp(done.former_until, UTC)
    return f"Host '{done.host}' has a new key; the former one is accepted until {until:%Y-%m-%d %H:%M} UTC."
