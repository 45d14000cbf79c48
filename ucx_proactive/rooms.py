"""Which rooms a process opens: their routes and their workers, by role."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from fastapi import APIRouter
from psycopg import AsyncConnection

import alerting.api
import alerting.notices.worker
import alerting.reading
import alerting.sweep
import collector.api
import collector.rolling
import oncall.api
import oncall.drill
import oncall.drill_api
import oncall.inbound_api
import oncall.pager
import oncall.rota_api
import oncall.watch
import ticketing.api
import ticketing.desk
import ticketing.published
from collector.directory import Directory
from storage.pool import Pool
from storage.replica import ReadPool
from ucx_proactive import retention, upkeep_alarm
from ucx_proactive.contract import contract_limit_s
from ucx_proactive.settings import Role, Rooms
from ucx_proactive.supervise import Work
from wire.clock import Clock

# Addresses that need no credential of ours, because each checks a proof of its own: a provider's signature,
# the secret in a link that was sent to one person, the secret in a calendar feed's address.
PUBLIC_PREFIXES = (
    "/v1/oncall/voice/",
    "/v1/oncall/sms/",
    "/v1/oncall/answer/",
    "/v1/oncall/calendars/",
    "/v1/oncall/drill/",
    "/v1/oncall/inbound/",
)


def routers(
    pool: Pool, rooms: Rooms, clock: Clock, directory: Directory, reads: ReadPool | None = None
) -> Iterator[APIRouter]:
    """The routes of every room. ``reads``: where charts and events are read; None: from ``pool``."""
    yield collector.api.router(pool, rooms.collector, clock, directory, reads or ReadPool(pool))
    yield alerting.api.router(pool, rooms.alerting, clock, _tickets)
    yield ticketing.api.router(pool, rooms.ticketing, clock)
    yield oncall.api.router(pool, rooms.oncall, clock)
    yield oncall.rota_api.router(pool, rooms.oncall, clock, limit_s=contract_limit_s(clock()))
    yield oncall.drill_api.router(pool, rooms.oncall, clock)
    yield oncall.inbound_api.router(pool, rooms.oncall, clock)


async def _tickets(
    conn: AsyncConnection[Any], keys: Sequence[tuple[int, int]]
) -> dict[int, alerting.reading.TicketLink]:
    """Alerting shows the tickets that a later room made of its alerts."""
    found = await ticketing.published.tickets_of_alerts(conn, keys)
    return {
        alert_id: alerting.reading.TicketLink(number, state, f"/v1/tickets/{number}")
        for alert_id, (number, state) in found.items()
    }


def workers(pool: Pool, rooms: Rooms, clock: Clock) -> dict[str, tuple[Role, Work]]:
    """The workers by name, each with its role (the ingest commit's own are the collector's)."""
    return {
        "rollups": ("rollup", lambda stop: collector.rolling.run(pool, rooms.collector, clock, stop)),
        "retention": ("sweep", lambda stop: retention.run(pool, rooms, clock, stop)),
        "upkeep alarm": ("sweep", lambda stop: upkeep_alarm.run(pool, clock, stop)),
        "sweep": ("sweep", lambda stop: alerting.sweep.run(pool, rooms.alerting, clock, stop)),
        "notices": (
            "sweep",
            lambda stop: alerting.notices.worker.run(pool, rooms.alerting, clock, stop),
        ),
        "desk": ("desk", lambda stop: ticketing.desk.run(pool, rooms.ticketing, clock, stop)),
        "pager": ("pager", lambda stop: oncall.pager.run(pool, rooms.oncall, clock, stop)),
        "rota watch": ("pager", lambda stop: oncall.watch.run(pool, rooms.oncall, clock, stop)),
        "test calls": ("pager", lambda stop: oncall.drill.run(pool, rooms.oncall, clock, stop)),
    }
