"""Rows of pages and what changes them. Every function runs in the caller's transaction.

The one place where an acknowledgement is written: in the same commit as the state of its page and paging.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from psycopg.types.json import Jsonb

from oncall import metrics
from oncall.line import Line
from oncall.page import OVER, News, Page, State, hear
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
    return _claim(row)


def _claim(row: tuple[Any, ...]) -> Claim:
    tenant_id, request_id, ticket_id, policy, priority, step, attempt, round_, *rest = row
    fence, created_at, state, waiting_for, waiting_since, audience = rest
    position = Position(step, attempt, round_)
    key = (tenant_id, request_id, ticket_id, policy, priority)
    paging = Paging(*key, position, fence, created_at, waiting_for, waiting_since, audience)
    return Claim(paging, state == "active")


async def is_mine(conn: Conn, claim: Claim) -> bool:
    """Whether the claim still stands; locks the paging if so."""
    return await _state_if_mine(conn, claim) is not None


async def may_call(conn: Conn, claim: Claim, now: datetime) -> bool:
    """Whether the claim still stands and nobody has answered since; locks the paging if so.

    When somebody has, it is given back: the calls that ring are hung up next."""
    state = await _state_if_mine(conn, claim)
    if state not in (None, "active"):
        await release(conn, claim, now, "nobody needs to be reached any more", now)
    return state == "active"


async def _state_if_mine(conn: Conn, claim: Claim) -> str | None:
    row = await (await conn.execute(Q.still_mine, claim.key)).fetchone()
    return None if row is None else str(row[0])


async def put_back(conn: Conn, back: timedelta, now: datetime) -> None:
    """Our clock was put back: what it had told of the pagings under way is put back with it."""
    values = {"back": back, "now": now}
    await conn.execute(Q.lock_active)
    await conn.execute(Q.pages_put_back, values)
    await conn.execute(Q.pagings_put_back, values)


async def release(
    conn: Conn,
    claim: Claim,
    next_look_at: datetime | None,
    reason: str,
    now: datetime,
    *,
    position: Position | None = None,
    waiting_for: int | None = None,
    waiting_since: datetime | None = None,
) -> None:
    """Give the claim back. Does nothing when it no longer stands."""
    step, attempt, round_ = position or claim.paging.position
    values: dict[str, Any] = {"step": step, "attempt": attempt, "round": round_}
    values["next_look_at"] = next_look_at
    values |= {"waiting_for": waiting_for, "waiting_since": waiting_since, "reason": reason, "now": now}
    await conn.execute(Q.release, claim.key | values)


async def pages_of(conn: Conn, tenant_id: int, page_request_id: int) -> list[Page]:
    """All pages of one page request, oldest first."""
    key = {"tenant_id": tenant_id, "page_request_id": page_request_id}
    return [_page(row) for row in await (await conn.execute(Q.pages_of, key)).fetchall()]


async def insert_page(conn: Conn, page: Page) -> None:
    """Write a new page."""
    await conn.execute(Q.insert_page, _row(page))


class LockedCall(msgspec.Struct, frozen=True):
    """One call: its page, and all the pages whose tickets it reads out, behind their locked pagings."""

    page: Page
    """The one that was asked for."""
    pages: tuple[Page, ...]
    """All, this one among them; worst and newest ticket first."""
    pagings: Mapping[tuple[int, int], tuple[str, str, int]]
    """(tenant, page request) -> the paging's state, why it ended, the ticket."""

    def state_of(self, page: Page) -> str:
        """The state of the page's paging."""
        return self.pagings[page.tenant_id, page.page_request_id][0]

    @property
    def needed(self) -> tuple[Page, ...]:
        """Pages of tickets that nobody has answered yet."""
        return tuple(page for page in self.pages if self.state_of(page) == "active")

    @property
    def end_reason(self) -> str:
        """Why the paging of ``page`` ended; '' while it is active."""
        return self.pagings[self.page.tenant_id, self.page.page_request_id][1]


async def lock_call(conn: Conn, tenant_id: int, page_id: UUID) -> LockedCall | None:
    """Lock a page's call: first the pagings in a fixed order, then the pages. None: no such page."""
    lead = await (await conn.execute(Q.lead_of, {"tenant_id": tenant_id, "page_id": page_id})).fetchone()
    if lead is None:
        return None
    key = {"lead": lead[0]}
    rows = await (await conn.execute(Q.lock_call, key)).fetchall()
    pages = tuple(_page(row) for row in await (await conn.execute(Q.pages_of_call, key)).fetchall())
    mine = next(page for page in pages if page.page_id == page_id)
    return LockedCall(mine, pages, {(row[0], row[1]): (row[2], row[3], row[4]) for row in rows})


