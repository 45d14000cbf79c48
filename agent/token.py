"""The agent's proof of who it is: a short-lived JWT, signed with the key that never leaves the host.

RFC 7519 with EdDSA (RFC 8037), written out here: a few lines instead of a library's megabytes in memory.
"""

from __future__ import annotations

import json
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


def sign(key: Ed25519PrivateKey, agent: str, now_s: int) -> str:
    """A token of this agent, good for ``LIFETIME_S`` seconds from now (seconds since 1970, corrected)."""
    head = {"alg": "EdDSA", "kid": agent, "typ": "JWT"}
    claims = {"iss": agent, "aud": AUDIENCE, "iat": now_s, "exp": now_s + LIFETIME_S}
    signed = f"{_part(head)}.{_part(claims)}"
    return f"{signed}.{b64url(key.sign(signed.encode()))}"


def _part(value: Mapping[str, object]) -> str:
    return b64url(json.dumps(value, separators=(",", ":")).encode())


class TokenMaker:
    """Hands out a token, signing a new one only when the last is about to expire (or the clock was set)."""

    def __init__(self, key: Ed25519PrivateKey, agent: str) -> None:
        self._key = key
        self._agent = agent
        self._token = ""
        self._issued_s = 0

    def token(self, now_s: float) -> str:
        """A token that is good now."""
        age = now_s - self._issued_s
        if not 0 <= age < LIFETIME_S - _RENEW_BEFORE_S or not self._token:
            self._issued_s = int(now_s)
            self._token = sign(self._key, self._agent, self._issued_s)
        return self._token

    def forget(self) -> None:
        """Sign anew next time."""
        self._token = ""
