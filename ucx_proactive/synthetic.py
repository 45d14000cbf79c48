"""Sends an invented critical fault through our front door and follows it until an automatic callee answers.

It plays an agent of its own: enrolled once, key and identity in a directory. The event is one that the
shipped rules take for critical (a database that cannot write). Afterwards it closes the ticket, so that
tomorrow's is new.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import httpx

from agent.enrol import enrol
from agent.identity import IdentityError, NotEnrolled, load_identity, load_key
from agent.token import sign
from oncall import synthetic
from oncall.synthetic import Progress
from storage.pool import Pool
from ticketing import actions
from ticketing.errors import TicketingError
from ticketing.settings import Settings as DeskSettings
from ticketing.shapes import Close
from wire import batch as wire_batch
from wire.batch import Event, EventBatch, Severity
from wire.clock import Clock

SOURCE, EVENT_ID = "MSSQL$INVENTED", "1105"
HOST = "invented"
POLL_S = 1.0


class NotSent(Exception):
    """The front door did not take the event; the message says what it answered."""


def enrolled(state: Path, collector: str, token: str | None) -> None:
    """Enrol the invented host, once. Raises EnrolmentError, NotSent when a token is needed."""
    if token is not None:
        enrol(state, collector, token, HOST)
    try:
        load_identity(state)
    except NotEnrolled:
        raise NotSent(f"the invented host is not enrolled in {state}: give --token the first time") from None
    except IdentityError as fault:
        raise NotSent(str(fault)) from None


async def run(
    pool: Pool, collector: str, tenant: str, state: Path, within: timedelta, clock: Clock
) -> Progress:
    """One invented page from end to end; what became of it. Raises NotSent."""
    run_id, started = uuid4(), clock()
    async with pool.connection() as conn:
        await synthetic.begin(conn, run_id, tenant, started)
    try:
        await _send(collector, state, run_id, clock)
    except NotSent as problem:
        await _end(pool, run_id, Progress(None, None, None, None), clock, str(problem))
        raise
    async with pool.connection() as conn:
        await synthetic.accepted(conn, run_id, clock())
    far = await _follow(pool, run_id, started + within, clock)
    await _end(pool, run_id, far, clock)
    return far


async def _send(collector: str, state: Path, run_id: UUID, clock: Clock) -> None:
    now = clock()
    text = "Invented fault: this page is a test of the whole chain."
    event = Event(_ms(now), SOURCE, EVENT_ID, Severity.ERROR, text, {"run": str(run_id)})
    agent = load_identity(state).agent_id
    batch = EventBatch(wire_batch.VERSION, "events", agent, secrets.randbits(62) + 1, 1, [event])
    token = sign(load_key(state), agent, int(now.timestamp()))
    headers = {"Authorization": f"Bearer {token}", "UCX-Sent-At": str(_ms(clock()))}
    try:
        async with httpx.AsyncClient(base_url=collector, timeout=30) as http:
            answer = await http.post("/v1/batches", content=wire_batch.encode(batch), headers=headers)
    except httpx.HTTPError as error:
        raise NotSent(f"the front door gives no answer: {type(error).__name__}") from error
    if answer.status_code != 200 or answer.json().get("outcome") != "stored":
        raise NotSent(f"the front door answered {answer.status_code}: {answer.text[:200]}")


def _ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)


async def _follow(pool: Pool, run_id: UUID, until: datetime, clock: Clock) -> Progress:
    while True:
        async with pool.connection() as conn:
            far = await synthetic.progress(conn, run_id)
        if far.answered_at is not None or clock() >= until:
            return far
        await asyncio.sleep(POLL_S)


async def _end(pool: Pool, run_id: UUID, far: Progress, clock: Clock, problem: str = "") -> None:
    async with pool.connection() as conn:
        await synthetic.end(conn, run_id, far, clock(), problem)
    if far.ticket is None:
        return
    wanted = Close(act="close", reason="an invented page has ended")
    try:
        async with pool.connection() as conn:
            await actions.act(
                conn, DeskSettings(), clock(), actions.Actor("synthetic", "test"), far.ticket, wanted
            )
    except TicketingError as error:
        raise NotSent(f"the page was {far.outcome()}, but its ticket could not be closed: {error}") from error
