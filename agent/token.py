"""The agent's proof of who it is: a short-lived JWT, signed with the key that never leaves the host.

RFC 7519 with EdDSA (RFC 8037), written out here: a few lines instead of a library's megabytes in memory. It
goes with every request, so it says nothing twice.
"""

from __future__ import annotations

import json
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

AUDIENCE = "ucx-collector"
LIFETIME_S = 60
_RENEW_BEFORE_S = 25
"""A token with less than this left is not used again: the request itself takes time."""


def b64url(data: bytes) -> str:
    """Base64url without padding."""
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(key: Ed25519PrivateKey, agent: str, now_s: int, run: str = "") -> str:
    """A token of this agent, good for ``LIFETIME_S`` seconds from now (seconds since 1970, corrected).

    ``run`` names this start of the program: by it the collector notices two hosts with one identity."""
    head = {"alg": "EdDSA", "kid": agent}
    claims = {"aud": AUDIENCE, "iat": now_s, "exp": now_s + LIFETIME_S}
    claims |= {"run": run} if run else {}
    signed = f"{_part(head)}.{_part(claims)}"
    return f"{signed}.{b64url(key.sign(signed.encode()))}"


def _part(value: Mapping[str, object]) -> str:
    return b64url(json.dumps(value, separators=(",", ":")).encode())


def new_run() -> str:
    """A name for one start of the program: 32 random bits, of which a host's few starts are told apart."""
    return os.urandom(4).hex()


class TokenMaker:
    """Hands out a token, signing a new one only when the last is about to expire (or the clock was set)."""

    def __init__(self, key: Ed25519PrivateKey, agent: str, run: str = "") -> None:
        self._keys = [key]
        self._agent = agent
        self._run = run
        self._token = ""
        self._issued_s = 0

    def token(self, now_s: float) -> str:
        """A token that is good now."""
        age = now_s - self._issued_s
        if not 0 <= age < LIFETIME_S - _RENEW_BEFORE_S or not self._token:
            self._issued_s = int(now_s)
            self._token = sign(self._keys[0], self._agent, self._issued_s, self._run)
        return self._token

    @property
    def key(self) -> Ed25519PrivateKey:
        """The key that signs now."""
        return self._keys[0]

    def use(self, *keys: Ed25519PrivateKey) -> None:
        """Sign with the first of these keys from now on; the others are tried when it is not accepted."""
        self._keys = list(keys)
        self.forget()

    def next_key(self) -> bool:
        """Sign with the next of the keys; True when there is another one."""
        self._keys.append(self._keys.pop(0))
        self.forget()
        return len(self._keys) > 1

    def rename_run(self) -> None:
        """This program was copied while it ran: from now on it has a name of its own."""
        if self._run:
            self._run = new_run()
            self.forget()

    def forget(self) -> None:
        """Sign anew next time."""
        self._token = ""
