"""The agents' two requests, as a thin ASGI application beside the framework.

    POST /v1/batches            a batch -> 200 and its receipt, or a problem (then the agent keeps the batch)
    PUT  /v1/layouts/<digest>   a layout's canonical bytes -> 204

A framework's work per request would cost several times the commit's share of it, hence no framework. The
steps of a batch: credential, room in the queue, body, bytes and time window (a refusal here is permanent
and gets a receipt), layouts (409 names those we lack), commit.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import msgspec

from collector.body import ClientGone, Receive, Scope, Send, decode, header, read_body
from collector.directory import Agent, Directory
from collector.group import Committer
from collector.layouts import LayoutStore, StoredLayout
from collector.meters import Meters
from collector.pending import Answer, BatchKey, Pending, at, clock_offset_ms, shift_ms
from collector.problem import MethodNotAllowed
from collector.settings import CollectorSettings
from wire import limits
from wire.batch import Batch, Event, EventBatch, Frame, FrameBatch, Severity
from wire.clock import Clock
from wire.problem import (
    BadRequest,
    FieldError,
    Forbidden,
    NotFound,
    Problem,
    Unprocessable,
)
from wire.receipt import Outcome, Receipt
from wire.refusal import Refusal, UnknownVersion
from wire.validate import check_width, decode_batch, decode_layout, read_key

log = logging.getLogger(__name__)

BATCHES = "/v1/batches"
LAYOUTS = "/v1/layouts/"
SENT_AT_DIGITS = 13
"""Milliseconds since 1970, from the year 2001 to 2286."""
_HEX_DIGEST = re.compile(r"[0-9a-f]{64}")


class Plain(msgspec.Struct, frozen=True):
    """A whole request for a batch, with what matters of its head. The door reads it (collector/door.py)."""

    authorization: bytes
    """The header's value; empty when there is none."""
    encoding: str
    """Of the body: the value of Content-Encoding."""
    sent_at: str | None
    """The value of UCX-Sent-At."""
    body: bytes
    """As sent."""


