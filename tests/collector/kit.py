"""A collector on loopback, customers in its database, and agents that speak to it as real ones do."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from collector import keys
from collector.enrolment import issue_token
from collector.settings import CollectorSettings
from storage.pool import Pool, open_pool
from ucx_proactive.serve import Process
from ucx_proactive.settings import Role as RoleName
from ucx_proactive.settings import Rooms, Settings, fill_rooms
from wire import batch as wire_batch
from wire import layout as wire_layout
from wire.access import Role
from wire.batch import Event, EventBatch, Frame, FrameBatch, Severity
from wire.clock import Clock
from wire.layout import Layout, Series

CPU = Layout(1, 10.0, (Series("system.cpu.utilization"), Series("system.memory.utilization")))


class WoundClock:
    """A clock that stands still until it is wound."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def wind(self, **by: float) -> None:
        self.now += timedelta(**by)


def ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def frames(*items: tuple[datetime, Sequence[float | None]], layout: Layout = CPU) -> list[Frame]:
    digest = wire_layout.digest(wire_layout.encode(layout))
    return [Frame(digest, ms(at), list(values)) for at, values in items]


def event(at: datetime, message: str = "something happened", **attributes: str) -> Event:
    return Event(ms(at), "test", "1", Severity.INFO, message, attributes)


@dataclass
class Agent:
    """An enrolled agent: its key, its spool's numbers, its requests."""

    http: httpx.AsyncClient
    clock: Clock
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    agent_id: str = ""
    epoch: int = field(default_factory=lambda: secrets.randbits(62) + 1)
    seq: int = 0

    @property
    def public_key(self) -> str:
        raw = self.key.public_key().public_bytes_raw()
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    async def enrol(self, token: str, host: str = "host-1") -> httpx.Response:
        body = {"token": token, "host_name": host, "public_key": self.public_key, "facts": {"os": "linux"}}
        answer = await self.http.post("/v1/enrol", json=body)
        if answer.status_code == 201:
            self.agent_id = answer.json()["agent_id"]
        return answer

    def token(self, **changes: Any) -> str:
        now = self.clock().timestamp()
        claims = {"iss": self.agent_id, "aud": "ucx-collector", "iat": now, "exp": now + 60} | changes
        return jwt.encode(claims, self.key, algorithm="EdDSA", headers={"kid": self.agent_id})

    def batch(self, *, frames: Sequence[Frame] = (), events: Sequence[Event] = ()) -> bytes:
        self.seq += 1
        if events:
            return wire_batch.encode(
                EventBatch(1, "events", self.agent_id, self.epoch, self.seq, list(events))
            )
        return wire_batch.encode(FrameBatch(1, "frames", self.agent_id, self.epoch, self.seq, list(frames)))

    async def post(self, body: bytes, headers: Mapping[str, str] = {}) -> httpx.Response:
        auth = {"Authorization": f"Bearer {self.token()}"}
        return await self.http.post("/v1/batches", content=body, headers=auth | dict(headers))

    async def put_layout(self, layout: Layout = CPU) -> httpx.Response:
        body = wire_layout.encode(layout)
        auth = {"Authorization": f"Bearer {self.token()}"}
        return await self.http.put(
            f"/v1/layouts/{wire_layout.digest(body).hex()}", content=body, headers=auth
        )

    async def send(
        self, *items: tuple[datetime, Sequence[float | None]], layout: Layout = CPU
    ) -> httpx.Response:
        """Send frames the way a shipper does: upload what the collector lacks, then again."""
        body = self.batch(frames=frames(*items, layout=layout))
        answer = await self.post(body)
        if answer.status_code == 409:
            assert (await self.put_layout(layout)).status_code == 204
            answer = await self.post(body)
        return answer


