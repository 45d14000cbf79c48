"""The whole application with every room, for one test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.collector.kit import Front, running


@pytest_asyncio.fixture
async def front(database_url: str) -> AsyncIterator[Front]:
    """Every room's routes on loopback; the ingest path works, the other workers are not started."""
    async with running(database_url) as started:
        yield started
