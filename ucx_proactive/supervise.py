"""Workers that must not die: each is started again when it ends, after a growing pause, and loudly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

log = logging.getLogger(__name__)

Work = Callable[[asyncio.Event], Awaitable[None]]
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
HEALTHY_AFTER_S = 60.0
"""A worker that ran this long has recovered: its next pause is the first one again."""


@dataclass
class WorkerState:
    """How one worker is doing."""

    running: bool = False
    restarts: int = 0
    last_error: str = ""


class Supervisor:
    """Keeps named workers running until it is told to stop."""

    def __init__(self) -> None:
        self._work: dict[str, Work] = {}
        self.states: dict[str, WorkerState] = {}

    def add(self, name: str, work: Work) -> None:
        """Register a worker; ``work(stop)`` returns soon after ``stop`` is set."""
        self._work[name] = work
        self.states[name] = WorkerState()

    async def run(self, stop: asyncio.Event) -> None:
        """Run all workers until ``stop`` is set and each has ended by itself."""
        async with asyncio.TaskGroup() as group:
            for name, work in self._work.items():
                group.create_task(self._keep(name, work, stop))

    async def _keep(self, name: str, work: Work, stop: asyncio.Event) -> None:
        state = self.states[name]
        pause = FIRST_PAUSE_S
        while not stop.is_set():
            started = time.monotonic()
            state.running = True
            try:
                await work(stop)
                fault: Exception | None = None
            except Exception as error:  # whatever ended it, it is started again
                fault = error
            finally:
                state.running = False
            if stop.is_set():
                return
            pause = FIRST_PAUSE_S if time.monotonic() - started > HEALTHY_AFTER_S else pause
            state.restarts += 1
            state.last_error = repr(fault) if fault else "ended without being asked to"
            log.error("worker %s: %s; again in %.1f s", name, state.last_error, pause, exc_info=fault)
            await _sleep(stop, pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