class IngestApp:
    """Answers the agents. Stateless but for its parts' caches, which another process can rebuild."""

    def __init__(
        self,
        directory: Directory,
        layouts: LayoutStore,
        committer: Committer,
        settings: CollectorSettings,
        clock: Clock,
        meters: Meters,
    ) -> None:
        self._directory = directory
        self._layouts = layouts
        self._committer = committer
        self._settings = settings
        self._frames_let_in, self._events_let_in = settings.frames_let_in, settings.events_let_in
        self._clock = clock
        self._meters = meters
        directory.on_twins = self.tell_of_twins
        self._encode = msgspec.json.Encoder().encode

    @staticmethod
    def serves(path: str) -> bool:
        """True for the addresses that this application answers."""
        return path == BATCHES or path.startswith(LAYOUTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request. Raises Problem for what composition turns into problem+json."""
        try:
            if scope["path"] == BATCHES:
                _require_method(scope, "POST")
                await _reply(send, 200, self._encode(await self._batch(scope, receive)))
            else:
                _require_method(scope, "PUT")
                await self._put_layout(scope, receive)
                await _reply(send, 204, b"")
        except ClientGone:
            return
        except Problem as problem:
            request = "batch" if scope["path"] == BATCHES else "layout"
            self._meters.turned_away.labels(request, problem.kind).inc()
            raise

    async def _batch(self, scope: Scope, receive: Receive) -> Receipt:
        agent = await self._directory.agent(header(scope, b"authorization"))
        self._committer.check_room(agent.scope.tenant_id, 0)
        body = await self._body(scope, receive, limits.MAX_REQUEST_BYTES, limits.MAX_BATCH_BYTES)
        received_at = self._clock()
        digest = hashlib.sha256(body).digest()
        offset_ms = clock_offset_ms(received_at, _sent_at(header(scope, b"ucx-sent-at")))
        try:
            batch = _own_batch(body, agent)
            self._check_window(batch, received_at, offset_ms)
            layouts = await self._layouts.resolve(agent.host, _digests(batch), received_at)
            check_widths(batch, layouts)
        except Refusal as refusal:
            return self._refused(body, digest, agent, refusal)
        answer: asyncio.Future[Receipt | Problem] = asyncio.get_running_loop().create_future()
        pending = _pending(agent, body, digest, batch, layouts, received_at, offset_ms, answer)
        return await self._committer.submit(pending)

    def quick(self, request: Plain, answer: Answer) -> bool:
        """Take a batch at once, when nothing about it needs waiting for; its answer comes by ``answer``.

        False: nothing was taken, the long way decides. So whatever is unusual here - a credential or a layout
        to be looked up, a fault, a full queue - is judged, worded and counted in one place."""
        try:
            received_at = self._clock()
            agent = self._directory.known(request.authorization, received_at)
            return agent is not None and self._take(agent, request, received_at, answer)
        except (Problem, Refusal):
            return False

    def _take(self, agent: Agent, request: Plain, received_at: datetime, answer: Answer) -> bool:
        body = decode(request.body, request.encoding, limit=limits.MAX_BATCH_BYTES)
        batch = _own_batch(body, agent)
        offset_ms = clock_offset_ms(received_at, _sent_at(request.sent_at))
        self._check_window(batch, received_at, offset_ms)
        layouts = self._layouts.known(agent.host, _digests(batch))
        if layouts is None:
            return False
        check_widths(batch, layouts)
        digest = hashlib.sha256(body).digest()
        self._committer.offer(_pending(agent, body, digest, batch, layouts, received_at, offset_ms, answer))
        return True

    def _check_window(self, batch: Batch, received_at: datetime, offset_ms: int) -> None:
        keep = self._events_let_in if isinstance(batch, EventBatch) else self._frames_let_in
        check_window(batch, received_at, keep, shift_ms(offset_ms))

    def turned_away(self, reason: str) -> None:
        """Count a batch that was taken by ``quick`` and got no receipt."""
        self._meters.turned_away.labels("batch", reason).inc()

    def tell_of_twins(self, agent: Agent, now: datetime) -> None:
        """An event of the host, once a day, by the way that its own events take: so rules can speak of it."""
        batch = twins_event(agent, now)
        body = msgspec.msgpack.encode(batch)
        answer: asyncio.Future[Receipt | Problem] = asyncio.get_running_loop().create_future()
        digest = hashlib.sha256(f"{batch.seq}".encode()).digest()
        try:
            self._committer.offer(_pending(agent, body, digest, batch, {}, now, 0, answer))
        except Problem as problem:
            log.warning("no room to tell of two agents as one: %s", problem.detail)

    async def _body(self, scope: Scope, receive: Receive, limit: int, content_limit: int) -> bytes:
        raw = await read_body(scope, receive, limit=limit, deadline_s=self._settings.body_deadline_s)
        return decode(raw, header(scope, b"content-encoding"), limit=content_limit)

    def _refused(self, body: bytes, digest: bytes, agent: Agent, refusal: Refusal) -> Receipt:
        """A permanent refusal needs a receipt, and a receipt needs to know which batch it speaks of."""
        errors = [FieldError(refusal.field, refusal.reason)]
        if isinstance(refusal, UnknownVersion):
            # Nothing is wrong with the bytes: a newer collector will read them. The agent must keep them.
            raise Unprocessable(str(refusal), slug="unknown-version", errors=errors)
        try:
            key = read_key(body)
        except Refusal:
            raise Unprocessable(
                f"The batch cannot be read, not even whose it is: {refusal}", errors=errors
            ) from None
        _require_own(key.agent, agent)
        self._meters.batches.labels(Outcome.REFUSED.value).inc()
        return Receipt(key.agent, key.epoch, key.seq, digest.hex(), Outcome.REFUSED, str(refusal))

    async def _put_layout(self, scope: Scope, receive: Receive) -> None:
        agent = await self._directory.agent(header(scope, b"authorization"))
        named = scope["path"].removeprefix(LAYOUTS)
        if not _HEX_DIGEST.fullmatch(named):
            raise NotFound("A layout's address is /v1/layouts/<64 hex digits, the SHA-256 of its bytes>.")
        body = await self._body(scope, receive, limits.MAX_LAYOUT_BYTES, limits.MAX_LAYOUT_BYTES)
        if hashlib.sha256(body).hexdigest() != named:
            raise Unprocessable(
                "The body's SHA-256 is not the digest in the address.",
                slug="wrong-digest",
                errors=[FieldError("body", "must be the very bytes that the digest was taken of")],
            )
        try:
            decode_layout(body)
        except Refusal as refusal:
            raise Unprocessable(
                f"The layout is not acceptable: {refusal}", errors=[FieldError(refusal.field, refusal.reason)]
            ) from None
        await self._layouts.register(agent.host, body, self._clock())


def twins_event(agent: Agent, now: datetime) -> EventBatch:
    """The event. Its batch has an epoch that no agent can have and the day as its number: one a day is
    stored, whichever collector notices, and however often."""
    at_ms = int(now.timestamp() * 1000)
    text = (
        "Two agents speak in turn under this host's identity: the machine was cloned, or restored beside"
        " itself. Find the other one, then enrol one of the two again (ucx-agent enrol --again)."
    )
    told = Event(at_ms, "ucx-collector", "agent.cloned", Severity.WARNING, text)
    return EventBatch(1, "events", agent.agent_id.hex, 0, at_ms // 86_400_000, [told])


class OutsideWindow(Refusal):
    """A sample older than what we keep, or from the future."""


def check_window(batch: Batch, now: datetime, keep: timedelta, shift: int = 0) -> None:
    """Raise OutsideWindow for times that the ledger no longer vouches for, or that have not come yet.

    ``shift``: milliseconds that the host's clock is behind ours, as ``shift_ms`` says. Judged is when it
    happened, not what a wrong clock showed: else what a host measures before it learns the time is lost."""
    now_ms = now.timestamp() * 1000 - shift
    first, last = now_ms - keep.total_seconds() * 1000, now_ms + limits.MAX_FUTURE_S * 1000
    items: Sequence[Event | Frame] = batch.events if isinstance(batch, EventBatch) else batch.frames
    for index, item in enumerate(items):
        if first <= item.time_ms <= last:
            continue
        when, field = at(item.time_ms + shift).isoformat(), f"{batch.kind}[{index}].time_ms"
        if item.time_ms < first:
            raise OutsideWindow(
                f"{when} is more than {keep.days} days ago: older data is not accepted", field
            )
        raise OutsideWindow(
            f"{when} is more than {limits.MAX_FUTURE_S} s ahead of the collector's clock", field
        )


def check_widths(batch: Batch, layouts: dict[bytes, StoredLayout]) -> None:
    """Raise a Refusal unless every frame has one value per series of its layout."""
    if isinstance(batch, FrameBatch):
        for index, frame in enumerate(batch.frames):
            layout = layouts[frame.layout].layout
            if len(frame.values) != len(layout.series):
                check_width(frame, layout, f"frames[{index}].values")


def _own_batch(body: bytes, agent: Agent) -> Batch:
    batch = decode_batch(body)
    _require_own(batch.agent, agent)
    return batch


def _require_own(named: str, agent: Agent) -> None:
    """The agent's own, or of an agent that spoke for the same host before it was enrolled anew: such a batch
    keeps its name, so that the ledger knows it if it came before.

    Not a permanent refusal: a host with the wrong credential keeps its data until that is put right."""
    if named != agent.name and named not in agent.predecessors:
        raise Forbidden(
            f"The batch is by agent {named}, the credential is of agent {agent.name}.",
            slug="other-agent",
        )


def _sender(agent: Agent, batch: Batch) -> bytes:
    return agent.key if batch.agent == agent.name else bytes.fromhex(batch.agent)


def _digests(batch: Batch) -> Collection[bytes]:
    if not isinstance(batch, FrameBatch):
        return ()
    if len(batch.frames) == 1:
        return (batch.frames[0].layout,)
    return {frame.layout for frame in batch.frames}


def _pending(
    agent: Agent,
    body: bytes,
    digest: bytes,
    batch: Batch,
    layouts: dict[bytes, StoredLayout],
    received_at: datetime,
    offset_ms: int,
    answer: Answer,
) -> Pending:
    return Pending(
        key=BatchKey(agent.scope.tenant_id, _sender(agent, batch), batch.epoch, batch.seq),
        digest=digest,
        scope=agent.scope,
        host=agent.host,
        batch=batch,
        layouts=layouts,
        received_at=received_at,
        offset_ms=offset_ms,
        size=len(body),
        answer=answer,
    )


def _sent_at(text: str | None) -> int | None:
    if text is None:
        return None
    sent_at = int(text) if text.isascii() and text.isdigit() and len(text) <= SENT_AT_DIGITS else 0
    if not limits.MIN_TIME_MS <= sent_at <= limits.MAX_TIME_MS:
        raise BadRequest(
            "UCX-Sent-At must be the host's time at sending, in whole milliseconds since 1970.",
            errors=[FieldError("UCX-Sent-At", "milliseconds since 1970, between the years 2000 and 2100")],
        )
    return sent_at


def _require_method(scope: Scope, method: str) -> None:
    if scope["method"] != method:
        raise MethodNotAllowed(method)


async def _reply(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode())] if status != 204 else []
    if body:
        headers.append((b"content-type", b"application/json"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
