"""What the tests are made of: a ticket to ring for, a phone company in its own process, our routes."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import msgspec
import psycopg
import uvicorn
from fastapi import FastAPI, Request, Response

from oncall import pager
from oncall.api import router
from oncall.settings import Settings, VoiceProvider
from oncall.simulator.__main__ import DEMO_NUMBER, DEMO_SID, DEMO_TOKEN
from storage.pool import Pool
from tests.mounted import mounted
from wire.access import Principal, Role
from wire.clock import Clock, utcnow

ANNA, BEN, CARLA = "+390584000001", "+390584000002", "+390584000003"


class Company:
    """The phone simulator in its own process, and its journal."""

    def __init__(self, url: str, journal: Path, http: httpx.AsyncClient) -> None:
        self.url = url
        self._journal = journal
        self._http = http

    async def script(self, **change: Any) -> None:
        """``POST /script``."""
        answer = await self._http.post(f"{self.url}/script", json=change)
        assert answer.status_code == 204, answer.text

    async def calls(self) -> list[dict[str, Any]]:
        """All calls, newest first."""
        calls: list[dict[str, Any]] = (await self._http.get(f"{self.url}/calls")).json()["calls"]
        return calls

    async def do(self, sid: str, what: str, **body: str) -> httpx.Response:
        """The callee acts."""
        return await self._http.post(f"{self.url}/calls/{sid}/{what}", json=body)

    async def ringing(self, number: str) -> str:
        """Waits until that number rings; the call's sid."""
        return str((await until(lambda: self._with_status(number, "ringing")))["sid"])

    async def _with_status(self, number: str, status: str) -> dict[str, Any] | None:
        return next((c for c in await self.calls() if (c["to"], c["status"]) == (number, status)), None)

    def journal(self, kind: str) -> list[dict[str, Any]]:
        """What really happened: lines of that kind."""
        lines = self._journal.read_bytes().splitlines() if self._journal.exists() else []
        found = [msgspec.json.decode(line) for line in lines]
        return [line for line in found if line["kind"] == kind]


T = TypeVar("T")
Next = Callable[[Request], Awaitable[Response]]


async def until(probe: Callable[[], Awaitable[T | None]], timeout_s: float = 30.0) -> T:
    """Polls until the probe answers something."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (found := await probe()) is not None:
            return found
        await asyncio.sleep(0.03)
    raise AssertionError(f"nothing came of {probe} within {timeout_s} s")


def free_port() -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@asynccontextmanager
async def company_process(journal: Path, *flags: str, speed: str = "0.1") -> AsyncIterator[Company]:
    """A running phone company."""
    port = free_port()
    arguments = ["--port", str(port), "--journal", str(journal), "--speed", speed, "--quiet", *flags]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "oncall.simulator", *arguments)
    async with httpx.AsyncClient() as http:
        company = Company(f"http://127.0.0.1:{port}", journal, http)

        async def up() -> bool | None:
            try:
                return (await http.get(f"{company.url}/state")).is_success or None
            except httpx.ConnectError:
                return None

        try:
            await until(up)
            yield company
        finally:
            process.kill()
            await process.wait()


def settings_for(company: Company, public_url: str, **changes: Any) -> Settings:
    """Settings with pauses short enough for a test."""
    return settings_for_url(company.url, public_url, **changes)


def settings_for_url(company_url: str, public_url: str, **changes: Any) -> Settings:
    """Settings with pauses short enough for a test."""
    provider = VoiceProvider("primary", company_url, DEMO_SID, DEMO_TOKEN, DEMO_NUMBER)
    values: dict[str, Any] = {
        "public_url": public_url,
        "providers": (provider,),
        "ring_s": 5,
        "again_after_s": 0.1,
        "loop_pause_s": 0.3,
        "nobody_pause_s": 0.3,
        "failed_pause_s": 0.2,
        "ring_grace_s": 1.0,
        "never_rang_s": 1.0,
        "voicemail_grace_s": 0.2,
        "provider_timeout_s": 1.0,
        "line_gap_s": 0.1,
        "lease_s": 3.0,
        "poll_s": 0.05,
    }
    return Settings(**values | changes)


STAFF = Principal("sofia", Role.SUPPORT)


def web(pool: Pool, settings: Settings, principal: Principal = STAFF, clock: Clock = utcnow) -> FastAPI:
    """Our routes as composition mounts them."""
    return mounted(router(pool, settings, clock), lambda: principal)


@asynccontextmanager
async def serving(app: FastAPI, port: int) -> AsyncIterator[None]:
    """The routes on a loopback port."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning", lifespan="off"))
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await task


