"""The rules in the database: packs and overrides, versioned together.

Whatever changes the rules takes a new version number under one lock; a collector that sees a newer version in
``lock_hosts`` loads anew before it judges. What cannot be read is left out, noted as failing, and never keeps
ingest from going on: the newest pack that can be read is in force, or the shipped one. It only stands in:
during an update a newer collector on the same database may read more, and its alerts are left to it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from alerting.errors import AlertingError, PackError
from alerting.evaluator import Evaluator
from alerting.override import Override, parse_patch
from alerting.pack import DEFAULT_NAME, default_document, parse_pack
from alerting.rule import Rule
from storage.sql import Queries
from wire.problem import FieldError, NotFound, Unprocessable

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
log = logging.getLogger(__name__)
_PACK = "(pack)"
"""In place of a rule's id where a whole pack cannot be read."""


async def load_evaluator(conn: Connection) -> Evaluator:
    """The rules in force with their overrides; the very first start stores and takes the shipped pack."""
    if await newest_version(conn) == 0:
        await store_pack(conn, default_document(), DEFAULT_NAME, "shipped")
    version = await newest_version(conn)
    rules, stands_in = await _rules(conn, version)
    return Evaluator(version, rules, await _overrides(conn, version, rules), stands_in=stands_in)


async def current_evaluator(conn: Connection, held: Evaluator | None) -> Evaluator:
    """The evaluator held, or a new one when the rules have changed since."""
    if held is not None and held.version >= await newest_version(conn):
        return held
    return await load_evaluator(conn)


async def newest_version(conn: Connection) -> int:
    """Version of the rules, overrides included; 0 = none stored yet."""
    row = await (await conn.execute(Q.newest_version)).fetchone()
    assert row is not None
    version: int = row[0]
    return version


async def _rules(conn: Connection, version: int) -> tuple[tuple[Rule, ...], bool]:
    """The rules of the newest pack that can be read, and whether they stand in for those of a newer one."""
    stands_in = False
    for pack_version, document in await (await conn.execute(Q.active_packs)).fetchall():
        try:
            rules = parse_pack(document, f"rules of version {pack_version}").rules
        except PackError as error:
            await _failing(conn, version, _PACK, error)
            stands_in = True
        else:
            if not stands_in:
                await conn.execute(Q.forget_failing, {"version": version, "rule_id": _PACK})
            return rules, stands_in
    return parse_pack(default_document(), "shipped rules").rules, stands_in


async def _overrides(conn: Connection, version: int, rules: Sequence[Rule]) -> list[Override]:
    found = []
    for override_id, tenant_id, deployment_id, host_id, rule_id, document in await (
        await conn.execute(Q.overrides)
    ).fetchall():
        try:
            patch = parse_patch(document, rules, f"override {override_id}")
            found.append(Override(override_id, tenant_id, deployment_id, host_id, patch))
        except PackError as error:
            await _failing(conn, version, rule_id, error)
    return found


async def overrides_on(conn: Connection, rules: Sequence[Rule]) -> list[Override]:
    """The overrides in force as far as they fit these rules: for a pack that is on trial."""
    found = []
    for override_id, tenant_id, deployment_id, host_id, _, document in await (
        await conn.execute(Q.overrides)
    ).fetchall():
        with contextlib.suppress(PackError):
            patch = parse_patch(document, rules)
            found.append(Override(override_id, tenant_id, deployment_id, host_id, patch))
    return found


async def _failing(conn: Connection, version: int, rule_id: str, error: Exception) -> None:
    log.error("rules of version %d: %s is left out: %s", version, rule_id, error)
    await conn.execute(Q.note_failing, {"version": version, "rule_id": rule_id, "error": str(error)})


async def store_pack(conn: Connection, document: str, name: str, by: str) -> int:
    """Check a pack and put it in force: its version. Raises PackError.

    The document that is in force already makes no new version."""
    parse_pack(document, name)
    given = {
        "name": name,
        "document": document,
        "digest": hashlib.sha256(document.encode()).digest(),
        "by": by,
    }
    async with conn.transaction():
        await conn.execute(Q.lock_rules)
        rows = await (await conn.execute(Q.active_packs)).fetchall()
        if rows and rows[0][1] == document:
            return int(rows[0][0])
        row = await (await conn.execute(Q.store_pack, given)).fetchone()
    assert row is not None
    return int(row[0])


async def set_override(
    conn: Connection,
    tenant_id: int,
    deployment_id: int | None,
    host_id: int | None,
    document: str,
    author: str,
) -> int:
    """Check an override and put it in force, in place of the one for the same rule and scope: the version.

    Raises PackError for the document, AlertingError for a host without its deployment."""
    if host_id is not None and deployment_id is None:
        raise AlertingError("An override for a host needs the host's deployment too.")
    rules, _ = await _rules(conn, await newest_version(conn))
    patch = parse_patch(document, rules)
    given = {
        "tenant_id": tenant_id,
        "deployment_id": deployment_id,
        "host_id": host_id,
        "rule_id": patch.rule_id,
        "document": document,
        "author": author,
    }
    async with conn.transaction():
        await conn.execute(Q.lock_rules)
        await conn.execute(Q.remove_override, given)
        await conn.execute(Q.store_override, given)
        return await newest_version(conn)


async def remove_override(
    conn: Connection, tenant_id: int, deployment_id: int | None, host_id: int | None, rule_id: str
) -> bool:
    """Take an override out of force; False: there is none."""
    given = {"tenant_id": tenant_id, "deployment_id": deployment_id, "host_id": host_id, "rule_id": rule_id}
    async with conn.transaction():
        await conn.execute(Q.lock_rules)
        return (await conn.execute(Q.remove_override, given)).rowcount > 0


async def scope_ids(
    conn: Connection, tenant: str, deployment: str | None, host: str | None
) -> tuple[int, int | None, int | None]:
    """Ids of the names given. Raises NotFound, or Unprocessable for a host without its deployment."""
    if host is not None and deployment is None:
        fault = FieldError("deployment", "is missing")
        raise Unprocessable("A host is named within its deployment.", errors=[fault])
    given = {"tenant": tenant, "deployment": deployment, "host": host}
    row = await (await conn.execute(Q.scope_ids, given)).fetchone()
    if row is None or (deployment and row[1] is None) or (host and row[2] is None):
        raise NotFound("There is no such tenant, deployment or host.")
    return row[0], row[1], row[2]
