"""Who this host is: an Ed25519 key that never leaves it, and what the collector called it at enrolment.

<state>/agent.json       agent id, tenant, deployment, host, collector, names of key files - nothing secret
<state>/agent.key        32 bytes of seed, base64url, readable by the agent's user only: the first key
<state>/agent-<name>.key  later keys, named by their public half

Which key counts is said in agent.json alone, so replacing that one file switches identity and key together: a
crash leaves the old state or the new one.

IdentityError
|- NotEnrolled   no agent.json: run `ucx-agent enrol`
`- Unusable      a file is damaged, unreadable or open to others
"""

from __future__ import annotations

import hashlib
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
    key: str = KEY_FILE
    """File of the key in force."""
    next_key: str = ""
    """File of the key that is being registered; empty when none is."""
    former_key: str = ""
    """File of the key before, kept while the collector accepts it; empty when none is."""
    former_until: float = 0.0
    """Until when it does, seconds since 1970."""
    key_since: float = 0.0
    """When ``key`` was put in force, seconds since 1970; 0: at enrolment."""
    machine: str = ""
    """Fingerprint of the machine that was enrolled (agent/machine.py); empty when it was not known."""
    predecessors: tuple[AgentId, ...] = ()
    """Agents that spoke for this host before: what they had not delivered goes on under their names."""


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


def load_key(state: Path, name: str = "") -> Ed25519PrivateKey:
    """The private key in the file of this name, else the one in force; raises IdentityError."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = state / (name or _key_in_force(state))
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


def _key_in_force(state: Path) -> str:
    try:
        return load_identity(state).key
    except IdentityError:
        return KEY_FILE


def make_key(state: Path, name: str = KEY_FILE) -> Ed25519PrivateKey:
    """The key in the file of this name; when there is none a new one, written before anybody hears of it.

    So an enrolment whose answer was lost can be repeated with the same key."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        return load_key(state, name)
    except NotEnrolled:
        return keep_key(state, name, Ed25519PrivateKey.generate())


def keep_key(state: Path, name: str, key: Ed25519PrivateKey) -> Ed25519PrivateKey:
    """Write a key to a file of its own, durably."""
    write_private(state / name, b64url(key.private_bytes_raw()).encode() + b"\n")
    return key


def key_name(key: Ed25519PrivateKey) -> str:
    """The file that this key is kept in: no two keys share one."""
    return f"agent-{hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()[:16]}.key"


def sweep_keys(state: Path, identity: Identity) -> None:
    """Delete key files that nothing names: of changes that were cut short, or are over."""
    named = {identity.key, identity.next_key, identity.former_key}
    for path in (*state.glob("agent-*.key"), state / KEY_FILE):
        if path.name not in named:
            path.unlink(missing_ok=True)


def public_key(key: Ed25519PrivateKey) -> str:
    """The public half, as the collector takes it: base64url of 32 bytes."""
    return b64url(key.public_key().public_bytes_raw())
