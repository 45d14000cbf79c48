"""An invented page goes the whole way: agent's event, alert, ticket, call, key 4 of an automatic callee."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import yaml

from collector.enrolment import issue_token
from oncall.simulator.__main__ import DEMO_NUMBER, DEMO_SID, DEMO_TOKEN
from storage.pool import Pool
from tests.oncall.world import Company, company_process, free_port, until
from ticketing.registry_file import apply_file
from ucx_proactive import synthetic
from wire.clock import utcnow

CALLEE, TECHNICIAN = "+390584000090", "+390584000001"
REGISTRY = f"""
products: {{ucx: {{name: UCX platform}}}}
people:
  technician: {{name: Technician, phone: "{TECHNICIAN}", roles: [{{role: on-call}}]}}
  callee: {{name: Automatic callee, phone: "{CALLEE}"}}
tenants:
  invented:
    name: Invented customer
    deployments:
      main:
        {{name: Main, licence: subscription, theatre: europe, zone: Europe/Rome, country: IT, products: [ucx],
         version: 2026.Summer.1, proactive: {{opt_in: true, data_sending: true, connected: true}},
         contract: {{plan: platinum, start: 2020-01-01, end: 2099-12-31}}}}
"""


@asynccontextmanager
async def served(database_url: str, company: Company, folder: Path):
    """A ``serve`` process with all its rooms."""
    port = free_port()
    provider = {"name": "phones", "base_url": company.url, "account_sid": DEMO_SID, "auth_token": DEMO_TOKEN}
    oncall = {
        "providers": [provider | {"from_number": DEMO_NUMBER}],
        "persons": ["technician"],
        "poll_s": 0.1,
    }
    oncall |= {"synthetic_tenant": "invented", "synthetic_person": "callee"}
    settings = {"port": port, "ticketing": {"poll_s": 0.2}, "oncall": oncall, "log_level": "warning"}
    (folder / "serve.yaml").write_text(yaml.safe_dump(settings))
    words = ["-m", "ucx_proactive.main", "serve", "--config", str(folder / "serve.yaml")]
    env = {**os.environ, "UCX_DATABASE_URL": database_url}
    root = Path(__file__).parents[2]
    process = await asyncio.create_subprocess_exec(sys.executable, *words, env=env, cwd=root)
    url = f"http://127.0.0.1:{port}"

    async def ready() -> bool | None:
        try:
            async with httpx.AsyncClient() as http:
                return (await http.get(f"{url}/readyz")).is_success or None
        except httpx.TransportError:
            return None

    try:
        await until(ready, timeout_s=60)
        yield url
    finally:
        process.kill()
        await process.wait()


async def test_an_invented_page_is_answered_and_its_absence_has_a_reason(
    database_url: str, pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole chain with real processes: only the automatic callee is rung, no technician; the run is
    on record as answered, its ticket is closed. With the front door shut, the run is on record as failed."""
    monkeypatch.setattr(synthetic, "POLL_S", 0.1)
    async with pool.connection() as conn:
        await apply_file(conn, REGISTRY, now=utcnow(), actor="test", origin="test")
        token, _ = await issue_token(
            conn, "invented", "main", ttl=timedelta(hours=1), by="test", now=utcnow()
        )
    state = tmp_path / "state"
    async with company_process(tmp_path / "calls.jsonl", "--auto-answer", "--after", "0.5") as company:
        async with served(database_url, company, tmp_path) as url:
            await asyncio.to_thread(synthetic.enrolled, state, url, token)
            far = await synthetic.run(pool, url, "invented", state, timedelta(seconds=60), utcnow)
            assert far.outcome() == "answered"
        assert {call["to"] for call in await company.calls()} == {CALLEE}
    with pytest.raises(synthetic.NotSent):
        await synthetic.run(pool, url, "invented", state, timedelta(seconds=5), utcnow)
    async with pool.connection() as conn:
        runs = await (await conn.execute("SELECT outcome FROM synthetic_run ORDER BY started_at")).fetchall()
        tickets = await (await conn.execute("SELECT state FROM ticket")).fetchall()
    assert runs[0] == ("answered",)
    assert "no answer" in runs[1][0]
    assert tickets == [("closed",)]


def test_the_first_time_asks_for_a_token(tmp_path: Path) -> None:
    """Without an identity nothing begins; seen failing with a traceback and a run that never ended. A
    damaged one is told in words, too."""
    with pytest.raises(synthetic.NotSent, match="--token"):
        synthetic.enrolled(tmp_path, "http://127.0.0.1:1", None)
    (tmp_path / "agent.json").write_text("{")
    with pytest.raises(synthetic.NotSent, match="damaged"):
        synthetic.enrolled(tmp_path, "http://127.0.0.1:1", None)
