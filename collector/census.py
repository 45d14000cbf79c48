"""How many series are live, and who may bring new ones.

A series is live while a layout of its host that holds it is: one that had a frame within ``series_age_days``,
or was taken in since. Renamed and vanished series so cease to count by themselves; the census, a job of
upkeep, looks at each host every ``CENSUS_EVERY``, the longest unseen first; its progress is in the rows.

A host asks once per layout. What it has already may always go on; of the new series as many find room as the
limits of host and tenant leave, in the layout's order. The others are named in the refusal, so that the agent
leaves out these alone. Two hosts of one tenant are never judged at the same time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from psycopg import AsyncConnection

from alerting.evaluate import HostKey
from collector.directory import Q
from collector.series import Identity, identity
from wire.layout import Layout

Connection = AsyncConnection[tuple[Any, ...]]
CENSUS_EVERY = timedelta(hours=6)
HOSTS_AT_ONCE = 200


class Limits(msgspec.Struct, frozen=True):
    """Most live series."""

    per_host: int
    per_tenant: int


class Overflow(msgspec.Struct, frozen=True):
    """Why some series of a layout find no room."""

    whose: str
    """host or tenant: the limit that was reached first."""
    limit: int
    live: int
    """Series that count against it now."""
    over: tuple[int, ...]
    """Indexes into the layout, of the series that would be too many."""


def overflow(
    held: set[Identity], layout: Layout, tenant_live: int, counted: int, limits: Limits
) -> Overflow | None:
    """What of ``layout`` finds no room beside the series ``held`` by its host; None: all of it does.

    ``tenant_live`` is the whole tenant's count, in which this host stands with ``counted``."""
    newcomers = [n for n, series in enumerate(layout.series) if identity(series) not in held]
    tenant_now = tenant_live - counted + len(held)
    rooms = [
        (limits.per_host - len(held), "host", limits.per_host, len(held)),
        (limits.per_tenant - tenant_now, "tenant", limits.per_tenant, tenant_now),
    ]
    room, whose, limit, live = min(rooms)
    over = newcomers[max(0, room) :]
    return Overflow(whose, limit, live, tuple(over)) if over else None


def identities(layouts: Iterable[Layout]) -> set[Identity]:
    """The distinct series of some layouts."""
    return {identity(series) for layout in layouts for series in layout.series}


class Aged(msgspec.Struct, frozen=True):
    """What one look at some hosts changes."""

    gone: tuple[tuple[int, int, int], ...]
    """(tenant, host, layout) that count no more."""
    back: tuple[tuple[int, int, int], ...]
    """Those that count again."""
    live: dict[HostKey, set[int]]
    """Ids of the layouts that count, by host."""


def judge(rows: Iterable[tuple[Any, ...]], since: datetime) -> Aged:
    """Pure. ``rows``: (tenant, host, layout, taken in at, aged already, newest frame since then or None)."""
    gone: list[tuple[int, int, int]] = []
    back: list[tuple[int, int, int]] = []
    live: dict[HostKey, set[int]] = {}
    for tenant_id, host_id, layout_id, first_seen, aged, newest in rows:
        counts = newest is not None or first_seen >= since
        if counts:
            live.setdefault(HostKey(tenant_id, host_id), set()).add(layout_id)
        if counts == aged:
            (back if counts else gone).append((tenant_id, host_id, layout_id))
    return Aged(tuple(gone), tuple(back), live)


async def count(conn: Connection, now: datetime, age: timedelta) -> int:
    """Look at the hosts that have waited longest, in a transaction of the caller; returns how many."""
    taken = [
        HostKey(*row)
        for row in await _rows(conn, Q.census_take, {"before": now - CENSUS_EVERY, "limit": HOSTS_AT_ONCE})
    ]
    if not taken:
        return 0
    hosts = {"tenant_ids": [k.tenant_id for k in taken], "host_ids": [k.host_id for k in taken]}
    since = now - age
    aged = judge(await _rows(conn, Q.census_probe, hosts | {"since": since}), since)
    await conn.execute(Q.census_age, _pairs(aged.gone) | {"aged_at": now})
    await conn.execute(Q.census_age, _pairs(aged.back) | {"aged_at": None})
    held = await _series(conn, aged)
    counts = [len(held.get(key, ())) for key in taken]
    await conn.execute(Q.census_save, hosts | {"counts": counts, "now": now})
    return len(taken)


async def _series(conn: Connection, aged: Aged) -> dict[HostKey, set[Identity]]:
    wanted = sorted({(key.tenant_id, layout) for key, layouts in aged.live.items() for layout in layouts})
    row = {"tenant_ids": [tenant for tenant, _ in wanted], "layout_ids": [layout for _, layout in wanted]}
    bodies = await _rows(conn, Q.layout_bodies, row)
    series = {(tenant, layout): identities([_decode(body)]) for tenant, layout, body in bodies}
    return {
        key: set().union(*(series[key.tenant_id, layout] for layout in layouts))
        for key, layouts in aged.live.items()
    }


async def held_by(conn: Connection, host: HostKey) -> set[Identity]:
    """The live series of one host."""
    return identities(_decode(body) for (body,) in await _rows(conn, Q.live_layouts, host._asdict()))


def _decode(body: bytes) -> Layout:
    return msgspec.msgpack.decode(body, type=Layout)


def _pairs(pairs: Sequence[tuple[int, int, int]]) -> dict[str, Any]:
    names = ("tenant_ids", "host_ids", "layout_ids")
    return {name: [pair[n] for pair in pairs] for n, name in enumerate(names)}


async def _rows(conn: Connection, query: bytes, row: dict[str, Any]) -> list[tuple[Any, ...]]:
    return await (await conn.execute(query, row)).fetchall()
