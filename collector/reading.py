"""Reads for the query API: hosts, newest values, series, events. Every read binds the tenant.

Frames are read here and nowhere else: there is no view, and nobody gets SQL on them directly.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from psycopg import AsyncConnection

from collector.directory import Q
from collector.layouts import decode
from collector.rolling import progress
from collector.rollup import FIVE, HOUR, Piece, aligned, floor, pieces, span_for
from collector.series import Identity, Point, identity, matches, merge, step_for, with_holes
from wire.access import Principal
from wire.layout import Layout
from wire.problem import NotFound

Connection = AsyncConnection[tuple[Any, ...]]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Host:
    """A host as people see it."""

    host_id: int
    tenant: str
    deployment: str
    name: str
    facts: dict[str, Any]
    enrolled_at: datetime
    retired_at: datetime | None
    last_seen: datetime | None
    """Receipt time of its newest batch."""
    newest_sample_at: datetime | None
    """Time of the newest sample that was evaluated."""


@dataclass(frozen=True, slots=True)
class Latest:
    """The newest reading of one series."""

    metric: str
    attributes: dict[str, str]
    at: datetime
    value: float | None
    """In the metric's base unit; None = not measured at the newest tick."""
    interval_s: float


@dataclass(frozen=True, slots=True)
class Chart:
    """One series over a range of time."""

    metric: str
    attributes: dict[str, str]
    interval_s: float
    points: list[Point]


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of a host."""

    event_key: int
    time: datetime
    source: str
    event_id: str
    severity: str
    message: str
    attributes: dict[str, Any]


async def hosts(
    conn: Connection,
    principal: Principal,
    *,
    tenant: str | None = None,
    deployment: str | None = None,
    host_id: int | None = None,
    after: int = 0,
    limit: int = 100,
) -> list[Host]:
    """Hosts that ``principal`` may see, by id, from the one after ``after``."""
    row = {
        "tenant_id": principal.tenant_id,
        "deployment_id": principal.deployment_id,
        "tenant": tenant,
        "deployment": deployment,
        "host_id": host_id,
        "after": after,
        "limit": limit,
    }
    return [Host(*found) for found in await (await conn.execute(Q.hosts, row)).fetchall()]


async def tenant_of(conn: Connection, principal: Principal, host_id: int) -> int:
    """The tenant of a host that ``principal`` may see. Raises NotFound, also for another tenant's host."""
    row = {"host_id": host_id, "tenant_id": principal.tenant_id, "deployment_id": principal.deployment_id}
    found = await (await conn.execute(Q.host_tenant, row)).fetchone()
    if found is None:
        raise NotFound(f"There is no host {host_id}.")
    tenant_id: int = found[0]
    return tenant_id


async def layouts_of(conn: Connection, tenant_id: int, host_id: int) -> dict[int, Layout]:
    """The layouts that a host has sent frames in, by id."""
    row = {"tenant_id": tenant_id, "host_id": host_id}
    rows = await (await conn.execute(Q.host_layouts, row)).fetchall()
    return {layout_id: decode(body) for layout_id, _, body in rows}


async def latest(conn: Connection, tenant_id: int, host_id: int, since: datetime) -> list[Latest]:
    """The newest reading of each series of a host, not older than ``since``; by metric and attributes."""
    layouts = await layouts_of(conn, tenant_id, host_id)
    row = {"tenant_id": tenant_id, "host_id": host_id, "layout_ids": list(layouts), "since": since}
    newest: dict[Identity, Latest] = {}
    frames = await (await conn.execute(Q.latest_frames, row)).fetchall()
    for layout_id, at, values in sorted(frames, key=lambda frame: frame[1]):
        layout = layouts[layout_id]
        for series, value in zip(layout.series, values, strict=True):
            newest[identity(series)] = Latest(series.metric, series.attributes, at, value, layout.interval_s)
    return [newest[key] for key in sorted(newest)]