@dataclass
class Front:
    """A running collector."""

    url: str
    http: httpx.AsyncClient
    pool: Pool
    clock: WoundClock
    process: Process

    async def customer(self, tenant: str = "acme", deployment: str = "main") -> None:
        async with self.pool.connection() as conn:
            await conn.execute(_TENANT, {"tenant": tenant, "now": self.clock()})
            await conn.execute(_DEPLOYMENT, {"tenant": tenant, "deployment": deployment, "now": self.clock()})

    async def enrolment_token(self, tenant: str = "acme", deployment: str = "main", ttl_h: float = 24) -> str:
        async with self.pool.connection() as conn:
            token, _ = await issue_token(
                conn, tenant, deployment, ttl=timedelta(hours=ttl_h), by="test", now=self.clock()
            )
        return token

    async def agent(self, host: str = "host-1", tenant: str = "acme", deployment: str = "main") -> Agent:
        await self.customer(tenant, deployment)
        agent = Agent(self.http, self.clock)
        answer = await agent.enrol(await self.enrolment_token(tenant, deployment), host)
        assert answer.status_code == 201, answer.text
        return agent

    async def key(
        self, role: Role = Role.ADMIN, tenant: str | None = None, deployment: str | None = None
    ) -> dict[str, str]:
        async with self.pool.connection() as conn:
            _, key = await keys.create(
                conn,
                f"{role}-{secrets.token_hex(4)}",
                role,
                tenant=tenant,
                deployment=deployment,
                by="test",
                now=self.clock(),
            )
        return {"Authorization": f"Bearer {key}"}

    async def count(self, table: str) -> int:
        async with self.pool.connection() as conn:
            row = await (await conn.execute(f"SELECT count(*) FROM {table}".encode())).fetchone()
        assert row is not None
        return int(row[0])


_TENANT = """INSERT INTO tenant (key, name, created_at) VALUES (%(tenant)s, %(tenant)s, %(now)s)
ON CONFLICT DO NOTHING"""
_DEPLOYMENT = """INSERT INTO deployment (tenant_id, key, name, licence, theatre, zone, country, created_at)
SELECT tenant_id, %(deployment)s, %(deployment)s, 'perpetual', 'europe', 'Europe/Rome', 'IT', %(now)s
FROM tenant WHERE key = %(tenant)s ON CONFLICT DO NOTHING"""


@contextlib.asynccontextmanager
async def running(
    database_url: str,
    clock: WoundClock | None = None,
    roles: tuple[RoleName, ...] = ("ingest",),
    **tuning: Any,
) -> AsyncIterator[Front]:
    """A collector in this process, listening on loopback, on ``database_url``."""
    clock = clock or WoundClock(datetime.now(UTC).replace(microsecond=0))
    settings = Settings(port=0, roles=roles, collector=tuning, stop_within_s=2)
    faults: list[str] = []
    rooms: Rooms = fill_rooms(settings, faults)
    assert not faults, faults
    ingest_pool = await open_pool(database_url, max_size=6)
    work_pool = await open_pool(database_url, max_size=6)
    try:
        process = Process(settings, rooms, ingest_pool, work_pool, clock)
        await process.prepare()
        async with serving(process) as url, httpx.AsyncClient(base_url=url, timeout=30) as http:
            yield Front(url, http, work_pool, clock, process)
    finally:
        await ingest_pool.close()
        await work_pool.close()


@contextlib.asynccontextmanager
async def serving(process: Process) -> AsyncIterator[str]:
    """``process`` listening; its URL."""
    stop = asyncio.Event()
    task = asyncio.create_task(process.run(stop))
    try:
        given_up = time.monotonic() + 20
        while process.address is None:
            assert not task.done(), task.exception()
            assert time.monotonic() < given_up
            await asyncio.sleep(0.005)
        host, port = process.address
        yield f"http://{host}:{port}"
    finally:
        stop.set()
        await task


async def lasting_key(front: Front) -> dict[str, str]:
    """An admin's key that generated requests do not revoke by guessing its number: it is not the first."""
    for _ in range(5):
        await front.key(Role.READER)
    return await front.key(Role.ADMIN)


def tuned(**values: Any) -> CollectorSettings:
    """Collector settings for parts that are tested alone."""
    return msgspec.convert(values, CollectorSettings)
