"""An agent replaces its key: the new one counts at once, the old one for an overlap.

The overlap is for the agent: killed between our commit and its own switch, it still speaks with the old key,
asks again with the same new one, and gets the same answer. Only the key in force can be replaced; who comes
with a replaced one and asks for a third key is a copy of the host (a clone, a reverted machine), and is told.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from collector.directory import Q
from storage.pool import Pool
from wire.problem import Conflict, FieldError, Unauthorised, Unprocessable
from wire.rotation import statement


class Replacement(msgspec.Struct, frozen=True):
    """What an agent asks for. Keys have 32 bytes (Ed25519), signatures 64; see wire/rotation.py."""

    old: bytes
    new: bytes
    by_old: bytes
    by_new: bytes


class Replaced(msgspec.Struct, frozen=True):
    """Since when the new key counts, and until when the old one does."""

    key_since: datetime
    retires_at: datetime


class Held(msgspec.Struct, frozen=True):
    """What the database knows of an agent's keys, locked."""

    tenant_id: int
    current: bytes
    revoked: bool
    replaced: dict[bytes, Replaced]
    """Replaced keys, and what the answer was."""


class Verdict(StrEnum):
    REPLACE = "replace it"
    DONE = "done already"
    REVOKED = "the agent's credential was revoked"
    STALE = "the old key was replaced by another one already"
    USED = "the new key was used before"


def judge(held: Held, asked: Replacement) -> Verdict:
    """What becomes of a request whose signatures are good."""
    if held.revoked:
        return Verdict.REVOKED
    if asked.new == held.current and asked.old in held.replaced:
        return Verdict.DONE
    if asked.old != held.current:
        return Verdict.STALE
    return Verdict.USED if asked.new in held.replaced or asked.new == asked.old else Verdict.REPLACE


def check_signatures(agent_id: UUID, asked: Replacement) -> None:
    """Raise Unprocessable unless both keys signed the statement."""
    said = statement(agent_id.hex, asked.old, asked.new)
    faults = [
        FieldError(field, "is not by this key over this change")
        for field, key, signature in (
            ("signed_by_old", asked.old, asked.by_old),
            ("signed_by_new", asked.new, asked.by_new),
        )
        if not _signed(key, signature, said)
    ]
    if faults:
        raise Unprocessable("Both keys must sign the change (wire/rotation.py).", errors=faults)


def _signed(key: bytes, signature: bytes, said: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, said)
    except (InvalidSignature, ValueError):
        return False
    return True


async def replace_key(
    pool: Pool, agent_id: UUID, asked: Replacement, now: datetime, overlap: timedelta
) -> Replaced:
    """Replace an agent's key; repeatable. Raises Unprocessable, Conflict or Unauthorised (revoked)."""
    check_signatures(agent_id, asked)
    async with pool.connection() as conn, conn.transaction():
        row = await (await conn.execute(Q.agent_lock, {"agent_id": agent_id})).fetchone()
        if row is None:
            raise Unauthorised("No agent of this id is enrolled here.")
        held = await _held(conn, agent_id, row)
        verdict = judge(held, asked)
        if verdict is Verdict.DONE:
            return held.replaced[asked.old]
        if verdict is not Verdict.REPLACE:
            raise _refusal(verdict)
        change = {"tenant_id": held.tenant_id, "agent_id": agent_id, "old": asked.old, "new": asked.new}
        done = Replaced(now, now + overlap)
        await conn.execute(Q.key_replace, {**change, "now": now, "retires_at": done.retires_at})
        return done


async def _held(conn: Any, agent_id: UUID, row: tuple[Any, ...]) -> Held:
    scope = {"tenant_id": row[0], "agent_id": agent_id}
    rows = await (await conn.execute(Q.keys_replaced, scope)).fetchall()
    return Held(
        row[0], row[1], row[2] is not None, {key: Replaced(since, until) for key, since, until in rows}
    )


def _refusal(verdict: Verdict) -> Exception:
    match verdict:
        case Verdict.REVOKED:
            return Unauthorised("This agent's credential was revoked; enrol the host again.", slug="revoked")
        case Verdict.STALE:
            return Conflict(
                "This key was replaced already, by another copy of this host: enrol one of the two again.",
                slug="key-replaced",
            )
        case _:
            return Conflict("The new key was used before: make another one.", slug="key-used")
