"""The sweep: what happens when nothing happens. Silence, event alerts that are over, hosts out of service.

Rules on the states of other rules' alerts are judged here too, since no host's frame can decide them alone.
It takes the same lock as the ingest commit (``lock_hosts``), so the two can never decide about one host at
the same time; each piece of work is its own short transaction, and any number of sweeps may run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
import psycopg
from psycopg import AsyncConnection

from alerting import (
    ahead,
    compound_sweep,
    frontdoor,
    metrics,
    mutes,
    outlook,
    retention,
    shadow,
    silence_sweep,
)
from alerting.alertmanager import push
from alerting.evaluator import Evaluator
from alerting.forecast import Foresight
from alerting.inputs import HostKey, HostScope, to_ms
from alerting.judge import look
from alerting.replay import replay
from alerting.rulebook import current_evaluator
from alerting.settings import Settings
from alerting.state import AheadKey
from alerting.store import lock_hosts, read_memory, retire_host, save_outcomes
from storage.pool import Pool
from storage.sql import Queries
from wire.clock import Clock

Q = Queries.load("alerting")
Connection = AsyncConnection[tuple[Any, ...]]
log = logging.getLogger(__name__)

BATCH = 200
"""Hosts read at a time because of a due time."""
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
"""Before anything was due."""


async def run(pool: Pool, settings: Settings, clock: Clock, stop: asyncio.Event) -> None:
    """Sweep until ``stop``. A job that fails is logged and tried again at the next sweep."""
    sweep = Sweep(pool, settings, clock)
    while not stop.is_set():
        await sweep.once()
        try:
            await asyncio.wait_for(stop.wait(), settings.sweep_interval_s)
        except TimeoutError:
            continue


class Sweep:
    """The sweep's jobs; holds the rules between sweeps, nothing else."""

    def __init__(self, pool: Pool, settings: Settings, clock: Clock) -> None:
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._evaluator: Evaluator | None = None
        self._opened: datetime | None = None
        """Since when our front door is proven open, as of this sweep; None: it is not."""

    async def once(self) -> None:
        """One sweep. Never raises: each job stands alone."""
        for job in (
            *(self.silence, self.due, self.compound, self.mutes, self.pushed),
            *(self.shadow, self.retired, self.forget),
        ):
            await self._guarded(job)

    async def _guarded(self, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except Exception:
            metrics.SWEEP_FAILURES.labels(job.__name__).inc()
            log.exception("sweep: %s failed; it is tried again at the next sweep", job.__name__)

    async def _rules(self, conn: Connection) -> Evaluator:
        self._evaluator = await current_evaluator(conn, self._evaluator)
        return self._evaluator

    async def silence(self) -> None:
        """Hosts and deployments from which nothing came."""
        now, self._opened = self._clock(), None
        self._opened = opened = await frontdoor.open_since(self._pool, self._settings, now)
        if opened is None:
            metrics.DOOR_CLOSED.inc()
            log.warning("sweep: our front door is not proven open; silence is not judged")
            return
        async with self._pool.connection() as conn:
            evaluator = await self._rules(conn)
        await silence_sweep.sweep(self._pool, self._settings, evaluator, opened, now)

    async def due(self) -> None:
        """Event alerts that are over by the passing of time, forecasts, and gaps that have closed."""
        now = self._clock()
        async with self._pool.connection() as conn:
            evaluator = await self._rules(conn)
        seen: set[HostKey] = set()
        position: dict[str, Any] = {"due": LONG_AGO, "tenant": 0, "host": 0}
        while rows := await self._due_hosts(now, position):
            keys = {HostKey(*row[:2]) for row in rows} - seen
            seen |= keys
            for key in sorted(keys):
                with metrics.apart("due", f"host {key.host_id}"):
                    await self._look_at(evaluator, key, now)
            # From here on, also when all of them failed: they stay due, and others wait behind them.
            position = dict(zip(("tenant", "host", "due"), rows[-1], strict=True))

    async def _look_at(self, evaluator: Evaluator, key: HostKey, now: datetime) -> None:
        async with self._pool.connection() as conn:
            answers = await self._foresee(conn, evaluator, key, now)
        async with self._pool.connection() as conn, conn.transaction():
            await self._look(conn, evaluator, key, answers, now)

    async def _due_hosts(self, now: datetime, position: dict[str, Any]) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as conn:
            given = position | {"now": now, "limit": BATCH}
            return await (await conn.execute(Q.due_hosts, given)).fetchall()

    async def _foresee(
        self, conn: Connection, evaluator: Evaluator, key: HostKey, now: datetime
    ) -> dict[AheadKey, Foresight]:
        """Forecasts that are due, from the past, without the host's lock: ingest goes on meanwhile."""
        blob = await (await conn.execute(Q.state_of_host, key._asdict())).fetchone()
        row = await (await conn.execute(Q.scope_of_host, key._asdict())).fetchone()
        if blob is None or row is None:
            return {}
        try:
            return await outlook.foreseen(conn, evaluator, HostScope(*row), read_memory(blob[0]), now)
        except psycopg.Error:
            log.exception("the past of host %d cannot be read; it is looked ahead for later", key.host_id)
            return {}

    async def _look(
        self,
        conn: Connection,
        evaluator: Evaluator,
        key: HostKey,
        answers: dict[AheadKey, Foresight],
        now: datetime,
    ) -> None:
        state = (await lock_hosts(conn, [key], now))[key]
        row = await (await conn.execute(Q.scope_of_host, key._asdict())).fetchone()
        if row is not None and state.pack_version <= evaluator.version:
            scope = HostScope(*row)
            memory = ahead.answered(state.memory, answers, to_ms(now))
            state = msgspec.structs.replace(state, memory=memory)
            looked = look(evaluator, scope, state, now)
            again = await replay(conn, evaluator, scope, looked.state, now)
            await save_outcomes(conn, [looked, again], now)

    async def compound(self) -> None:
        """Rules on the states of other rules' alerts."""
        async with self._pool.connection() as conn:
            evaluator = await self._rules(conn)
        await compound_sweep.sweep(self._pool, evaluator, self._opened, self._clock())

    async def mutes(self) -> None:
        """Silences and maintenance windows that began or ended."""
        await mutes.turn(self._pool, self._clock())

    async def pushed(self) -> None:
        """Alerts that others push and did not push again."""
        await push.sweep(self._pool, self._settings, self._clock())

    async def shadow(self) -> None:
        """The pack on trial."""
        await shadow.sweep(self._pool, self._clock(), self._opened)

    async def retired(self) -> None:
        """Hosts out of service: their open alerts end as stale."""
        async with self._pool.connection() as conn:
            rows = await (await conn.execute(Q.retired_hosts)).fetchall()
        for row in rows:
            with metrics.apart("retired", f"host {row[1]}"):
                async with self._pool.connection() as conn, conn.transaction():
                    await retire_host(conn, HostKey(*row), self._clock())

    async def forget(self) -> None:
        """Alerts that were only ever pending, and what ended or was told long ago."""
        await retention.forget(self._pool, self._settings, self._clock())
