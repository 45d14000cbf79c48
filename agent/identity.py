"""Who this host is: an Ed25519 key that never leaves it, and what the collector called it at enrolment.

<state>/agent.key   32 bytes of seed, base64url, readable by the agent's user only
<state>/agent.json  agent id, tenant, deployment, host, collector - nothing secret

IdentityError
|- NotEnrolled   no agent.json: run `ucx-agent enrol`
`- Unusable      a file is damaged, unreadable or open to others
"""

from __future__ import annotations

from base64 import urlsafe_b64decode
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from agent.privatefile import exposed_to_others, how_to_close, write_private
from agent.token import b64url
from wire.batch import AgentId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_FILE = "agent.key"
IDENTITY_FILE = "agent.json"


class IdentityError(Exception):
    """Base; the message says what to do."""


class NotEnrolled(IdentityError):
    pass


class Unusable(IdentityError):
    pass


class Identity(msgspec.Struct, frozen=True):
    """What enrolment gave us."""

    agent_id: AgentId
    tenant: str
    deployment: str
    host: str
    collector_url: str


def load_identity(state: Path) -> Identity:
    """Who we are; raises IdentityError."""
    path = state / IDENTITY_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Identity)
    except FileNotFoundError:
        raise NotEnrolled(
            f"This host is not enrolled ({path} does not exist)."
            " Run: ucx-agent enrol --collector URL --token TOKEN"
        ) from None
    except OSError as fault:
        raise Unusable(f"{path} cannot be read: {fault.strerror}. Run as the agent's own user.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise Unusable(f"{path} is damaged ({fault}). Enrol this host again.") from None


def save_identity(state: Path, identity: Identity) -> None:
    """Written last at enrolment: while it is missing, the host is not enrolled."""
    document = msgspec.json.format(msgspec.json.encode(identity), indent=2)
    write_private(state / IDENTITY_FILE, document + b"\n")


def load_key(state: Path) -> Ed25519PrivateKey:
    """The private key; raises IdentityError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = state / KEY_FILE
    try:
        if exposed_to_others(path):
            raise Unusable(f"{path} can be read by other users. {how_to_close(path)}")
        seed = urlsafe_b64decode(path.read_bytes().strip() + b"=")
        return Ed25519PrivateKey.from_private_bytes(seed)
    except FileNotFoundError:
        raise NotEnrolled(f"{path} does not exist. Enrol this host: ucx-agent enrol") from None
    except OSError as fault:
        raise Unusable(f"{path} cannot be read: {fault.strerror}. Run as the agent's own user.") from None
    except ValueError:
        raise Unusable(f"{path} is damaged. Enrol this host again.") from None


def make_key(state: Path) -> Ed25519PrivateKey:
    """The key to enrol with: the one that is there, else a new one, written before anybody hears of it.

    So an enrolment whose answer was lost can be repeated with the same key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        return load_key(state)
    except NotEnrolled:
        key = Ed25519PrivateKey.generate()
        write_private(state / KEY_FILE, b64url(key.private_bytes_raw()).encode() + b"\n")
        return key


def public_key(key: Ed25519PrivateKey) -> str:
    """The public half, as the collector takes it: base64url of 32 bytes."""
    return b64url(key.public_key().public_bytes_raw())
