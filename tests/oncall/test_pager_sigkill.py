"""Two pagers as processes, killed with SIGKILL again and again, against a company that often fails."""

from __future__ import annotations

import asyncio
import random
import sys
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from storage.pool import Pool
from tests.oncall import pager_process
from tests.oncall.world import Company, Registry, serving, settings_for, until, web

CYCLES = 8
REQUESTS = 5


@pytest.mark.kill
async def test_sigkill_at_random_moments_loses_no_page(
    pool: Pool, company: Company, registry: Registry, public_url: str
) -> None:
    """Every P1 is answered, by a call that was really placed; every call placed belongs to a page, so that
    its key counts; one page never rings twice (what is rung again in doubt is another page)."""
    dice = random.Random(11)
    await company.script(
        default={"number": "", "behaviour": "auto", "after_s": 1}, chaos={"rate": 0.3, "seed": 11, "s": 0.3}
    )
    async with AsyncExitStack() as stack:
        app = web(pool, settings_for(company, public_url))
        await stack.enter_async_context(serving(app, int(public_url.rpartition(":")[2])))
        pagers = [await start(registry, company, public_url) for _ in range(2)]
        for n in range(CYCLES):
            if n < REQUESTS:
                await asyncio.to_thread(registry.request, f"problem {n}")
            await asyncio.sleep(dice.uniform(0.2, 1.2))
            victim = dice.randrange(2)
            await kill(pagers[victim])
            pagers[victim] = await start(registry, company, public_url)
        await until(lambda: all_answered(registry), timeout_s=60)
        for pager in pagers:
            await kill(pager)
    placed = Counter(line["url"] for line in company.journal("placed"))
    acknowledged = registry.rows(
        "SELECT coalesce(bundle_id, page_id) FROM acknowledgement JOIN page USING (tenant_id, page_id)"
    )
    assert all(any(str(lead) in url for url in placed) for (lead,) in acknowledged)
    known = " ".join(str(row[0]) for row in registry.rows("SELECT page_id FROM page"))
    assert all(url.split("/")[-2] in known for url in placed)
    assert max(placed.values()) == 1, "one page, one call"
    assert registry.value("SELECT count(*) FROM paging WHERE state = 'active'") == 0


async def all_answered(registry: Registry) -> bool | None:
    answered = await asyncio.to_thread(
        registry.value, "SELECT count(DISTINCT page_request_id) FROM acknowledgement"
    )
    return True if answered == REQUESTS else None


async def start(registry: Registry, company: Company, public_url: str) -> asyncio.subprocess.Process:
    """One more pager process."""
    program = str(Path(pager_process.__file__))
    words = [sys.executable, program, registry.url, company.url, public_url]
    root = str(Path(__file__).parents[2])
    return await asyncio.create_subprocess_exec(*words, env={"PYTHONPATH": root, "PATH": ""})


async def kill(process: asyncio.subprocess.Process) -> None:
    process.kill()
    await process.wait()
