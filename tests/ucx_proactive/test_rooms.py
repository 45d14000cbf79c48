"""The composition: what every room brings is in fact run by the process."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import msgspec

from alerting.settings import Receiver
from alerting.settings import Settings as AlertingSettings
from storage.pool import Pool
from tests.ticketing.desk_world import World
from ucx_proactive.rooms import workers
from ucx_proactive.settings import Settings, fill_rooms


async def test_the_role_sweep_tells_alerts_that_page_nobody(pool: Pool) -> None:
    """With a receiver configured, the workers of the role 'sweep' write a notice of a firing alert.

    Broken twin: as once shipped, with the notices' worker named nowhere, no notice is ever written."""
    world = World(pool)
    world.now = datetime.now(UTC)
    await world.registry()
    await world.fires(priority=3)
    faults: list[str] = []
    rooms = fill_rooms(Settings(), faults)
    told = Receiver(name="noc", kind="email", address="noc@vendor.example")
    alerting = AlertingSettings(
        notice_receivers=(told,), notice_look_s=0.05, smtp_host="127.0.0.1", smtp_port=9
    )
    rooms = msgspec.structs.replace(rooms, alerting=alerting)
    stop = asyncio.Event()
    running = [work(stop) for role, work in workers(pool, rooms, world.clock).values() if role == "sweep"]
    task = asyncio.gather(*running)
    try:
        async with asyncio.timeout(20):
            while not await world.rows("SELECT 1 FROM notice"):  # noqa: ASYNC110 - it watches the database
                await asyncio.sleep(0.05)
    finally:
        stop.set()
        await task
