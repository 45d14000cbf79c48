"""Signed requests of a command, on a host whose clock may be wrong: the first answer teaches the time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from agent.clock import Timekeeper
from agent.delivery import Reply, date_s, is_ours
from agent.token import sign
from agent.transport import Transport

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

Ask = Callable[[str, str, bytes, dict[str, str]], Reply]
"""Method, path, body, headers. Raises Unreachable."""


def signed(transport: Transport, key: Ed25519PrivateKey | None, agent: str, timekeeper: Timekeeper) -> Ask:
    """Requests signed with ``key`` (None: unsigned), asked again when a 401 has taught the time."""

    def ask(method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        reply = once(method, path, body, headers)
        if reply.status == 401 and timekeeper.correction_ms:
            return once(method, path, body, headers)
        return reply

    def once(method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        proof = {}
        if key is not None:
            proof = {"Authorization": f"Bearer {sign(key, agent, timekeeper.stamp_ms() // 1000)}"}
        sent_s = timekeeper.raw_s()
        reply = transport.request(method, path, body, headers | proof)
        date = date_s(reply.date) if is_ours(reply) else None
        if date is not None:
            timekeeper.learn(sent_s, timekeeper.raw_s(), date)
        return reply

    return ask
