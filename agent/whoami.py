"""Whether this host's identity is its own, for ``doctor``: copied files, reverted machines, keys, clones."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from agent.asking import Ask
from agent.delivery import Reply, read_problem
from agent.finding import Finding, ok, problem, warning
from agent.identity import Identity
from agent.machine import fingerprint, is_another
from agent.status import Status

ENROL_AGAIN = "Ask the support team for a token, then: ucx-agent enrol --again (what waits is kept and sent)."
_CLONE = "Find the other machine (a clone, a restored copy). On one of the two: ucx-agent enrol --again."


class Known(msgspec.Struct, frozen=True):
    """What the collector says of this agent."""

    host: str
    key_since: datetime
    seen_twice_at: datetime | None = None


def here(identity: Identity, status: Status | None) -> Iterator[Finding]:
    """What can be told without asking anybody."""
    if is_another(identity.machine, fingerprint()):
        yield warning(
            "machine", f"host '{identity.host}' was enrolled on another machine than this one", _CLONE
        )
    if status is not None and status.renumbered:
        yield warning(
            "machine",
            f"{status.renumbered} times a batch's number was taken: this machine was reverted or cloned",
            "A reverted machine needs nothing. If it was cloned: " + _CLONE[0].lower() + _CLONE[1:],
        )
    if identity.next_key:
        yield warning("key", "a replacement was begun and has not ended", "Run: ucx-agent rotate-key")


def refused(reply: Reply) -> Finding:
    """A credential that is not accepted: each reason has its own way out."""
    said = read_problem(reply)
    why = (said.detail if said else "") or "it is not accepted"
    kind = said.type.rpartition(":")[2] if said else ""
    if kind == "key-retired":
        return problem("credential", why, _CLONE)
    return problem("credential", why, f"Revoked, or enrolled elsewhere since? {ENROL_AGAIN}")


def at_the_collector(ask: Ask) -> Iterator[Finding]:
    """What the collector knows; nothing when it is of an earlier version. Raises Unreachable."""
    reply = ask("GET", "/v1/agent", b"", {})
    if reply.status != 200:
        return
    try:
        known = msgspec.json.decode(reply.body, type=Known)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return
    yield ok("key", f"in force since {known.key_since:%Y-%m-%d}")
    if known.seen_twice_at is not None:
        when = f"{known.seen_twice_at:%Y-%m-%d %H:%M} UTC"
        yield problem("identity", f"two agents speak as host '{known.host}', last noticed {when}", _CLONE)
