"""The agent's key is replaced: on a schedule, or by ``ucx-agent rotate-key``.

    1  the new key is written to a file of its own
    2  agent.json names it as the next one
    3  the collector is told, signed by both keys; the old one stays good for an overlap
    4  agent.json names it as the one in force, the former one beside it
    5  when the overlap is over, agent.json forgets the former one, and its file goes

Each step is one durable write or one request that can be repeated: killed anywhere, the agent works with the
key that agent.json names, and the next attempt goes on from there. Who does it holds ``identity.lock``.

RotationError   the message says what to do
|- Busy         another process is at it
`- Stale        another copy of this host replaced the key already: enrol again
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from msgspec.structs import replace

from agent.delivery import Reply, read_problem
from agent.identity import (
    Identity,
    keep_key,
    key_name,
    load_identity,
    load_key,
    public_key,
    save_identity,
    sweep_keys,
)
from agent.lock import Locked, StateLock
from agent.schedule import phase_s
from agent.token import b64url
from wire.rotation import statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PATH = "/v1/agent/key"
DAY_S = 86_400.0
_HEADERS = {"Content-Type": "application/json"}

Ask = Callable[[str, str, bytes, dict[str, str]], Reply]


class RotationError(Exception):
    """Base; the key in force stays in force."""


class Busy(RotationError):
    pass


class Stale(RotationError):
    pass


class Answer(msgspec.Struct, frozen=True):
    """The collector's 200."""

    key_since: datetime
    retires_at: datetime


class Due(NamedTuple):
    """What there is to do about the keys."""

    replace: bool
    why: str
    retire: bool = False


def due(identity: Identity, enrolled_s: float, now_s: float, days: float) -> Due:
    """Whether the key should be replaced, or the former one forgotten; times in seconds since 1970.

    Hosts that were installed together do not come together: each waits up to a tenth longer. ``days`` = 0:
    only what was begun is ended."""
    retire = bool(identity.former_key) and now_s > identity.former_until
    if identity.next_key:
        return Due(True, "a replacement was begun", retire)
    since = identity.key_since or enrolled_s
    life_s = days * DAY_S + phase_s(identity.agent_id, days * DAY_S / 10) if days else 0.0
    old = bool(days) and now_s - since >= life_s
    return Due(old, f"the key is {(now_s - since) / DAY_S:.0f} days old" if old else "", retire)


def enrolled_s(state: Path, identity: Identity) -> float:
    """When the key in force was written, by its file: for identities that do not say it."""
    try:
        return (state / identity.key).stat().st_mtime
    except OSError:
        return identity.key_since


def replace_key(state: Path, ask: Ask) -> Identity:
    """Replace the key, or end a replacement that was begun; the new identity. Raises RotationError, and what
    ``ask`` raises. ``ask`` signs with the key in force."""
    with _alone(state):
        identity = _begin(state)
        old, new = load_key(state, identity.key), load_key(state, identity.next_key)
        answer = _read(ask("POST", PATH, request(identity.agent_id, old, new), _HEADERS))
        return _switch(state, identity, answer)


def retire_key(state: Path, now_s: float) -> Identity:
    """Forget the former key when its overlap is over; the identity afterwards. Raises RotationError."""
    with _alone(state):
        identity = load_identity(state)
        if identity.former_key and now_s > identity.former_until:
            identity = replace(identity, former_key="", former_until=0.0)
            save_identity(state, identity)
        sweep_keys(state, identity)
        return identity


def fall_back(state: Path) -> Identity:
    """The collector knows the former key only (it was restored): that one is in force again, and the newer
    one is registered once more. Raises RotationError."""
    with _alone(state):
        identity = load_identity(state)
        if identity.former_key:
            back = {
                "key": identity.former_key,
                "next_key": identity.key,
                "former_key": "",
                "former_until": 0.0,
            }
            identity = replace(identity, **back)
            save_identity(state, identity)
        return identity


@contextmanager
def _alone(state: Path) -> Iterator[None]:
    lock = StateLock(state / "identity.lock")
    try:
        lock.acquire()
    except Locked:
        raise Busy("Another process is at this host's key: try again in a minute.") from None
    try:
        yield
    finally:
        lock.release()


def _begin(state: Path) -> Identity:
    """Steps 1 and 2, unless they were done before."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    identity = load_identity(state)
    if identity.next_key and (state / identity.next_key).exists():
        return identity
    key = Ed25519PrivateKey.generate()
    keep_key(state, key_name(key), key)
    identity = replace(identity, next_key=key_name(key))
    save_identity(state, identity)
    return identity


def request(agent: str, old: Ed25519PrivateKey, new: Ed25519PrivateKey) -> bytes:
    """What is sent: both public keys, and both signatures."""
    said = statement(agent, old.public_key().public_bytes_raw(), new.public_key().public_bytes_raw())
    body = {
        "old_key": public_key(old),
        "new_key": public_key(new),
        "signed_by_old": b64url(old.sign(said)),
        "signed_by_new": b64url(new.sign(said)),
    }
    return msgspec.json.encode(body)


def _switch(state: Path, identity: Identity, answer: Answer) -> Identity:
    """Step 4."""
    switched = replace(
        identity,
        key=identity.next_key,
        next_key="",
        former_key=identity.key,
        former_until=answer.retires_at.timestamp(),
        key_since=answer.key_since.timestamp(),
    )
    save_identity(state, switched)
    return switched


def _read(reply: Reply) -> Answer:
    if reply.status == 200:
        try:
            return msgspec.json.decode(reply.body, type=Answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise RotationError(
                "The answer is not the collector's: does a proxy answer in its place?"
            ) from None
    problem = read_problem(reply)
    if problem is None:
        raise RotationError(f"Status {reply.status}, not from a collector.")
    kind = Stale if problem.type.endswith((":key-replaced", ":key-retired", ":revoked")) else RotationError
    raise kind(f"The collector refuses: {problem.detail[:300] or reply.status}")
