"""The shipped pack at a process's start: taken when it is new, never put over what a person has written.

The pack in force is ours when its text is one that a release stored by itself ("shipped"). Then the pack of a
newer release takes its place; a release whose pack was stored before does nothing, so that an older process
beside a newer one does not turn the rules back.
"""

from __future__ import annotations

import hashlib
import logging
from enum import StrEnum
from typing import Any

from psycopg import AsyncConnection

from alerting.pack import DEFAULT_NAME, default_document
from alerting.rulebook import Q, store_pack

Connection = AsyncConnection[tuple[Any, ...]]
log = logging.getLogger(__name__)
SHIPPED = "shipped"
"""``loaded_by`` of what a release stored by itself."""


class Verdict(StrEnum):
    """What becomes of the shipped pack at a start."""

    SAME = "it is in force already"
    TAKEN = "it was put in force"
    OLDER = "it was in force before; what came after it stays"
    ALTERED = "the pack in force was written or altered by a person, and stays"


def verdict(ours: bytes, in_force: bytes | None, stored_by_us: set[bytes]) -> Verdict:
    """From digests: of our pack, of the one in force (None: none is), of all that releases ever stored."""
    if in_force == ours:
        return Verdict.SAME
    if in_force is not None and in_force not in stored_by_us:
        return Verdict.ALTERED
    return Verdict.OLDER if ours in stored_by_us else Verdict.TAKEN


async def settle(conn: Connection, document: str | None = None) -> Verdict:
    """Take, or leave, this release's pack. ``document``: instead of the shipped one (tests)."""
    text = default_document() if document is None else document
    async with conn.transaction():
        await conn.execute(Q.lock_rules)
        rows = await (await conn.execute(Q.pack_digests)).fetchall()
        in_force = next((row for row in rows if row[1] == "active"), None)
        stored = {row[2] for row in rows if row[3] == SHIPPED}
        found = verdict(hashlib.sha256(text.encode()).digest(), in_force[2] if in_force else None, stored)
        if found is Verdict.TAKEN:
            version = await store_pack(conn, text, DEFAULT_NAME, SHIPPED)
            log.info("rules: the shipped pack is in force as version %d", version)
    if found is Verdict.ALTERED and in_force is not None:
        log.warning(
            "RULES NOT UPGRADED: version %d in force was loaded by %s and is not a shipped pack. This one "
            "ships another. Compare: 'ucx-proactive rules diff FILE'; take it: 'ucx-proactive rules load'.",
            in_force[0],
            in_force[3],
        )
    return found
