"""``ucx-agent enrol``: makes the key, shows its public half and a token to the collector, keeps the answer.

EnrolmentError         the message says what to do
`- RefusedEnrolment    the collector itself said no: nothing is left behind
"""

from __future__ import annotations

import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec.structs import replace

from agent import VERSION
from agent.delivery import Reply, read_problem
from agent.identity import (
    KEY_FILE,
    Identity,
    IdentityError,
    keep_key,
    key_name,
    load_identity,
    load_key,
    make_key,
    public_key,
    save_identity,
    sweep_keys,
)
from agent.machine import fingerprint
from agent.privatefile import close_directory
from agent.proxy import Proxy
from agent.transport import Transport, Unreachable
from wire.batch import AgentId

PENDING_KEY = "enrol.key"
"""The key that a host which is enrolled already enrols with anew, until the collector has answered."""


_RULER = "administrator" if sys.platform == "win32" else "root"


class EnrolmentError(Exception):
    """Enrolment did not happen."""


class RefusedEnrolment(EnrolmentError):
    """The collector itself said no: this key is known nowhere."""


class Answer(msgspec.Struct, frozen=True):
    """The collector's 201."""

    agent_id: AgentId
    tenant: str
    deployment: str
    host: str
    predecessors: tuple[AgentId, ...] = ()
    """Agents that spoke for this host before."""


def prepare_state(state: Path) -> bool:
    """Make the state directory, for the agent's own user only; True when it was not there. Raises
    EnrolmentError."""
    try:
        made = not state.exists()
        if made:
            state.mkdir(parents=True, mode=0o700)
            close_directory(state)
        probe = state / ".write-test"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as fault:
        raise EnrolmentError(
            f"{state} cannot be used: {fault.strerror}. Run as {_RULER}, or choose another with --state-dir."
        ) from None
    return made


def enrol(
    state: Path,
    collector_url: str,
    token: str,
    host_name: str,
    *,
    ca_file: Path | None = None,
    platform_version: str | None = None,
    proxy: Proxy | None = None,
) -> Identity:
    """Enrol this host. Repeatable: the key is kept, so an answer that was lost can be asked for again; only a
    refusal takes a key that was made for it away again.

    A host that is enrolled already gets a new key; until the new identity is written, the old one is whole.
    What it has not delivered goes on under its former name - if the collector says that this host bore it."""
    made = prepare_state(state)
    known = _known(state)
    pending = PENDING_KEY if known else KEY_FILE
    fresh = not (state / pending).exists()
    request = {
        "token": token,
        "host_name": host_name,
        "public_key": public_key(make_key(state, pending)),
        "facts": facts(platform_version),
    }
    transport = Transport(collector_url, ca_file, proxy=proxy)
    try:
        headers = {"Content-Type": "application/json"}
        reply = transport.request("POST", "/v1/enrol", msgspec.json.encode(request), headers)
    except Unreachable as fault:
        raise EnrolmentError(f"{collector_url} gives no answer: {fault}. Is the address right?") from None
    finally:
        transport.close()
    try:
        answer = read_answer(reply)
    except RefusedEnrolment:
        _leave_nothing(state, state / pending if fresh else None, made=made)
        raise
    identity = Identity(
        *(answer.agent_id, answer.tenant, answer.deployment, answer.host, collector_url),
        machine=fingerprint(),
        predecessors=answer.predecessors,
    )
    if known:
        key = load_key(state, pending)
        keep_key(state, key_name(key), key)
        identity = replace(identity, key=key_name(key))
    save_identity(state, identity)
    if known:
        (state / PENDING_KEY).unlink(missing_ok=True)
        sweep_keys(state, identity)
    return identity


def _leave_nothing(state: Path, key: Path | None, *, made: bool) -> None:
    """After a refusal: what this attempt made goes again."""
    with suppress(OSError):
        if key is not None:
            key.unlink(missing_ok=True)
        if made:
            state.rmdir()


def _known(state: Path) -> Identity | None:
    try:
        return load_identity(state)
    except IdentityError:
        return None


def facts(platform_version: str | None) -> dict[str, str]:
    """What the collector may know of the host: its system and versions."""
    known = {"os": f"{platform.system()} {platform.release()}"[:200], "agent_version": VERSION}
    return known | ({"platform_version": platform_version} if platform_version else {})


def read_answer(reply: Reply) -> Answer:
    """The collector's answer; raises EnrolmentError for anything else."""
    if reply.status in (200, 201):
        try:
            return msgspec.json.decode(reply.body, type=Answer)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise EnrolmentError(
                "The answer is not the collector's: does a proxy answer in its place?"
            ) from None
    problem = read_problem(reply)
    if problem is None:
        raise EnrolmentError(f"Status {reply.status}, not from a collector. Is the address right?")
    faults = "; ".join(f"{error.field}: {error.message}" for error in problem.errors[:5])
    said = f"The collector refuses: {problem.detail or reply.status} {faults}".strip()
    raise (RefusedEnrolment if 400 <= reply.status < 500 else EnrolmentError)(said)


def host_name() -> str:
    """This host's own name."""
    if sys.platform == "win32":
        return os.environ.get("COMPUTERNAME", platform.node()) or "host"
    else:  # noqa: RET505 - type checkers follow the platform only through if and else
        return os.uname().nodename or "host"
