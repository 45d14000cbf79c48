"""One process: the HTTP server, the ingest commit and the workers, started in order and stopped in order.

    start   database (our own, if none is named) -> migrations -> partitions, rules -> workers -> listen
    stop    no new requests -> those in flight answered -> commits drained, workers ended -> pools -> database

SIGTERM and SIGINT stop; a second one does not hurry: what was promised is finished first, within
``stop_within_s``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import FrameType
from typing import Any

import psycopg
import uvicorn
from prometheus_client import CollectorRegistry

from alerting import shipped
from alerting.evaluate import load_evaluator
from collector import upkeep
from collector.census import Limits
from collector.commit import IngestCommit
from collector.directory import Directory
from collector.group import Committer
from collector.layouts import LayoutStore
from collector.meters import Meters
from collector.route import IngestApp
from collector.settings import CollectorSettings
from storage.embedded import EmbeddedServer
from storage.migrate import migrate
from storage.pool import Pool, open_pool
from storage.replica import ReadPool
from ucx_proactive import health, logs, web
from ucx_proactive.database import leave_note, own_server
from ucx_proactive.problems import rendered
from ucx_proactive.rooms import routers, workers
from ucx_proactive.settings import Rooms, Settings
from ucx_proactive.supervise import Supervisor
from wire.clock import Clock, utcnow

log = logging.getLogger(__name__)

WATCH_DATABASE_S = 1.0
DATABASE_WITHIN_S = 60.0
"""How long a start waits for a database that is starting up itself, or is not reachable yet."""
KEEP_ALIVE_S = 120
"""Longer than an agent keeps an idle connection (90 s): never closed under its request."""


class DatabaseMoved(Exception):
    """Our own database came back at another address: this process must be started again."""


def serve(settings: Settings, rooms: Rooms) -> None:
    """Run until told to stop. Raises EmbeddedError, MigrationError or psycopg.Error when it cannot start."""
    logs.set_up(settings.log_level)
    signal.signal(signal.SIGTERM, _end_at_once)  # until the loop takes over: nothing is promised yet
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        wait_for_database(url, DATABASE_WITHIN_S)
        _run(settings, rooms, url, None)
        return
    with own_server(settings.data_dir, log.info) as server:
        _run(settings, rooms, server.url, server)


def wait_for_database(url: str, within_s: float, pause_s: float = 0.5) -> None:
    """Return when it takes connections. Raises psycopg.OperationalError when it never did, or refuses us."""
    until = time.monotonic() + within_s
    told = ""
    while True:
        try:
            psycopg.connect(url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if not _may_come(error) or time.monotonic() > until:
                raise
            reason = str(error).strip().splitlines()[0]  # what follows is libpq's question whether it runs
            if reason != told:
                log.warning("waiting up to %.0f s for the database: %s", within_s, reason)
            told = reason
            time.sleep(pause_s)
        else:
            return


def _may_come(error: psycopg.OperationalError) -> bool:
    """Whether waiting can help: nobody listens yet, or PostgreSQL starts up, shuts down or is full.

    A refusal before the session begins reaches us as text alone, without its code."""
    text = str(error)
    return not any(refusal in text for refusal in _REFUSALS)


_REFUSALS = ("authentication failed", "does not exist", "no pg_hba.conf entry", "no password supplied")


def _end_at_once(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _run(settings: Settings, rooms: Rooms, url: str, server: EmbeddedServer | None) -> None:
    migrate(url, progress=log.info)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(run(settings, rooms, url, server))


def _loop_factory() -> Any:
    """uvloop where it exists: about a third more batches per CPU second."""
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def run(settings: Settings, rooms: Rooms, url: str, server: EmbeddedServer | None) -> None:
    """The process's life between its database's start and stop."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _told_to_stop, stop)
    async with contextlib.AsyncExitStack() as stack:
        ingest_pool = await _pool(stack, url, rooms.collector.committers + 4)
        work_pool = await _pool(stack, url, settings.database_connections)
        reads = await _reads(stack, settings, work_pool)
        process = Process(settings, rooms, ingest_pool, work_pool, utcnow, reads)
        if server is not None:
            process.supervisor.add("database", lambda halt: _watch_database(server, url, halt, stop))
        await process.prepare()
        _collect_seldom()
        await process.run(stop)


