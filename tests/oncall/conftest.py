"""On-call's fixtures; what they are made of stands in ``world``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from storage.pool import Pool, open_pool
from tests.oncall.world import ANNA, BEN, CARLA, Company, Registry, company_process, free_port


@pytest_asyncio.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """A pool that never grows: a connection half made when its pool is closed lingers on the server until
    authentication times out, and DROP DATABASE waits for it."""
    opened = await open_pool(database_url, min_size=8, max_size=8)
    await opened.wait()
    try:
        yield opened
    finally:
        await opened.close()


@pytest_asyncio.fixture
async def company(tmp_path: Path) -> AsyncIterator[Company]:
    """The phone company."""
    async with company_process(tmp_path / "calls.jsonl") as running:
        yield running


@pytest.fixture
def registry(database_url: str) -> Registry:
    """The test's database, with three persons on call: Anna, Ben, Carla."""
    registry = Registry(database_url)
    for key, phone in (("anna", ANNA), ("ben", BEN), ("carla", CARLA)):
        registry.person(key, phone)
    return registry


@pytest.fixture
def public_url() -> str:
    """Where our callback routes will listen."""
    return f"http://127.0.0.1:{free_port()}"
