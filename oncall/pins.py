"""PINs of the on-call line: issued, replaced, revoked. A PIN is returned once, by the call that makes it."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import msgspec

from oncall.alarm import Conn, L
from oncall.errors import PinRefused
from oncall.pin import digest, new_pin
from oncall.settings import Settings

_AT_MOST = 5
"""Tries to find a PIN that nobody ever had."""


class Place(msgspec.Struct, frozen=True):
    """A deployment, by its keys and ids."""

    tenant: str
    deployment: str
    tenant_id: int
    deployment_id: int

    @property
    def ids(self) -> dict[str, Any]:
        return {"tenant_id": self.tenant_id, "deployment_id": self.deployment_id}


async def place_of(conn: Conn, tenant: str, deployment: str) -> Place:
    """The deployment of these keys. Raises PinRefused."""
    keys = {"tenant": tenant, "deployment": deployment}
    row = await (await conn.execute(L.place_of, keys)).fetchone()
    if row is None:
        raise PinRefused(f"there is no deployment {tenant}/{deployment}")
    return Place(tenant, deployment, row[0], row[1])


async def issue(conn: Conn, settings: Settings, place: Place, by: str, now: datetime) -> str:
    """The first PIN of a deployment. Raises PinRefused when it has one, or no secret is set."""
    async with conn.transaction():
        if await (await conn.execute(L.pin_in_force, place.ids)).fetchone():
            where = f"{place.tenant}/{place.deployment}"
            raise PinRefused(f"{where} has a PIN already: 'rotate' replaces it, 'revoke' ends it")
        return await _insert(conn, settings, place, by, now)


async def rotate(conn: Conn, settings: Settings, place: Place, by: str, now: datetime) -> str:
    """A new PIN in place of the old one, which opens nothing from this moment on. Raises PinRefused."""
    async with conn.transaction():
        await revoke(conn, place, by, now)
        return await _insert(conn, settings, place, by, now)


async def revoke(conn: Conn, place: Place, by: str, now: datetime) -> None:
    """End the PIN in force. Raises PinRefused when there is none."""
    done = await conn.execute(L.revoke_pin, place.ids | {"by": by, "now": now})
    if not done.rowcount:
        raise PinRefused(f"{place.tenant}/{place.deployment} has no PIN in force")


async def listed(conn: Conn) -> list[dict[str, Any]]:
    """Every PIN that was ever issued, without the PIN."""
    names = ("tenant", "deployment", "pin_id", "issued_at", "issued_by", "revoked_at", "revoked_by")
    rows = await (await conn.execute(L.list_pins)).fetchall()
    return [dict(zip((*names, "used_at"), row, strict=True)) for row in rows]


async def _insert(conn: Conn, settings: Settings, place: Place, by: str, now: datetime) -> str:
    if not settings.pin_secret:
        raise PinRefused("no PIN can be issued: set oncall.pin_secret first (openssl rand -hex 32)")
    for _ in range(_AT_MOST):
        pin = new_pin()
        kept = await asyncio.to_thread(digest, settings.pin_secret, pin)
        values = place.ids | {"digest": kept, "by": by, "now": now}
        if await (await conn.execute(L.insert_pin, values)).fetchone():
            return pin
    raise PinRefused("another PIN was issued for it at the same time: look at 'oncall pin list'")
