"""A host that reaches another collector with every request, and keeps its own books.

It sends one batch at a time, in order, the same bytes again until a receipt covers them: so what the rules
must conclude is exactly known, whatever happens between. Its sample time passes faster than time, a second a
frame, and begins days ago. Every few batches it changes its layout for one that never was before.
"""

from __future__ import annotations

import contextlib
import random
import secrets
import threading
import time
from pathlib import Path

import httpx
import msgspec

from agent.identity import load_identity, load_key
from agent.token import TokenMaker
from tests.kill.host import METRIC
from wire import batch as wire_batch
from wire import layout as wire_layout
from wire.batch import Frame, FrameBatch
from wire.clock import utcnow
from wire.layout import Layout, Series
from wire.receipt import Outcome, Receipt, covers

INSTANCES = 4
FRAMES = 3
"""Per batch."""
BATCHES_PER_LAYOUT = 5
PAST_MS = 3 * 86_400_000
VALUES = (0.0, 0.0, 0.0, 0.45, 0.7, 1.0, 1.0, None)
HELD = (1, 2, 4, 7)
"""So many frames an instance keeps its value."""
PAUSE_S = 0.05
AGAIN_S = 0.1


class Acknowledged(msgspec.Struct, frozen=True):
    """A frame that a receipt vouches for."""

    time_ms: int
    layout: bytes
    """Digest."""
    values: tuple[float | None, ...]


class Nomad:
    """Plays one host until ``rest``; ``acknowledged`` and ``layouts`` are its books."""

    def __init__(self, state: Path, door: str, seed: int) -> None:
        identity = load_identity(state)
        self.name = identity.host
        self.acknowledged: list[Acknowledged] = []
        self.layouts: dict[bytes, Layout] = {}
        self.faults: list[str] = []
        self.tries = 0
        """Requests with a batch; more than batches, because it sends again."""
        self._agent = identity.agent_id
        self._tokens = TokenMaker(load_key(state), self._agent)
        self._client = httpx.Client(base_url=door, timeout=10, trust_env=False)
        self._chance = random.Random(seed)
        self._epoch = secrets.randbits(62)
        self._seq = 0
        self._time_ms = round(utcnow().timestamp() * 1000) // 1000 * 1000 - PAST_MS
        self._held: list[tuple[float | None, int]] = [(0.0, 0)] * INSTANCES
        self._resting = threading.Event()
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def rest(self) -> None:
        """No new batches; the one under way is still to be delivered."""
        self._resting.set()

    def rested(self, timeout_s: float) -> bool:
        """Whether the last batch has its receipt."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def close(self) -> None:
        """Give up what is under way."""
        self._given_up.set()
        self._resting.set()
        self._thread.join(15)
        self._client.close()

    def _run(self) -> None:
        layout = b""
        while not self._resting.is_set():
            if self._seq % BATCHES_PER_LAYOUT == 0:
                layout = self._new_layout()
            self._seq += 1
            frames = [self._frame(layout) for _ in range(FRAMES)]
            batch = FrameBatch(wire_batch.VERSION, "frames", self._agent, self._epoch, self._seq, frames)
            body = wire_batch.encode(batch)
            if not self._until_delivered(body):
                return
            self.acknowledged += [Acknowledged(f.time_ms, f.layout, tuple(f.values)) for f in frames]
            self._resting.wait(PAUSE_S)

    def _new_layout(self) -> bytes:
        names = [*(f"i{number}" for number in range(INSTANCES)), f"passing-{self._epoch}-{self._seq}"]
        layout = Layout(wire_layout.VERSION, 1.0, tuple(Series(METRIC, {"instance": name}) for name in names))
        digest = wire_layout.digest(wire_layout.encode(layout))
        self.layouts[digest] = layout
        return digest

    def _frame(self, layout: bytes) -> Frame:
        self._time_ms += 1000
        return Frame(layout, self._time_ms, [*(self._value(number) for number in range(INSTANCES)), 0.0])

    def _value(self, number: int) -> float | None:
        value, left = self._held[number]
        if not left:
            value, left = self._chance.choice(VALUES), self._chance.choice(HELD)
        self._held[number] = (value, left - 1)
        return value

    def _until_delivered(self, body: bytes) -> bool:
        while not self._given_up.is_set():
            with contextlib.suppress(httpx.TransportError):  # no answer is no receipt
                if self._deliver(body):
                    return True
            time.sleep(AGAIN_S)
        return False

    def _deliver(self, body: bytes) -> bool:
        """One try; whether a receipt covers the batch now."""
        self.tries += 1
        answer = self._client.post("/v1/batches", content=body, headers=self._headers())
        if answer.status_code == 409:
            for digest in answer.json()["layouts"]:
                content = wire_layout.encode(self.layouts[bytes.fromhex(digest)])
                self._client.put(f"/v1/layouts/{digest}", content=content, headers=self._headers())
            return False
        if answer.status_code != 200:
            if answer.status_code not in (429, 502, 503):
                self.faults.append(f"{self.name}: {answer.status_code} {answer.text[:200]}")
            return False
        return self._is_covered(msgspec.json.decode(answer.content, type=Receipt), body)

    def _is_covered(self, receipt: Receipt, body: bytes) -> bool:
        digest = wire_batch.digest(body)
        if not covers(receipt, agent=self._agent, epoch=self._epoch, seq=self._seq, digest=digest):
            self.faults.append(f"{self.name}: a receipt for something else: {receipt}")
            return False
        if receipt.outcome is not Outcome.STORED:
            self.faults.append(f"{self.name}: batch {self._seq} was {receipt.outcome}: {receipt.reason}")
        return True

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens.token(utcnow().timestamp())}"}
