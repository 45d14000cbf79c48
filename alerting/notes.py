"""HTTP routes for what people say about an alert: that they have seen it, and comments. Kept for good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from psycopg import AsyncConnection
from pydantic import BaseModel, ConfigDict, Field

from alerting import reading
from alerting.access import caller
from storage.pool import Pool
from storage.sql import Queries
from wire.access import Principal, Role
from wire.clock import Clock
from wire.problem import NotFound

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
Kind = Literal["acknowledged", "comment"]
Id = Annotated[int, Path(ge=1, le=2**63 - 1)]
Said = Annotated[str, Field(max_length=2000, pattern=r"^[^\x00]*$")]


class AcknowledgeBody(BaseModel):
    """Somebody has seen it."""

    model_config = ConfigDict(extra="forbid")

    note: Said = ""


class CommentBody(BaseModel):
    """What is known about it."""

    model_config = ConfigDict(extra="forbid")

    text: Annotated[Said, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class NoteView:
    """One thing that somebody said."""

    note: int
    """Grows; not without gaps."""
    kind: Kind
    at: datetime
    author: str
    text: str


def add_routes(routes: APIRouter, pool: Pool, clock: Clock) -> None:
    """Add this module's routes."""

    @routes.post("/v1/alerts/{alert_id}/acknowledge", status_code=201)
    async def acknowledge(request: Request, alert_id: Id, body: AcknowledgeBody) -> NoteView:
        """Say that you have seen it. Its ticket is taken in charge in the ticket, not here."""
        who = caller(request, Role.SUPPORT)
        async with pool.connection() as conn:
            return await _add(conn, who, alert_id, "acknowledged", body.note, clock())

    @routes.post("/v1/alerts/{alert_id}/comments", status_code=201)
    async def comment(request: Request, alert_id: Id, body: CommentBody) -> NoteView:
        """Say something about it."""
        who = caller(request, Role.SUPPORT)
        async with pool.connection() as conn:
            return await _add(conn, who, alert_id, "comment", body.text, clock())

    @routes.get("/v1/alerts/{alert_id}/comments")
    async def comments(
        request: Request,
        alert_id: Id,
        after: Annotated[int, Query(ge=0, le=2**63 - 1, description="Only those with a higher number")] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    ) -> list[NoteView]:
        """What was said about an alert, acknowledgements included, in order."""
        who = caller(request, Role.READER)
        async with pool.connection() as conn:
            await reading.alert(conn, who, alert_id)
            given = {"alert_id": alert_id, "after": after, "limit": limit}
            return [NoteView(*row) for row in await (await conn.execute(Q.notes_of, given)).fetchall()]


async def _add(
    conn: Connection, who: Principal, alert_id: int, kind: Kind, text: str, now: datetime
) -> NoteView:
    await reading.alert(conn, who, alert_id)
    given = {"alert_id": alert_id, "kind": kind, "now": now, "author": who.name, "text": text}
    row = await (await conn.execute(Q.add_note, given)).fetchone()
    if row is None:
        raise NotFound(f"There is no alert {alert_id}.")
    return NoteView(*row)
