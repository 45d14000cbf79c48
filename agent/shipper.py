"""Delivers the spool: one request in flight, decisions by ``agent.delivery``.

A batch is forgotten only when ``judge`` has seen a receipt for exactly its bytes. Everything else leaves it
where it is; killed at any line, the worst that happens is that a batch is sent twice, which the collector's
ledger answers with the same receipt.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from agent import delivery
from agent.clock import Timekeeper
from agent.delivery import (
    Delivered,
    Hold,
    Later,
    Narrow,
    NeedLayouts,
    Order,
    Refused,
    Renumber,
    Reply,
    Suspicion,
    Unaccepted,
    Verdict,
)
from agent.packing import Packer
from agent.spool import Spool
from agent.store import Stored
from agent.token import TokenMaker
from agent.transport import Unreachable

log = logging.getLogger("ucx.shipper")

_SAY_AGAIN_S = 600.0
"""The same trouble is logged again after this time."""


class Sender(Protocol):
    """What the shipper needs of agent.transport.Transport."""

    def request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply: ...


Ask = Callable[[str, str, bytes, dict[str, str]], Reply]
"""One signed request: method, path, body, headers. Raises Unreachable."""


class Condition(NamedTuple):
    """How delivery does, for ``status``."""

    trouble: str
    """Empty while all is well."""
    delivered: int
    """Batches since the agent started."""
    last_receipt_s: float | None
    """Seconds since 1970 by the host's clock."""


class Pause(NamedTuple):
    """What to do after a step."""

    seconds: float | None
    """0 = go on at once, None = for ever."""
    for_news: bool = False
    """Something new in the spool ends the pause; a pause after a failure is not ended by it."""


