"""A fleet for benchmarks: customers, hosts, agents and layouts, written straight into the database."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from wire.layout import Layout, Series, digest, encode

Connection = psycopg.Connection[tuple[object, ...]]
HOSTS_PER_TENANT = 100


@dataclass(frozen=True)
class Machine:
    """One enrolled host."""

    tenant_id: int
    host_id: int
    layout_id: int
    agent_id: str
    """32 hex digits."""
    private_key: str
    """64 hex digits."""


def layout(series: int = 100) -> Layout:
    """What a host with four volumes, some services and many processes measures, every 15 s."""
    found = [Series("system.cpu.utilization"), Series("system.memory.utilization")]
    found += [Series("system.memory.available"), Series("ucx.agent.clock.offset")]
    for volume in ("C:", "D:", "E:", "F:"):
        where = {"system.filesystem.mountpoint": volume}
        found += [Series("system.filesystem.free_ratio", where), Series("system.filesystem.free", where)]
        found.append(Series("ucx.disk.latency", {"system.device": volume}))
    found += [Series("ucx.service.running", {"ucx.service.name": f"Service{n}"}) for n in range(14)]
    for n in range((series - len(found) + 1) // 2):
        where = {"process.executable.name": f"process{n}.exe"}
        found += [Series("process.cpu.utilization", where), Series("process.memory.utilization", where)]
    return Layout(1, 15.0, tuple(found[:series]))


def healthy(shape: Layout, spread: float) -> list[float]:
    """Values of a host on which nothing is wrong; ``spread`` in 0 .. 1 tells one frame from another."""
    usual = {
        "system.memory.available": 6e9 + 1e9 * spread,
        "system.filesystem.free_ratio": 0.5 + 0.1 * spread,
        "system.filesystem.free": 5e10 + 1e9 * spread,
        "ucx.disk.latency": 0.002 + 0.003 * spread,
        "ucx.agent.clock.offset": 0.05 * spread,
        "ucx.service.running": 1.0,
    }
    return [
        usual.get(series.metric, 0.05 + (0.2 * spread + n * 0.0007) % 0.2)
        for n, series in enumerate(shape.series)
    ]


def make(conn: Connection, hosts: int, shape: Layout) -> list[Machine]:
    """``hosts`` enrolled hosts in tenants of ``HOSTS_PER_TENANT``, all with the layout ``shape``."""
    machines: list[Machine] = []
    with conn.transaction():
        for first in range(0, hosts, HOSTS_PER_TENANT):
            machines += _tenant(conn, first, min(HOSTS_PER_TENANT, hosts - first), shape)
    return machines


def _tenant(conn: Connection, first: int, hosts: int, shape: Layout) -> list[Machine]:
    now = datetime.now(UTC)
    body = encode(shape)
    key = f"bench-{first}"
    tenant_id = _one(
        conn,
        "INSERT INTO tenant (key, name, created_at) VALUES (%s, %s, %s) RETURNING tenant_id",
        key,
        key,
        now,
    )
    deployment_id = _one(
        conn,
        "INSERT INTO deployment (tenant_id, key, name, licence, theatre, zone, country, created_at)"
        " VALUES (%s, 'main', 'main', 'perpetual', 'europe', 'Europe/Rome', 'IT', %s)"
        " RETURNING deployment_id",
        tenant_id,
        now,
    )
    layout_id = _one(
        conn,
        "INSERT INTO layout (tenant_id, digest, body, created_at)"
        " VALUES (%s, %s, %s, %s) RETURNING layout_id",
        tenant_id,
        digest(body),
        body,
        now,
    )
    return [_host(conn, tenant_id, deployment_id, layout_id, first + n, now) for n in range(hosts)]


def _host(
    conn: Connection, tenant_id: int, deployment_id: int, layout_id: int, n: int, now: datetime
) -> Machine:
    host_id = _one(
        conn,
        "INSERT INTO host (tenant_id, deployment_id, name, enrolled_at)"
        " VALUES (%s, %s, %s, %s) RETURNING host_id",
        tenant_id,
        deployment_id,
        f"host-{n}",
        now - timedelta(days=400),
    )
    conn.execute(
        "INSERT INTO host_layout (tenant_id, host_id, layout_id, first_seen) VALUES (%s, %s, %s, %s)",
        (tenant_id, host_id, layout_id, now),
    )
    private = Ed25519PrivateKey.generate()
    agent = UUID(bytes=secrets.token_bytes(16))
    conn.execute(
        "INSERT INTO agent (tenant_id, agent_id, host_id, public_key, enrolled_at)"
        " VALUES (%s, %s, %s, %s, %s)",
        (tenant_id, agent, host_id, private.public_key().public_bytes_raw(), now),
    )
    return Machine(tenant_id, host_id, layout_id, agent.hex, private.private_bytes_raw().hex())


def _one(conn: Connection, statement: str, *values: object) -> int:
    row = conn.execute(statement.encode(), values).fetchone()
    assert row is not None
    assert isinstance(row[0], int)
    return row[0]