async def charts(
    conn: Connection,
    tenant_id: int,
    host_id: int,
    metrics: Collection[str],
    attributes: dict[str, str],
    start: datetime,
    end: datetime,
    points: int,
    finest: timedelta = timedelta(0),
) -> list[Chart]:
    """The host's series of ``metrics`` that have ``attributes``: at most ``points`` steps, and the holes.

    Long ranges are read from rollups, as far as these have come, and around them from what is finer; so are
    short ones from whose beginning nothing finer than ``finest`` is kept. However many series are asked for,
    a layout's rows are read once."""
    span = max(span_for(start, end, points), finest)
    read = list(pieces(start, end, span, await progress(conn) if span else {}))
    origin = floor(start, span) if span else start
    step = aligned(step_for(origin, end, points), span)
    parts: dict[Identity, list[tuple[float, list[Point]]]] = {}
    for layout_id, layout in (await layouts_of(conn, tenant_id, host_id)).items():
        wanted = _wanted(layout, metrics, attributes)
        row = {"tenant_id": tenant_id, "host_id": host_id, "layout_id": layout_id, "indexes": list(wanted)}
        for piece in read if wanted else ():
            found = await _points(conn, row, piece, origin, step)
            for index, key in wanted.items():
                parts.setdefault(key, []).append((layout.interval_s, found.get(index, [])))
    return [_chart(key, found, step) for key, found in sorted(parts.items())]


def _wanted(layout: Layout, metrics: Collection[str], attributes: dict[str, str]) -> dict[int, Identity]:
    """Indexes of the values that are asked for, counted from 1 as PostgreSQL does."""
    return {
        index: identity(series)
        for index, series in enumerate(layout.series, start=1)
        if series.metric in metrics and matches(attributes, series.attributes)
    }


async def _points(
    conn: Connection, series: dict[str, Any], piece: Piece, origin: datetime, step: timedelta
) -> dict[int, list[Point]]:
    """The steps of each series, by its index; in binary format, an array per column."""
    query = {FIVE: Q.five_points, HOUR: Q.hour_points}.get(piece.span, Q.series_points)
    span = {"start": piece.start, "end": piece.end, "origin": origin, "step_s": step.total_seconds()}
    async with conn.cursor(binary=True) as cursor:
        rows = await (await cursor.execute(query, series | span)).fetchall()
    times: dict[int, datetime] = {}
    return {index: list(map(Point, _times(at, times), *columns)) for index, at, *columns in rows}


def _times(all_ms: list[int], known: dict[int, datetime]) -> list[datetime]:
    """Each time made once: a page's series share their steps."""
    for ms in all_ms:
        if ms not in known:
            known[ms] = _EPOCH + timedelta(milliseconds=ms)
    return [known[ms] for ms in all_ms]


def _chart(key: Identity, parts: list[tuple[float, list[Point]]], step: timedelta) -> Chart:
    interval_s = max(interval for interval, _ in parts)
    merged = merge(points for _, points in parts)
    metric, attributes = key
    holed = with_holes(merged, interval=timedelta(seconds=interval_s), step=step)
    return Chart(metric, dict(attributes), interval_s, holed)


async def events(
    conn: Connection,
    tenant_id: int,
    host_id: int,
    start: datetime,
    end: datetime,
    *,
    severity: str | None = None,
    source: str | None = None,
    before: tuple[datetime, int] | None = None,
    limit: int = 100,
) -> list[StoredEvent]:
    """Events of a host, newest first; ``before`` continues after the last one of the page before."""
    row = {
        "tenant_id": tenant_id,
        "host_id": host_id,
        "start": start,
        "end": end,
        "severity": severity,
        "source": source,
        "before_time": before[0] if before else None,
        "before_key": before[1] if before else None,
        "limit": limit,
    }
    return [StoredEvent(*found) for found in await (await conn.execute(Q.events, row)).fetchall()]
