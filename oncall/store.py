"""Rows of pages and what changes them. Every function runs in the caller's transaction.

The one place where an acknowledgement is written: in the same commit as the state of its page and paging.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from oncall.page import Change, News, Page, State, hear
from oncall.paging import Paging, Position
from oncall.sql import Q
from oncall.targets import Conn


class Claim(msgspec.Struct, frozen=True):
    """A paging in one worker's hands."""

    paging: Paging
    active: bool
    """False: answered or ended, there may be calls to hang up."""

    @property
    def key(self) -> dict[str, Any]:
        """Parameters that name the claim in a compare-and-set."""
        p = self.paging
        return {"tenant_id": p.tenant_id, "page_request_id": p.page_request_id, "fence": p.fence}


async def claim_due(conn: Conn, lease_s: float, now: datetime) -> Claim | None:
    """Claim the most urgent due paging; None when nothing is due."""
    row = await (await conn.execute(Q.claim_due, {"lease_s": lease_s, "now": now})).fetchone()
    if row is None:
        return None
    tenant_id, request_id, ticket_id, policy, priority, step, attempt, round_, fence, created_at, state = row
    position = Position(step, attempt, round_)
    paging = Paging(tenant_id, request_id, ticket_id, policy, priority, position, fence, created_at)
    return Claim(paging, state == "active")


async def is_mine(conn: Conn, claim: Claim) -> bool:
    """Whether the claim still stands; locks the paging if so."""
    return await (await conn.execute(Q.still_mine, claim.key)).fetchone() is not None


async def release(
    conn: Conn,
    claim: Claim,
    next_look_at: datetime | None,
    reason: str,
    now: datetime,
    position: Position | None = None,
) -> None:
    """Give the claim back. Does nothing when it no longer stands."""
    step, attempt, round_ = position or claim.paging.position
    where = {"step": step, "attempt": attempt, "round": round_}
    await conn.execute(
        Q.release, claim.key | where | {"next_look_at": next_look_at, "reason": reason, "now": now}
    )


async def pages_of(conn: Conn, tenant_id: int, page_request_id: int) -> list[Page]:
    """All pages of one page request, oldest first."""
    key = {"tenant_id": tenant_id, "page_request_id": page_request_id}
    return [_page(row) for row in await (await conn.execute(Q.pages_of, key)).fetchall()]


async def insert_page(conn: Conn, page: Page) -> None:
    """Write a new page."""
    await conn.execute(Q.insert_page, _row(page))


async def lock_page(conn: Conn, tenant_id: int, page_id: UUID) -> tuple[Page, str, str] | None:
    """Lock a page behind its paging: the page, the paging's state and why it ended; None: no such page."""
    key = {"tenant_id": tenant_id, "page_id": page_id}
    owner = await (await conn.execute(Q.page_request_of, key)).fetchone()
    if owner is None:
        return None
    paging = await (
        await conn.execute(Q.lock_paging, {"tenant_id": tenant_id, "page_request_id": owner[0]})
    ).fetchone()
    row = await (await conn.execute(Q.lock_page, key)).fetchone()
    if paging is None or row is None:
        return None
    return _page(row), paging[1], paging[2]


async def apply(
    conn: Conn,
    page: Page,
    news: News,
    now: datetime,
    *,
    channel: str = "",
    proof: dict[str, Any] | None = None,
) -> Change:
    """Write what the news does to a locked page - and the acknowledgement, if it is one."""
    change = hear(page, news, now)
    if change.moved:
        await conn.execute(Q.update_page, _row(change.page))
        await conn.execute(Q.wake, _key(page) | {"now": now})
    await tell_once(conn, page, now, news.state.value, news.reason, proof)
    if change.acknowledges:
        await acknowledge(conn, change.page, news.reason, now, channel, proof or {})
    return change


async def acknowledge(
    conn: Conn, page: Page, reason: str, now: datetime, channel: str, proof: dict[str, Any]
) -> None:
    """The acknowledgement row, once per page, and the end of the calling."""
    paging = await (await conn.execute(Q.lock_paging, _key(page))).fetchone()
    if paging is None:
        return
    row = _key(page) | {"ticket_id": paging[0], "page_id": page.page_id, "person_id": page.person_id}
    row |= {"at": now, "channel": channel, "proof": Jsonb(proof)}
    await conn.execute(Q.insert_acknowledgement, row)
    await conn.execute(Q.acknowledge_paging, _key(page) | {"now": now, "reason": reason})


async def person_by_key(conn: Conn, key: str) -> tuple[int, str] | None:
    """Id and name of an active person."""
    row = await (await conn.execute(Q.person_by_key, {"key": key})).fetchone()
    return None if row is None else (row[0], row[1])


async def acknowledge_by_api(
    conn: Conn,
    tenant_id: int,
    page_request_id: int,
    person: tuple[int, str],
    now: datetime,
    proof: dict[str, Any],
) -> bool:
    """A person answers without a phone; False: there is no such paging."""
    key = {"tenant_id": tenant_id, "page_request_id": page_request_id}
    paging = await (await conn.execute(Q.lock_paging, key)).fetchone()
    if paging is None:
        return False
    reason = f"{person[1]} acknowledged through the API"
    row = key | {"ticket_id": paging[0], "page_id": None, "person_id": person[0], "at": now}
    inserted = await conn.execute(Q.insert_acknowledgement, row | {"channel": "api", "proof": Jsonb(proof)})
    if inserted.rowcount:
        line = {"page_id": None, "at": now, "kind": "acknowledged", "text": reason, "detail": Jsonb(proof)}
        await conn.execute(Q.tell, key | line)
        await conn.execute(Q.acknowledge_paging, key | {"now": now, "reason": reason})
    return True


async def tell(
    conn: Conn,
    of: Page | Paging,
    at: datetime,
    kind: str,
    text: str,
    detail: dict[str, Any] | None = None,
) -> None:
    """A line of the timeline."""
    await conn.execute(Q.tell, _line(of, at, kind, text, detail))


async def tell_once(
    conn: Conn, page: Page, at: datetime, kind: str, text: str, detail: dict[str, Any] | None = None
) -> None:
    """A line of the timeline that the same news does not write twice."""
    await conn.execute(Q.tell_once, _line(page, at, kind, text, detail))


def _line(
    of: Page | Paging, at: datetime, kind: str, text: str, detail: dict[str, Any] | None
) -> dict[str, Any]:
    page_id = of.page_id if isinstance(of, Page) else None
    return _key(of) | {
        "page_id": page_id,
        "at": at,
        "kind": kind,
        "text": text,
        "detail": Jsonb(detail or {}),
    }


async def ticket_of(conn: Conn, page: Page) -> int | None:
    """The ticket that a page is about."""
    row = await (await conn.execute(Q.ticket_of, _key(page))).fetchone()
    return None if row is None else int(row[0])


async def unknown_refs(conn: Conn, provider: str, refs: Sequence[str]) -> list[str]:
    """Those of the provider's calls that belong to no page of ours yet, in the order given."""
    rows = await (await conn.execute(Q.known_refs, {"provider": provider, "refs": list(refs)})).fetchall()
    known = {row[0] for row in rows}
    return [ref for ref in refs if ref not in known]


def _key(of: Page | Paging) -> dict[str, Any]:
    return {"tenant_id": of.tenant_id, "page_request_id": of.page_request_id}


def _row(page: Page) -> dict[str, Any]:
    return msgspec.structs.asdict(page) | {"state": page.state.value}


def _page(row: tuple[Any, ...]) -> Page:
    values = dict(zip(Page.__struct_fields__, row, strict=True))
    return Page(**values | {"state": State(values["state"])})
