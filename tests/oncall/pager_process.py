"""A pager as a program of its own, to be killed. Arguments: database, company and public URL."""

from __future__ import annotations

import asyncio
import sys

from oncall import pager
from oncall.targets import OrderedList
from storage.pool import open_pool
from tests.oncall.world import settings_for_url
from wire.clock import utcnow


async def main(database_url: str, company_url: str, public_url: str) -> None:
    """Page until killed."""
    settings = settings_for_url(company_url, public_url)
    pool = await open_pool(database_url)
    await pager.run(pool, settings, utcnow, asyncio.Event(), OrderedList(settings))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
