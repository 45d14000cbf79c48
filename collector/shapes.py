"""Bodies and parameters of the HTTP API: what is legal, said in types, and so in the API's document too."""

from __future__ import annotations

import base64
import binascii
import re
from datetime import UTC, datetime
from typing import Annotated

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fastapi import Path, Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    field_validator,
)

from collector.rotation import Replacement
from wire.access import Role

MAX_ID = 2**63 - 1
TOKEN = re.compile(r"ucxe_[A-Za-z0-9_-]{43}")
"""An enrolment token."""
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
_LATEST = datetime(2100, 1, 1, tzinfo=UTC)
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def _plain(text: str) -> str:
    if _CONTROL.search(text):
        raise ValueError("control characters are not allowed")
    return text


def _in_range(at: datetime) -> datetime:
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 2000 and 2100") from None
    if not _EARLIEST <= at <= _LATEST:
        raise ValueError("must lie between the years 2000 and 2100")
    return at


def _public_key(text: str) -> str:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("must be base64url of 32 bytes") from None
    if len(raw) != 32:
        raise ValueError(f"must be base64url of 32 bytes, these are {len(raw)}")
    Ed25519PublicKey.from_public_bytes(raw)
    return text


Text = Annotated[str, StringConstraints(min_length=1, max_length=255), AfterValidator(_plain)]
Key = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
Time = Annotated[AwareDatetime, AfterValidator(_in_range)]
Facts = Annotated[
    dict[Text, Annotated[str, StringConstraints(max_length=512), AfterValidator(_plain)]],
    Field(max_length=32),
]
PublicKey = Annotated[str, StringConstraints(min_length=43, max_length=44), AfterValidator(_public_key)]
Signature = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{86}$")]
"""base64url of an Ed25519 signature's 64 bytes."""
Id = Annotated[int, Path(ge=1, le=MAX_ID)]
HostParameter = Annotated[int, Query(ge=1, le=MAX_ID, description="Id of the host")]
Limit = Annotated[int, Query(ge=1, le=1000, description="Most rows in the answer")]
AgentIdText = Annotated[str, Path(pattern=r"^[0-9a-f]{32}$", description="Id of the agent, 32 hex digits")]


class Strict(BaseModel):
    """A body that knows all its fields."""

    model_config = ConfigDict(extra="forbid")


class EnrolBody(Strict):
    """What an agent sends once, to be enrolled."""

    token: Annotated[str, StringConstraints(pattern=f"^{TOKEN.pattern}$")]
    host_name: Text
    public_key: PublicKey
    """base64url of the Ed25519 public key's 32 bytes."""
    facts: Facts = Field(default_factory=dict)
    """``os``, ``agent_version``, ``platform_version`` and the like."""

    @field_validator("token", mode="before")
    @classmethod
    def _is_whole(cls, token: object) -> object:
        """In words for the person who copied it; the pattern says the same to programs."""
        if isinstance(token, str) and not TOKEN.fullmatch(token):
            raise ValueError("is no enrolment token: copy the whole of it, ucxe_ and 43 characters")
        return token

    def key_bytes(self) -> bytes:
        """The public key, 32 bytes."""
        return base64.urlsafe_b64decode(self.public_key + "=" * (-len(self.public_key) % 4))


class EnrolledBody(BaseModel):
    """Who the agent is from now on."""

    agent_id: str
    tenant: str
    deployment: str
    host: str
    predecessors: list[str] = Field(default_factory=list)
    """Agents that spoke for this host before, newest first: their undelivered batches may still be sent."""


class KeyReplacementBody(Strict):
    """An agent's new key, signed by the old one and by itself (wire/rotation.py)."""

    old_key: PublicKey
    new_key: PublicKey
    signed_by_old: Signature
    signed_by_new: Signature

    def decoded(self) -> Replacement:
        """As bytes."""
        texts = (self.old_key, self.new_key, self.signed_by_old, self.signed_by_new)
        return Replacement(*(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)) for text in texts))


class TokenBody(Strict):
    """An enrolment token to be made."""

    tenant: Key
    deployment: Key
    ttl_s: Annotated[int, Field(ge=60, le=30 * 86_400)] = 86_400


class TokenMade(BaseModel):
    """A new enrolment token: shown here and never again."""

    token: str
    expires_at: datetime


class KeyBody(Strict):
    """An API key to be made."""

    name: Text
    role: Role
    tenant: Key | None = None
    deployment: Key | None = None


class KeyMade(BaseModel):
    """A new API key: shown here and never again."""

    api_key_id: int
    key: str


class Replaced(BaseModel):
    """Since when an agent's new key counts, and until when the old one is accepted."""

    key_since: datetime
    retires_at: datetime


class Revoked(BaseModel):
    """Since when a credential is revoked."""

    revoked_at: datetime


class FactsBody(Strict):
    """What an agent reports of its platform."""

    facts: Facts


class FactsStored(BaseModel):
    """All facts of the host after the merge."""

    facts: dict[str, object]