@asynccontextmanager
async def paging(pool: Pool, settings: Settings) -> AsyncIterator[None]:
    """A running pager and its callback routes."""
    port = int(settings.public_url.rpartition(":")[2])
    stop = asyncio.Event()
    async with serving(web(pool, settings), port):
        task = asyncio.create_task(pager.run(pool, settings, utcnow, stop))
        try:
            yield
        finally:
            stop.set()
            await task


class Registry:
    """Rows of other rooms that on-call reads."""

    def __init__(self, url: str) -> None:
        self.url = url

    def person(self, key: str, phone: str | None) -> int:
        """A person of the vendor's staff."""
        return self.one(
            "INSERT INTO person (key, name, phone) VALUES (%s, %s, %s) RETURNING person_id",
            (key, key.title(), phone),
        )

    def request(
        self, title: str = "CPU saturated", priority: int = 1, tenant: str = "acme"
    ) -> tuple[int, int]:
        """A ticket with an open page request: (tenant id, page request id)."""
        tenant_id = self._tenant(tenant)
        deployment = self.one("SELECT deployment_id FROM deployment WHERE tenant_id = %s", (tenant_id,))
        number = self.one("SELECT nextval('ticket_number')", ())
        ticket = self.one(
            "INSERT INTO ticket (tenant_id, number, deployment_id, problem_key, channel, priority, state,"
            " title, opened_at, terms, decision)"
            " VALUES (%s, %s, %s, %s, 'proactive', %s, 'new', %s, now(), '{}', '{}')"
            " RETURNING ticket_id",
            (tenant_id, f"UCX-2026-{number:06}", deployment, f"problem-{number}", priority, title),
        )
        request = self.one(
            "INSERT INTO page_request (tenant_id, ticket_id, audience, policy, requested_at, reason)"
            " VALUES (%s, %s, 'technician', 'default', now(), 'P1 of a Platinum customer')"
            " RETURNING page_request_id",
            (tenant_id, ticket),
        )
        return tenant_id, request

    def _tenant(self, key: str) -> int:
        found = self.rows("SELECT tenant_id FROM tenant WHERE key = %s", (key,))
        if found:
            return int(found[0][0])
        tenant_id = self.one(
            "INSERT INTO tenant (key, name, created_at) VALUES (%s, %s, now()) RETURNING tenant_id",
            (key, f"{key.title()} & Sons <Ltd>"),
        )
        self.one(
            "INSERT INTO deployment (tenant_id, key, name, licence, theatre, zone, country, created_at)"
            " VALUES (%s, 'hq', 'Headquarters', 'cloud', 'europe', 'Europe/Rome', 'IT', now()) RETURNING 1",
            (tenant_id,),
        )
        return tenant_id

    def end(self, request: tuple[int, int], reason: str = "recovered") -> None:
        """Ticketing ends the page request."""
        self.one(
            "UPDATE page_request SET ended_at = now(), end_reason = %s"
            " WHERE tenant_id = %s AND page_request_id = %s RETURNING 1",
            (reason, *request),
        )

    def one(self, sql: str, values: tuple[Any, ...]) -> int:
        return int(self.rows(sql, values)[0][0])

    def rows(self, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url, autocommit=True) as conn:
            return conn.execute(sql.encode(), values).fetchall()

    def start_over(self) -> None:
        """One fresh page request, nothing else."""
        self.run("TRUNCATE paging, page, page_event, acknowledgement RESTART IDENTITY")
        self.run("UPDATE page_request SET ended_at = now()")
        self.request()

    def run(self, sql: str) -> None:
        """Statements without an answer."""
        with psycopg.connect(self.url, autocommit=True) as conn:
            conn.execute(sql.encode())

    def value(self, sql: str) -> Any:
        """The first value of the first row, or None."""
        rows = self.rows(sql)
        return rows[0][0] if rows else None


NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
