"""Is this process alive, and can it do its work? Routes ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import psycopg
from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest
from psycopg_pool import PoolClosed, PoolTimeout

from storage.migrate import load
from storage.pool import Pool
from ucx_proactive.supervise import Supervisor

PROBE_S = 3.0


@dataclass(frozen=True, slots=True)
class Alive:
    """The process answers."""

    status: str = "alive"


@dataclass(frozen=True, slots=True)
class Ready:
    """What each part says; ``ready`` is true when all of them are well."""

    ready: bool
    checks: dict[str, str] = field(default_factory=dict)


def router(pool: Pool, supervisor: Supervisor, collector: CollectorRegistry) -> APIRouter:
    """The three routes; none needs a credential and none tells of customers.

    ``collector``: what the collector counts, apart because a process may hold several. All other rooms, and
    Python itself, count in the library's own registry."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz")
    async def healthz() -> Alive:
        """The process is alive (says nothing about the database)."""
        return Alive()

    @routes.get("/readyz", responses={503: {"model": Ready, "description": "Something is not well"}})
    async def readyz(response: Response) -> Ready:
        """Database, migrations and workers are well."""
        checks = {"database": await check_database(pool)} | check_workers(supervisor)
        ready = all(word == "ok" for word in checks.values())
        response.status_code = 200 if ready else 503
        return Ready(ready, checks)

    @routes.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Counters in Prometheus' text format."""
        counted = generate_latest(collector) + generate_latest(REGISTRY)
        return Response(counted, headers={"Content-Type": CONTENT_TYPE_LATEST})

    return routes


async def check_database(pool: Pool) -> str:
    """``ok``, or what is wrong with the database or its tables."""
    try:
        async with asyncio.timeout(PROBE_S), pool.connection(timeout=PROBE_S) as conn:
            rows: list[tuple[Any, ...]] = await (
                await conn.execute("SELECT name FROM schema_migration")
            ).fetchall()
    except (psycopg.Error, PoolTimeout, PoolClosed, TimeoutError) as error:
        return f"no answer ({type(error).__name__})"
    missing = {migration.name for migration in load()} - {row[0] for row in rows}
    return f"{len(missing)} migrations are not applied" if missing else "ok"


def check_workers(supervisor: Supervisor) -> dict[str, str]:
    """``ok`` or what became of each worker. Errors stay in the log: this page is public."""
    return {
        f"worker {name}": "ok" if state.running else f"not running (restarts: {state.restarts})"
        for name, state in supervisor.states.items()
    }