async def apply(
    conn: Conn,
    call: LockedCall,
    news: News,
    now: datetime,
    *,
    channel: str = "",
    proof: dict[str, Any] | None = None,
) -> None:
    """Write what the news does to every page of a locked call - and the acknowledgements, if it is one."""
    pages = call.pages
    if news.state is State.ACKNOWLEDGED and len(pages) > 1:
        # Key 4 takes what was read out: tickets that had ended by then were not.
        pages = tuple(page for page in pages if call.state_of(page) != "ended") or (call.page,)
    for page in pages:
        await apply_to(conn, page, news, now, channel, proof or {})
    if news.state in OVER:
        await line_is_free(conn, call.page, now)


async def line_is_free(conn: Conn, page: Page, now: datetime) -> None:
    """The page's call is over: whoever waits for that phone is looked at now."""
    await conn.execute(Q.lock_line, {"person_id": page.person_id})
    await conn.execute(Q.wake_waiting, {"person_id": page.person_id, "now": now})


async def apply_to(
    conn: Conn, page: Page, news: News, now: datetime, channel: str = "", proof: dict[str, Any] | None = None
) -> None:
    """Write what the news does to one page whose paging is locked."""
    change = hear(page, news, now)
    if change.moved:
        await conn.execute(Q.update_page, _row(change.page))
        await conn.execute(Q.wake, _key(page) | {"now": now})
    await tell_once(conn, page, now, change.kind, news.reason, proof)
    if change.acknowledges:
        await acknowledge(conn, change.page, news.reason, now, channel, proof or {})


async def acknowledge(
    conn: Conn, page: Page, reason: str, now: datetime, channel: str, proof: dict[str, Any]
) -> None:
    """The acknowledgement row, once per page, and the end of the calling."""
    paging = await (await conn.execute(Q.lock_paging, _key(page))).fetchone()
    if paging is None:
        return
    ours = page.person_id > 0
    row = _key(page) | {"ticket_id": paging[0], "page_id": page.page_id, "at": now, "channel": channel}
    row |= {"person_id": page.person_id if ours else None, "contact_id": None if ours else -page.person_id}
    row["proof"] = Jsonb(proof | {"by": page.person_name})
    inserted = await conn.execute(Q.insert_acknowledgement, row)
    if inserted.rowcount:
        metrics.ACKNOWLEDGED.labels(channel).inc()
    await conn.execute(Q.acknowledge_paging, _key(page) | {"now": now, "reason": reason})


async def line_of(
    conn: Conn, paging: Paging, person_id: int, name: str, window_s: float, now: datetime
) -> Line:
    """What is known of a person's phone; decisions about it wait for each other until the commit."""
    await conn.execute(Q.lock_line, {"person_id": person_id})
    values = _key(paging) | {"person_id": person_id, "window_s": window_s, "now": now}
    row = await (await conn.execute(Q.line, values)).fetchone()
    assert row is not None
    same = paging.waiting_for == person_id and paging.waiting_since is not None
    since = paging.waiting_since if same and paging.waiting_since else now
    live, recent, last_at, spent, last_any_at = row
    return Line(name, live, recent, last_at, since, spent, last_any_at)


async def join_waiting(
    conn: Conn, paging: Paging, person_id: int, most: int, lease_s: float, now: datetime
) -> list[Paging]:
    """Take the other pagings that wait for this person's phone into the call that is about to be placed."""
    values = _key(paging) | {"person_id": person_id, "most": most}
    rows = await (await conn.execute(Q.take_waiting, values)).fetchall()
    joining = [_claim(row).paging for row in rows]
    for other in joining:
        await conn.execute(Q.joined, _key(other) | {"now": now, "lease_s": lease_s})
    return joining


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
    """A person answers without a phone; False: there is no such paging.

    Who answered this request before, and answers again when the ticket is rung for anew, means that."""
    key = {"tenant_id": tenant_id, "page_request_id": page_request_id}
    paging = await (await conn.execute(Q.lock_paging, key)).fetchone()
    if paging is None:
        return False
    reason = f"{person[1]} acknowledged through the API"
    row = key | {"ticket_id": paging[0], "page_id": None, "person_id": person[0], "at": now}
    row["contact_id"] = None
    inserted = await conn.execute(Q.insert_acknowledgement, row | {"channel": "api", "proof": Jsonb(proof)})
    if inserted.rowcount:
        line = {"page_id": None, "at": now, "kind": "acknowledged", "text": reason, "detail": Jsonb(proof)}
        await conn.execute(Q.tell, key | line)
        await conn.execute(Q.acknowledge_paging, key | {"now": now, "reason": reason})
    elif newer := await (await conn.execute(Q.newer_paging, row)).fetchone():
        return await acknowledge_by_api(conn, tenant_id, newer[0], person, now, proof)
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