class Shipper:
    """Runs in a thread of its own (``run``); tests call ``step``."""

    def __init__(
        self,
        spool: Spool,
        sender: Sender,
        tokens: TokenMaker,
        timekeeper: Timekeeper,
        *,
        longest_backoff_s: float,
        chore: Callable[[Ask], None] = lambda _: None,
        chance: Callable[[], float] = random.random,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._sender = sender
        self._tokens = tokens
        self._time = timekeeper
        self._chore = chore
        self._longest_backoff_s = longest_backoff_s
        self._chance = chance
        self._monotonic = monotonic
        self._packer = Packer()
        self._stop = threading.Event()
        self._news = threading.Event()
        self._order = Order()
        self._failures = 0
        self._in_hand = 0
        """The batch that is being sent."""
        self._passed_over: set[int] = set()
        """Batches that failed last: others are tried before they are tried again."""
        self._blamed: dict[int, int] = {}
        """Batch -> how often it failed right after another was delivered."""
        self._held: dict[int, float] = {}
        self._generation = spool.generation
        self._waited = spool.last_id()
        """Events up to this id waited through an outage, or an earlier run left them."""
        self._asked_layouts_for = 0
        self._said = ("", 0.0)
        self.condition = Condition("", 0, None)

    # ---- the thread

    def run(self) -> None:
        """Deliver until ``stop``."""
        while not self._stop.is_set():
            self._news.clear()
            pause = self._careful_step()
            if pause.for_news:
                self._news.wait(pause.seconds)
            elif pause.seconds:
                self._stop.wait(pause.seconds)

    def _careful_step(self) -> Pause:
        """A fault of our own must not end delivery: it is logged, and the next step comes after a pause."""
        try:
            return self.step()
        except Exception:
            log.exception("delivery stumbled")
            return Pause(self._later(Later("a fault inside the agent, see its log")))

    def use(self, sender: Sender) -> None:
        """Send through another connection from the next request on."""
        self._sender = sender

    def wake(self) -> None:
        """Something new lies in the spool."""
        self._news.set()

    def stop(self) -> None:
        """End after the request in hand."""
        self._stop.set()
        self._news.set()

    # ---- one step

    def step(self) -> Pause:
        """Send one batch, if there is one."""
        choice = self._choose()
        if choice.batch is None:
            self._order = choice.order
            return Pause(choice.wait_s or self._until_held(), for_news=True)
        self._in_hand = choice.batch.id
        verdict = self._send(choice.batch)
        if isinstance(verdict, Later | Unaccepted):
            self._waited = self._spool.last_id()
        if not isinstance(verdict, Later | Unaccepted | NeedLayouts):
            self._order = choice.order
        return Pause(self._act(verdict, choice.batch))

    def _until_held(self) -> float | None:
        """Seconds until a batch that was put aside may be tried again."""
        if not self._held:
            return None
        return max(1.0, min(self._held.values()) - self._monotonic())

    def _choose(self) -> delivery.Choice:
        now = self._monotonic()
        if self._generation != self._spool.generation:
            self._generation, self._order, self._held = self._spool.generation, Order(), {}
            self._waited = self._spool.last_id()
            self._passed_over, self._blamed = set(), {}
        self._held = {key: until for key, until in self._held.items() if until > now}
        choice = self._choose_without((*self._held, *self._passed_over))
        if choice.batch is None and choice.wait_s is None and self._passed_over:
            self._passed_over.clear()  # all were tried
            choice = self._choose_without(tuple(self._held))
        return choice

    def _choose_without(self, skip: Collection[int]) -> delivery.Choice:
        event = self._spool.oldest("events", skip, after=self._waited)
        if event is not None:
            return delivery.choose(self._order, event, None, None)
        newest = self._spool.newest("frames", skip)
        oldest = self._spool.oldest("frames", skip) if newest is not None else None
        return delivery.choose(self._order, None, newest, oldest, self._spool.oldest("events", skip))

    def _send(self, batch: Stored) -> Verdict:
        headers = {
            "Content-Type": "application/vnd.msgpack",
            "UCX-Sent-At": str(self._time.sent_ms(batch.correction_ms, batch.created_ms)),
        }
        try:
            reply = self._post(batch.body, headers)
            if self._packer.give_way(reply.status):
                reply = self._post(batch.body, headers)
        except Unreachable as fault:
            return Later(str(fault))
        return delivery.judge(reply, batch, self._time.stamp_ms() / 1000)

    def _post(self, body: bytes, headers: dict[str, str]) -> Reply:
        packed, packing = self._packer.pack(body)
        return self._request("POST", "/v1/batches", packed, headers | packing)

    def _request(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Reply:
        """One signed request; the answer's Date teaches the clock when the collector wrote the answer."""
        token = self._tokens.token(self._time.stamp_ms() / 1000)
        sent_s = self._time.raw_s()
        reply = self._sender.request(method, path, body, headers | {"Authorization": f"Bearer {token}"})
        received_s = self._time.raw_s()
        date_s = delivery.date_s(reply.date) if delivery.is_ours(reply) else None
        if date_s is not None and self._time.learn(sent_s, received_s, date_s):
            log.warning("clock: stamps are corrected by %d ms now", self._time.correction_ms)
            self._tokens.forget()
            self._spool.remember(**self._time.state())
            self._failures = 0
        return reply

    # ---- what the answer means

    def _act(self, verdict: Verdict, batch: Stored) -> float:
        """Seconds to pause before the next request."""
        match verdict:
            case Delivered():
                self._spool.delivered(batch)
                self._blamed.pop(batch.id, None)
                return self._well()
            case Refused(reason):
                self._spool.refused(batch, reason)
                return self._well()
            case Renumber(reason):
                if not self._spool.renumber(batch, reason):
                    return self._hold(batch.id, "its number is taken, and the disk takes no other now")
                self._tokens.rename_run()
                return self._well()
            case NeedLayouts(digests):
                return self._upload(digests, batch)
            case Hold(reason):
                return self._hold(batch.id, reason)
            case Unaccepted(reason):
                return self._unaccepted(reason)
            case Later():
                return self._later(verdict)

    def _well(self) -> float:
        if self._said[0]:
            log.info("delivering again")
        self._failures, self._asked_layouts_for, self._said = 0, 0, ("", 0.0)
        self._passed_over.clear()
        self.condition = Condition("", self.condition.delivered + 1, self._time.raw_s())
        self._chore(self._request)
        return 0.0

    def _hold(self, key: int, reason: str) -> float:
        """Put a batch aside, and go on with the others."""
        self._held[key] = self._monotonic() + delivery.HOLD_S
        self._say(f"a batch waits: {reason}")
        return 0.0

    def _give_others_a_turn(self, reason: str) -> None:
        """A proxy may stop one batch alone, for its size or its words: the rest must not wait behind it."""
        if self._failures == 0:
            if len(self._blamed) >= delivery.MOST_BLAMED:
                self._blamed.clear()
            self._blamed[self._in_hand] = self._blamed.get(self._in_hand, 0) + 1
        match delivery.suspicion(self._failures, self._blamed.get(self._in_hand, 0)):
            case Suspicion.BATCH:
                self._hold(self._in_hand, f"others are taken: {reason}")
            case Suspicion.PERHAPS_BATCH:
                self._passed_over.add(self._in_hand)
            case Suspicion.NONE:
                pass

    def _later(self, verdict: Later) -> float:
        self._say(verdict.reason)
        self._give_others_a_turn(verdict.reason)
        if verdict.busy:
            self._order = delivery.slower(self._order)
        pause = delivery.backoff_s(self._failures, self._longest_backoff_s, self._chance)
        self._failures += 1
        if verdict.wait_s is not None:
            pause = max(pause, delivery.asked_pause_s(verdict.wait_s, self._chance))
        return pause

    def _unaccepted(self, reason: str) -> float:
        """The answer's Date may just have taught us the time: then a token signed anew may do."""
        self._say(f"the collector does not accept this host's credential: {reason}")
        self._tokens.forget()
        self._failures += 1
        if self._failures == 1:
            return delivery.backoff_s(1, self._longest_backoff_s, self._chance)
        another = self._tokens.next_key()
        if another and self._failures == 2:  # a collector that was restored knows the former key only
            return delivery.backoff_s(1, self._longest_backoff_s, self._chance)
        return delivery.credential_pause_s(self._failures - 2, self._chance)

    def _upload(self, digests: tuple[bytes, ...], batch: Stored) -> float:
        """Send the layouts that are asked for, then the batch again at once - but only once at once."""
        repeated = self._asked_layouts_for == batch.id
        self._asked_layouts_for = batch.id
        for digest in digests:
            body = self._spool.layout(digest)
            if body is None:
                self._held[batch.id] = self._monotonic() + delivery.HOLD_S
                self._say("a batch needs a layout that was lost with a damaged spool")
                return 0.0
            match self._put_layout(digest, body):
                case None:
                    continue
                case Narrow(over, reason) if self._spool.narrow(batch, digest, over, reason):
                    self._say(reason)
                    return 0.0
                case Later() as fault:
                    return self._later(fault)
                case Narrow(_, reason) | Hold(reason):
                    return self._hold(batch.id, reason)
        return (
            self._later(Later("the collector asks again for layouts that it was sent")) if repeated else 0.0
        )

    def _put_layout(self, digest: bytes, body: bytes) -> Later | Hold | Narrow | None:
        path = f"/v1/layouts/{digest.hex()}"
        try:
            reply = self._request("PUT", path, body, {"Content-Type": "application/vnd.msgpack"})
        except Unreachable as fault:
            return Later(str(fault))
        return delivery.judge_layout(reply, self._time.stamp_ms() / 1000)

    def _say(self, trouble: str) -> None:
        """Log a trouble when it is new, and now and then while it lasts."""
        self.condition = self.condition._replace(trouble=trouble)
        now = self._monotonic()
        if trouble != self._said[0] or now - self._said[1] >= _SAY_AGAIN_S:
            log.warning("not delivered: %s", trouble)
            self._said = (trouble, now)
