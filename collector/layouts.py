"""Layouts: stored once per tenant, named by their content, cached only after their own commit.

A layout is never part of a batch's transaction: a batch that is rolled back must not leave, or take away, a
layout that another one has been told of.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable
from datetime import datetime

import msgspec

from alerting.evaluate import HostKey
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

    def __init__(self, pool: Pool, *, most_per_tenant: int, most_per_host: int) -> None:
        self._pool = pool
        self._most_per_tenant = most_per_tenant
        self._most_per_host = most_per_host
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

    def known(self, tenant_id: int, digests: Collection[bytes]) -> dict[bytes, StoredLayout] | None:
        """``resolve`` without asking the database; None when it would have to be asked."""
        found: dict[bytes, StoredLayout] = {}
        for digest in digests:
            hit = self._cached(tenant_id, digest)
            if hit is None:
                return None
            found[digest] = hit
        return found

    async def register(self, host: HostKey, body: bytes, now: datetime) -> StoredLayout:
        """Store a layout of ``host``, or find that it is there; ``body`` is canonical bytes, validated.

        Raises Unprocessable when the host or its tenant has as many as we keep."""
        tenant_id = host.tenant_id
        digest = wire_layout.digest(body)
        known = self._cached(tenant_id, digest) or (await self._load(tenant_id, {digest})).get(digest)
        if known is not None:
            return known
        row = {
            "tenant_id": tenant_id,
            "digest": digest,
            "body": body,
            "now": now,
            "most": self._most_per_tenant,
        }
        async with self._pool.connection() as conn:
            used = await (await conn.execute(Q.host_layout_count, host._asdict())).fetchone()
            assert used is not None
            if used[0] >= self._most_per_host:
                raise _too_many("host", self._most_per_host)
            await conn.execute(Q.layout_insert, row)
        stored = (await self._load(tenant_id, {digest})).get(digest)
        if stored is None:
            raise _too_many("tenant", self._most_per_tenant)
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


def _too_many(whose: str, most: int) -> Unprocessable:
    return Unprocessable(
        f"This {whose} has {most} layouts already, the most we keep: look for a check whose set of series"
        " changes all the time.",
        slug="too-many-layouts",
    )


def decode(body: bytes) -> Layout:
    """A stored layout's bytes as a value; they were validated before they were stored."""
    return msgspec.msgpack.decode(body, type=Layout)
