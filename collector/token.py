"""The agent's credential on the wire: a short-lived JWT signed with its Ed25519 key.

    header   {"alg": "EdDSA", "kid": <agent id, 32 hex digits>}
    claims   {"iss": <agent id> (optional), "aud": "ucx-collector", "iat": s, "exp": s}     exp - iat <= 600 s
             "run" (optional): the name of this start of the agent's program, up to 32 letters and digits

Nothing here asks a database or a clock: ``read`` takes the text apart and checks all that needs no key,
``Claims.signed_by`` checks the signature. One algorithm is accepted, so nothing can be confused with another.
"""

from __future__ import annotations

import base64
import binascii
import re
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from wire.problem import Unauthorised

T = TypeVar("T", bound=msgspec.Struct)

AUDIENCE = "ucx-collector"
LEEWAY_S = 60
MAX_LIFE_S = 600
MAX_TOKEN_CHARS = 4096
_AGENT_ID = re.compile(r"[0-9a-f]{32}")
_RUN = re.compile(r"[A-Za-z0-9]{1,32}")
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


class _Header(msgspec.Struct, frozen=True):
    alg: str
    kid: str


class _Payload(msgspec.Struct, frozen=True):
    aud: str
    iat: float
    exp: float
    iss: str = ""
    """When it is there it must be the ``kid``, which is signed as well."""
    run: str = ""


class Claims(msgspec.Struct, frozen=True):
    """What a token says, before its signature is checked."""

    agent_id: UUID
    issued_at: float
    """Seconds since 1970, by the agent's clock."""
    expires_at: float
    """Seconds since 1970, by the agent's clock."""
    signed: bytes
    signature: bytes
    run: str = ""
    """Which start of the agent's program speaks; empty when it does not say."""

    def check_time(self, now: datetime) -> None:
        """Raise Unauthorised unless ``now`` is within the token's life, give or take the leeway."""
        at = now.timestamp()
        if self.issued_at > at + LEEWAY_S:
            raise Unauthorised(
                "The token was issued in the future: correct the host's clock by our Date header."
            )
        if self.expires_at < at - LEEWAY_S:
            raise Unauthorised(
                "The token has expired: sign a new one (by a clock corrected by our Date header)."
            )

    def signed_by(self, public_key: bytes) -> bool:
        """True when ``public_key`` (32 bytes, Ed25519) made the signature."""
        try:
            Ed25519PublicKey.from_public_bytes(public_key).verify(self.signature, self.signed)
        except InvalidSignature:
            return False
        return True


def read(token: str) -> Claims:
    """Take a token apart. Raises Unauthorised for anything that an agent of ours would not send."""
    parts = token.split(".") if len(token) <= MAX_TOKEN_CHARS else []
    if len(parts) != 3:
        raise Unauthorised("The bearer token is neither an API key (ucxk_...) nor an agent's signed token.")
    header = _decode(parts[0], _Header)
    payload = _decode(parts[1], _Payload)
    if header.alg != "EdDSA" or not _AGENT_ID.fullmatch(header.kid) or payload.iss not in ("", header.kid):
        raise Unauthorised("The token must be signed with EdDSA and name the agent in 'kid' (and 'iss').")
    if payload.aud != AUDIENCE:
        raise Unauthorised(f"The token is meant for another audience than '{AUDIENCE}'.")
    if not 0 < payload.exp - payload.iat <= MAX_LIFE_S:
        raise Unauthorised(f"The token's life must be more than 0 and at most {MAX_LIFE_S} s.")
    signed = f"{parts[0]}.{parts[1]}".encode("ascii")
    run = payload.run if _RUN.fullmatch(payload.run) else ""
    return Claims(UUID(hex=header.kid), payload.iat, payload.exp, signed, _unpack(parts[2]), run)


def _decode(part: str, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(_unpack(part), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise Unauthorised(f"The token cannot be read: {fault}") from None
    except RecursionError:
        raise Unauthorised("The token cannot be read: it is nested too deeply.") from None


def _unpack(part: str) -> bytes:
    if not _BASE64URL.fullmatch(part):
        raise Unauthorised("The token cannot be read: its parts must be base64url.")
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except binascii.Error:
        raise Unauthorised("The token cannot be read: its parts must be base64url.") from None
