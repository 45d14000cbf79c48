"""A host whose frames arrive through two collectors at once, and overtake one another.

One trial: a breach at t and a healthy reading at t + 1 s leave at the same moment by different doors; when
both are stored, a breach at t + 2 s follows. Whatever the order of arrival, the condition never held for a
second without a healthy reading between, so nothing may ever fire for this host - unless one door's
evaluation overwrote the other's.
"""

from __future__ import annotations

import secrets
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from agent.identity import load_identity, load_key
from agent.token import TokenMaker
from tests.kill.host import layout_of
from wire import batch as wire_batch
from wire import layout as wire_layout
from wire.batch import Frame, FrameBatch
from wire.clock import utcnow

SPACING_MS = 8_000
"""Between two trials, in sample time: longer than three intervals, so that a trial starts from nothing."""
PAST_MS = 3_400_000
"""How far back the first trial lies: sample time may pass faster than time, but not into the future."""


class Racer:
    """Plays the host; ``race`` is one trial."""

    def __init__(self, state: Path, doors: tuple[str, str]) -> None:
        identity = load_identity(state)
        self._agent = identity.agent_id
        self._tokens = TokenMaker(load_key(state), self._agent)
        self._doors = [httpx.Client(base_url=door, timeout=3, trust_env=False) for door in doors]
        self._threads = ThreadPoolExecutor(2)
        self._layout = wire_layout.encode(layout_of(1.0, 1))
        self._digest = wire_layout.digest(self._layout)
        self._epoch = secrets.randbits(62)
        self._seq = 0
        self._time_ms = round(utcnow().timestamp() * 1000) - PAST_MS
        self.races = 0

    def race(self) -> None:
        """One trial; given up quietly when a door is closed (it is being killed)."""
        self._time_ms += SPACING_MS
        if self._time_ms > utcnow().timestamp() * 1000 - SPACING_MS:
            return
        both = [
            self._threads.submit(self._send, door, self._time_ms + after, value)
            for door, after, value in ((0, 0, 1.0), (1, 1000, 0.0))
        ]
        stored = [sent.result() for sent in both]
        if not all(stored):
            return
        if self._send(0, self._time_ms + 2000, 1.0):
            self._send(1, self._time_ms + 3000, 0.0)
            self.races += 1

    def close(self) -> None:
        """Give connections and threads back."""
        self._threads.shutdown()
        for door in self._doors:
            door.close()

    def _send(self, door: int, time_ms: int, value: float) -> bool:
        """Whether the collector behind the door stored one frame."""
        self._seq += 1
        frame = Frame(self._digest, time_ms, [value, 0.0])
        batch = FrameBatch(wire_batch.VERSION, "frames", self._agent, self._epoch, self._seq, [frame])
        body = wire_batch.encode(batch)
        try:
            answer = self._post(door, body)
            if answer.status_code == 409:
                self._doors[door].put(
                    f"/v1/layouts/{self._digest.hex()}", content=self._layout, headers=self._headers()
                )
                answer = self._post(door, body)
        except httpx.TransportError:
            return False
        return answer.status_code == 200 and answer.json()["outcome"] == "stored"

    def _post(self, door: int, body: bytes) -> httpx.Response:
        return self._doors[door].post("/v1/batches", content=body, headers=self._headers())

    def _headers(self) -> dict[str, str]:
        now = utcnow().timestamp()
        return {"Authorization": f"Bearer {self._tokens.token(now)}", "UCX-Sent-At": str(round(now * 1000))}
