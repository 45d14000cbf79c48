"""A running collector per test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.collector.kit import Front, running


@pytest_asyncio.fixture
async def front(database_url: str) -> AsyncIterator[Front]:
    """A collector on loopback with a clock that the test winds."""
    async with running(database_url) as started:
        yield started
