"""Questions that come one by one, asked together.

After a restart every agent comes within seconds, and each needs a row or two of the database before its batch
can be taken. Asked one at a time, two thousand agents wait for two thousand answers over a few connections,
and some of them for too long. So a question waits until the one under way is answered; then all go as one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MOST = 1_000
"""Questions that are asked at once."""


class Together(Generic[K, V]):
    """``await together.ask(key)``: what ``load(keys)`` says of the key, or None."""

    def __init__(self, load: Callable[[list[K]], Awaitable[Mapping[K, V]]]) -> None:
        self._load = load
        self._waiting: dict[K, list[asyncio.Future[V | None]]] = {}
        self._asking: asyncio.Task[None] | None = None

    async def ask(self, key: K) -> V | None:
        """The answer of a question that begins after this call. Raises what ``load`` raises."""
        answer: asyncio.Future[V | None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, []).append(answer)
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        return await answer

    async def _ask(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[:MOST]
                asked = {key: self._waiting.pop(key) for key in keys}
                await self._answer(asked)
        finally:
            self._asking = None

    async def _answer(self, asked: Mapping[K, list[asyncio.Future[V | None]]]) -> None:
        try:
            found = await self._load(list(asked))
        except BaseException as fault:  # whoever waits is told, a cancelled task's included
            for answer in (answer for answers in asked.values() for answer in answers if not answer.done()):
                answer.set_exception(fault if isinstance(fault, Exception) else asyncio.CancelledError())
            if not isinstance(fault, Exception):
                raise
            return
        for key, answers in asked.items():
            for answer in answers:
                if not answer.done():
                    answer.set_result(found.get(key))