def _collect_seldom() -> None:
    """Look for cycles of garbage seldom: batches make none, and looking cost a fifth of the ingest's CPU.

    What is there already is never looked at again; all else still is, after more new objects."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


async def _reads(stack: contextlib.AsyncExitStack, settings: Settings, primary: Pool) -> ReadPool:
    if settings.read_database_url is None:
        return ReadPool(primary)
    replica = await _pool(stack, settings.read_database_url.get_secret_value(), settings.database_connections)
    return ReadPool(primary, replica, timedelta(seconds=settings.read_lag_s))


async def _pool(stack: contextlib.AsyncExitStack, url: str, size: int) -> Pool:
    pool = await open_pool(url, min_size=2, max_size=size)
    stack.push_async_callback(pool.close)
    return pool


def _told_to_stop(stop: asyncio.Event) -> None:
    log.info("told to stop: finishing what was promised")
    stop.set()


class Process:
    """The parts of one process, put together. Tests build one on a loop of their own."""

    def __init__(
        self,
        settings: Settings,
        rooms: Rooms,
        ingest_pool: Pool,
        work_pool: Pool,
        clock: Clock,
        reads: ReadPool | None = None,
    ) -> None:
        self.settings = settings
        self.supervisor = Supervisor()
        self.registry = CollectorRegistry()
        self.address: tuple[str, int] | None = None
        """Host and port that it listens on, once it does."""
        self._rooms = rooms
        self._clock = clock
        self._pool = ingest_pool
        tuning = rooms.collector
        self.meters = Meters(self.registry)
        self.directory = Directory(ingest_pool, clock, ttl_s=tuning.credential_cache_s)
        ingest = self._ingest(ingest_pool, work_pool) if "ingest" in settings.roles else None
        self._http: Any = "auto" if ingest is None else _doors(ingest, tuning)
        for name, (role, work) in workers(work_pool, rooms, clock).items():
            if role in settings.roles:
                self.supervisor.add(name, work)
        all_routers = [
            health.router(work_pool, self.supervisor, self.registry),
            *routers(work_pool, rooms, clock, self.directory, reads),
        ]
        self.app = web.build(all_routers, ingest, self.directory)

    def _ingest(self, pool: Pool, work_pool: Pool) -> IngestApp:
        tuning = self._rooms.collector
        commit = IngestCommit(pool, tuning, self._clock, self.meters)
        committer = Committer(commit, tuning, self.meters)
        self.supervisor.add("committer", committer.run)
        self.supervisor.add("credentials", self.directory.run)
        # Not on ingest's connections: those carry its limits of time, and upkeep sets limits of its own.
        self.supervisor.add(
            "upkeep", lambda stop: upkeep.run(work_pool, tuning, self._clock, stop, self.meters)
        )
        layouts = LayoutStore(
            pool,
            most_per_tenant=tuning.layouts_per_tenant,
            most_per_host=tuning.layouts_per_host,
            limits=Limits(tuning.series_per_host, tuning.series_per_tenant),
            meters=self.meters,
        )
        return IngestApp(self.directory, layouts, committer, tuning, self._clock, self.meters)

    async def prepare(self) -> None:
        """What must be there before the first request: partitions and rules."""
        await upkeep.prepare(self._pool, self._rooms.collector, self._clock())
        async with self._pool.connection() as conn:
            await shipped.settle(conn)
            await load_evaluator(conn)

    async def run(self, stop: asyncio.Event) -> None:
        """Listen and work until ``stop``; then finish in order."""
        halt = asyncio.Event()  # the workers outlive the front door: requests in flight wait for commits
        workers = asyncio.create_task(self.supervisor.run(halt))
        try:
            await self._listen(stop)
        finally:
            halt.set()
            await workers
        log.info("stopped")

    async def _listen(self, stop: asyncio.Event) -> None:
        config = uvicorn.Config(
            self.app,
            host=self.settings.host,
            port=self.settings.port,
            http=self._http,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=self.settings.stop_within_s,
        )
        door = open_door(self.settings.host, self.settings.port)
        front = _Front(config, lambda: self._announce(door.getsockname()[:2]))
        stopping = asyncio.create_task(_stop_front(front, stop))
        try:
            await front.serve(sockets=[door])
        finally:
            stopping.cancel()

    def _announce(self, address: tuple[str, int]) -> None:
        self.address = address
        log.info("listening on http://%s:%d", *address)


def _doors(ingest: IngestApp, tuning: CollectorSettings) -> Any:
    """The short way in for batches, where its parser exists."""
    if sys.platform == "win32":
        return "auto"
    from collector.door import doors

    return doors(ingest, rendered, tuning.request_deadline_s)


def open_door(host: str, port: int) -> socket.socket:
    """A listening socket. Raises OSError.

    Its protocol is named, because asyncio switches Nagle's algorithm off only for sockets that say TCP: else
    every answer waits 40 ms for an acknowledgement that the client delays."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    door = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if sys.platform != "win32":  # there it would let a second process take the port over
            door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        door.bind((host, port))
    except OSError as error:
        door.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from None
    return door


class _Front(uvicorn.Server):
    """uvicorn without its signal handling: it would raise the signal again before our own end is done."""

    def __init__(self, config: uvicorn.Config, on_start: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _stop_front(front: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    front.should_exit = True


async def _watch_database(server: EmbeddedServer, url: str, halt: asyncio.Event, stop: asyncio.Event) -> None:
    """Start our own PostgreSQL again when it has died. Meanwhile requests get 503: agents keep their data."""
    while not halt.is_set():
        if not server.running:
            log.error("our own PostgreSQL is not running any more: starting it again")
            if await asyncio.to_thread(server.start) != url:
                stop.set()
                raise DatabaseMoved("the database came back at another address; start this process again")
            leave_note(server.data_dir, url)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(halt.wait(), WATCH_DATABASE_S)
