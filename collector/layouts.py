"""Layouts: stored once per tenant, named by their content, cached only after their own commit.

A layout is never part of a batch's transaction: a batch that is rolled back must not leave, or take away, a
layout that another one has been told of.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from datetime import datetime
from weakref import WeakValueDictionary

import msgspec

from alerting.evaluate import HostKey
from collector.census import Connection, Limits, Overflow, held_by, identities, overflow
from collector.directory import Q
from collector.meters import Meters
from collector.together import Together
from storage import arrays
from storage.pool import Pool
from wire import layout as wire_layout
from wire.layout import Layout
from wire.problem import Conflict, TooBusy, Unprocessable

CACHED = 100_000
"""Layouts kept in memory; the least recently used go first."""
PAIRS_KNOWN = 500_000
"""(host, layout) pairs remembered as let in; then all are forgotten and asked for again when met."""
TURN_S = 10.0
"""Longest wait for the other hosts of a tenant that bring new layouts, in seconds."""
RETRY_AFTER_S = 5.0


class StoredLayout(msgspec.Struct, frozen=True):
    """A committed layout."""

    layout_id: int
    layout: Layout


class LayoutStore:
    """Finds and registers layouts, and knows which host was let use which; one per process."""

    def __init__(
        self, pool: Pool, *, most_per_tenant: int, most_per_host: int, limits: Limits, meters: Meters
    ) -> None:
        self._pool = pool
        self._most_per_tenant = most_per_tenant
        self._most_per_host = most_per_host
        self._limits = limits
        self._meters = meters
        self._cache: OrderedDict[tuple[int, bytes], StoredLayout] = OrderedDict()
        self._admitted: set[tuple[HostKey, bytes]] = set()
        self._together: Together[tuple[HostKey, bytes], bool] = Together(self._admitted_of)
        self._turns: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        """One per tenant that brings new layouts now."""

    async def resolve(
        self, host: HostKey, digests: Iterable[bytes], now: datetime
    ) -> dict[bytes, StoredLayout]:
        """The layouts of these digests. Raises Conflict (unknown-layouts) naming those that we do not have,
        or that this host is to ask for first (so that a refusal says what is wrong with which layout)."""
        wanted = set(digests)
        found = {digest: hit for digest in wanted if (hit := self._cached(host.tenant_id, digest))}
        if len(found) < len(wanted):
            found |= await self._load(host.tenant_id, wanted - found.keys())
        missing = (wanted - found.keys()) | await self._not_admitted(host, found, now)
        if missing:
            raise Conflict(
                "Upload what 'layouts' names by PUT /v1/layouts/<digest>, then send the batch again.",
                slug="unknown-layouts",
                layouts=sorted(digest.hex() for digest in missing),
            )
        return found

    def known(self, host: HostKey, digests: Collection[bytes]) -> dict[bytes, StoredLayout] | None:
        """``resolve`` without asking the database; None when it would have to be asked."""
        found: dict[bytes, StoredLayout] = {}
        for digest in digests:
            hit = self._cached(host.tenant_id, digest)
            if hit is None or (host, digest) not in self._admitted:
                return None
            found[digest] = hit
        return found

    async def register(self, host: HostKey, body: bytes, now: datetime) -> StoredLayout:
        """Store a layout of ``host``, or find that it is there; ``body`` is canonical bytes, validated.

        Raises Unprocessable: as many layouts as we keep (too-many-layouts), or more live series than a limit
        allows (too-many-series; ``over`` has the indexes of those that found no room); TooBusy."""
        digest = wire_layout.digest(body)
        async with self._turn(host.tenant_id):
            async with self._pool.connection() as conn, conn.transaction():
                await self._admit(conn, host, digest, body, now)
            self._remember(host, {digest})
            return (await self._load(host.tenant_id, {digest}))[digest]

    @contextlib.asynccontextmanager
    async def _turn(self, tenant_id: int) -> AsyncIterator[None]:
        """The database takes a tenant's new layouts one after the other. They wait for that here: waiting
        there, those of one fleet that was updated hold every connection, and nobody's batches are stored."""
        turn = self._turns.setdefault(tenant_id, asyncio.Lock())
        try:
            async with asyncio.timeout(TURN_S):
                await turn.acquire()
        except TimeoutError:
            raise TooBusy(
                "Not now: many hosts of this tenant bring new layouts. Send it again.",
                retry_after_s=RETRY_AFTER_S,
            ) from None
        try:
            yield
        finally:
            turn.release()

    async def _not_admitted(
        self, host: HostKey, found: Mapping[bytes, StoredLayout], now: datetime
    ) -> set[bytes]:
        """Those that the host was not let use; one that has room is let in on the way."""
        asked = {digest for digest in found if (host, digest) not in self._admitted}
        if not asked:
            return set()
        admitted = {digest for digest in asked if await self._together.ask((host, digest))}
        self._remember(host, admitted)
        refused = set()
        for digest in asked - admitted:
            try:
                await self.register(host, wire_layout.encode(found[digest].layout), now)
            except Unprocessable:
                refused.add(digest)
        return refused

    async def _admitted_of(self, pairs: list[tuple[HostKey, bytes]]) -> dict[tuple[HostKey, bytes], bool]:
        row = {
            "tenant_ids": arrays.int4s([host.tenant_id for host, _ in pairs]),
            "host_ids": arrays.int8s([host.host_id for host, _ in pairs]),
            "digests": arrays.byteas([digest for _, digest in pairs]),
        }
        async with self._pool.connection() as conn:
            rows = await (await conn.execute(Q.admitted, row)).fetchall()
        return {(HostKey(tenant_id, host_id), digest): True for tenant_id, host_id, digest in rows}

    def _remember(self, host: HostKey, digests: Iterable[bytes]) -> None:
        if len(self._admitted) > PAIRS_KNOWN:
            self._admitted.clear()
        self._admitted |= {(host, digest) for digest in digests}

    async def _admit(
        self, conn: Connection, host: HostKey, digest: bytes, body: bytes, now: datetime
    ) -> None:
        """Let the host use the layout, if it was not let before: both rows, and its series count."""
        await conn.execute(Q.lock_tenant_series, {"tenant_id": host.tenant_id})
        row = host._asdict() | {"digests": [digest], "digest": digest, "body": body, "now": now}
        if await (await conn.execute(Q.host_layouts_known, row)).fetchone():
            return
        used = await (await conn.execute(Q.host_layout_count, row)).fetchone()
        assert used is not None
        if used[0] >= self._most_per_host:
            raise _too_many("host", self._most_per_host)
        live = await self._room(conn, host, decode(body))
        await conn.execute(Q.layout_insert, row | {"most": self._most_per_tenant})
        stored = await (await conn.execute(Q.layout_find, row)).fetchone()
        if stored is None:
            raise _too_many("tenant", self._most_per_tenant)
        pair = {"tenant_ids": [host.tenant_id], "host_ids": [host.host_id], "layout_ids": [stored[1]]}
        await conn.execute(Q.host_layout_insert, pair | {"seen": [now]})
        await conn.execute(Q.series_admitted, row | {"live": live})

    async def _room(self, conn: Connection, host: HostKey, layout: Layout) -> int:
        """The host's live series with this layout. Raises Unprocessable when they are too many."""
        held = await held_by(conn, host)
        counts = await (await conn.execute(Q.series_counts, host._asdict())).fetchone()
        assert counts is not None
        found = overflow(held, layout, counts[0], counts[1], self._limits)
        if found is not None:
            self._meters.series_refused.labels(found.whose).inc(len(found.over))
            raise too_many_series(found)
        return len(held | identities([layout]))

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


def too_many_series(found: Overflow) -> Unprocessable:
    """The refusal: which limit, how many, which series, what to do."""
    return Unprocessable(
        f"This {found.whose} has {found.live} live series and may have {found.limit}: {len(found.over)} of"
        " this layout find no room ('over' has their indexes). Leave these out, send the others; look for a"
        f" check whose series are renamed all the time, or raise series_per_{found.whose} at the collector.",
        slug="too-many-series",
        whose=found.whose,
        limit=found.limit,
        live=found.live,
        over=list(found.over),
    )


def _too_many(whose: str, most: int) -> Unprocessable:
    return Unprocessable(
        f"This {whose} has {most} layouts already, the most we keep: look for a check whose set of series"
        " changes all the time.",
        slug="too-many-layouts",
    )


def decode(body: bytes) -> Layout:
    """A stored layout's bytes as a value; they were validated before they were stored."""
    return msgspec.msgpack.decode(body, type=Layout)
