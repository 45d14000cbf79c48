"""Layouts: stored once per tenant, named by their content, cached only after their own commit.

A layout is never part of a batch's transaction: a batch that is rolled back must not leave, or take away, a
layout that another one has been told of.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from datetime import datetime

import msgspec

from collector.directory import Q
from storage.pool import Pool
from wire import layout as wire_layout
from wire.layout import Layout
from wire.problem import Conflict, Unprocessable

CACHED = 100_000
"""Layouts kept in memory; the least recently used go first."""


class StoredLayout(msgspec.Struct, frozen=True):
    """A committed layout."""

    layout_id: int
    layout: Layout


class LayoutStore:
    """Finds and registers layouts; one per process."""

    def __init__(self, pool: Pool, *, most_per_tenant: int) -> None:
        self._pool = pool
        self._most = most_per_tenant
        self._cache: OrderedDict[tuple[int, bytes], StoredLayout] = OrderedDict()

    async def resolve(self, tenant_id: int, digests: Iterable[bytes]) -> dict[bytes, StoredLayout]:
        """The layouts of these digests. Raises Conflict (unknown-layouts) naming those we do not have."""
        wanted = set(digests)
        found = {digest: hit for digest in wanted if (hit := self._cached(tenant_id, digest))}
        if len(found) < len(wanted):
            found |= await self._load(tenant_id, wanted - found.keys())
        missing = sorted(digest.hex() for digest in wanted - found.keys())
        if missing:
            raise Conflict(
                "Upload what 'layouts' names by PUT /v1/layouts/<digest>, then send the batch again.",
                slug="unknown-layouts",
                layouts=missing,
            )
        return found

    async def register(self, tenant_id: int, body: bytes, layout: Layout, now: datetime) -> StoredLayout:
        """Store a layout, or find that it is there. ``body`` is its canonical bytes, already validated."""
        digest = wire_layout.digest(body)
        known = self._cached(tenant_id, digest) or (await self._load(tenant_id, {digest})).get(digest)
        if known is not None:
            return known
        row = {"tenant_id": tenant_id, "digest": digest, "body": body, "now": now, "most": self._most}
        async with self._pool.connection() as conn:
            await conn.execute(Q.layout_insert, row)
        stored = (await self._load(tenant_id, {digest})).get(digest)
        if stored is None:
            raise Unprocessable(
                f"This tenant has {self._most} layouts already, the most we keep: look for a host"
                " whose set of series changes all the time.",
                slug="too-many-layouts",
            )
        return stored

    def _cached(self, tenant_id: int, digest: bytes) -> StoredLayout | None:
        hit = self._cache.get((tenant_id, digest))
        if hit is not None:
            self._cache.move_to_end((tenant_id, digest))
        return hit

    async def _load(self, tenant_id: int, digests: set[bytes]) -> dict[bytes, StoredLayout]:
        """Read committed layouts, and only those, into the cache."""
        async with self._pool.connection() as conn:
            rows = await (
                await conn.execute(Q.layout_find, {"tenant_id": tenant_id, "digests": sorted(digests)})
            ).fetchall()
        found = {digest: StoredLayout(layout_id, decode(body)) for digest, layout_id, body in rows}
        for digest, stored in found.items():
            self._cache[tenant_id, digest] = stored
        while len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return found


def decode(body: bytes) -> Layout:
    """A stored layout's bytes as a value; they were validated before they were stored."""
    return msgspec.msgpack.decode(body, type=Layout)
