"""A phone company, our callback routes and a pager in one event loop, for tests that kill or count.

HTTP runs through ASGI instead of sockets; a request that was sent goes on when its sender is killed, as
over a real network.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec

from oncall.calls import Calls
from oncall.messenger import Messenger
from oncall.pager import Pager
from oncall.settings import Settings, VoiceProvider
from oncall.simulator.call import Account, Pace
from oncall.simulator.exchange import Exchange
from oncall.simulator.journal import Journal
from oncall.simulator.script import Behaviour, Change, Phone, Script
from oncall.simulator.web import application
from oncall.targets import OrderedList, Targets
from storage.pool import Pool
from tests.oncall.world import web
from wire.clock import Clock, utcnow

SID, TOKEN, OWN = "AC" + "0" * 31 + "2", "lab-token", "+15005550006"


class OnTheWire(httpx.AsyncBaseTransport):
    """Hands requests to ASGI applications by host; a sender's death does not recall them."""

    def __init__(self, apps: dict[str, Any]) -> None:
        self.apps = apps
        self._sent: set[asyncio.Task[httpx.Response]] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        transport = httpx.ASGITransport(app=self.apps[request.url.host])
        task = asyncio.create_task(self._timed(transport, request))
        self._sent.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def _timed(self, transport: httpx.ASGITransport, request: httpx.Request) -> httpx.Response:
        limit = request.extensions["timeout"]["read"]
        sent = asyncio.create_task(transport.handle_async_request(request))
        done, _ = await asyncio.wait({sent}, timeout=limit)
        if not done:
            self._sent.add(sent)
            raise httpx.ReadTimeout("no answer", request=request)
        return sent.result()

    def _done(self, task: asyncio.Task[httpx.Response]) -> None:
        self._sent.discard(task)
        if not task.cancelled():
            task.exception()  # its sender may be dead: nobody else looks at it

    async def aclose(self) -> None:
        # Let our own routes finish their transactions; answers that never come are cut.
        if self._sent:
            await asyncio.wait(self._sent, timeout=0.5)
        for task in self._sent:
            task.cancel()
        await asyncio.gather(*self._sent, return_exceptions=True)


class Lab:
    """Everything, with what really happened."""

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        exchange: Exchange,
        http: httpx.AsyncClient,
        apps: dict[str, Any],
        clock: Clock = utcnow,
    ) -> None:
        self.apps = apps
        self.clock = clock
        self.pool = pool
        self.settings = settings
        self.exchange = exchange
        self.http = http
        self.targets: Targets | None = None

    def pager(self, pool: Pool | None = None) -> Pager:
        """One more pager on the same database and company."""
        calls = Calls(self.settings, self.http)
        messenger = Messenger(self.settings, self.http)
        targets = self.targets or OrderedList(self.settings)
        return Pager(pool or self.pool, self.settings, self.clock, calls, messenger, targets)

    def script(self, **change: Any) -> None:
        """As ``POST /script``."""
        self.exchange.script.change(msgspec.convert(change, Change))

    async def look_until(self, question: str, pagers: int = 1, timeout_s: float = 20.0) -> None:
        """Run pagers until the SQL question answers true."""
        workers = [self.pager() for _ in range(pagers)]
        async with asyncio.timeout(timeout_s):
            while not await self.value(question):
                busy = [await pager.look() for pager in workers]
                await asyncio.sleep(0 if any(busy) else 0.01)

    async def value(self, sql: str) -> Any:
        """The first value of the first row."""
        async with self.pool.connection() as conn:
            row = await (await conn.execute(sql.encode())).fetchone()
        return row[0] if row else None

    async def strangers(self) -> list[str]:
        """Instructions' addresses of calls that were placed and belong to no page."""
        known = str(await self.value("SELECT string_agg(page_id::text, ' ') FROM page"))
        urls = [call.order.url for call in self.exchange.calls.values()]
        return [url for url in urls if url.split("/")[-2] not in known]

    def called(self) -> list[str]:
        """Numbers of all calls that were really placed by us, in order."""
        return [call.order.to for call in self.exchange.calls.values() if not call.inbound]


@asynccontextmanager
async def lab(
    pool: Pool,
    *,
    providers: int = 1,
    journal: Path | None = None,
    clock: Clock = utcnow,
    pace: Pace = Pace(0.02, 0.001),  # noqa: B008 - frozen
    **changes: Any,
) -> AsyncIterator[Lab]:
    """A lab with short pauses. Further providers are the same company under other names."""
    apps: dict[str, Any] = {}
    wire = OnTheWire(apps)
    values: dict[str, Any] = {
        "public_url": "http://ours",
        "providers": tuple(
            VoiceProvider(f"p{i}", "http://company", SID, TOKEN, OWN) for i in range(1, providers + 1)
        ),
        "ring_s": 5,
        "again_after_s": 0.01,
        "loop_pause_s": 0.05,
        "nobody_pause_s": 0.05,
        "failed_pause_s": 0.01,
        "ring_grace_s": 0.5,
        "never_rang_s": 0.5,
        "voicemail_grace_s": 0.05,
        "provider_timeout_s": 0.3,
        "line_gap_s": 0.01,
        "bundle_wait_s": 0.05,
        "lease_s": 2.0,
        "poll_s": 0.01,
    }
    settings = Settings(**values | changes)
    quiet = Script(Phone("", "", Behaviour.MANUAL))
    account = Account(SID, TOKEN, frozenset({OWN}))
    log = Journal(journal, utcnow)
    async with httpx.AsyncClient(transport=wire) as http:
        exchange = Exchange(account, quiet, http, log, clock, lambda line: None, pace)
        exchange.sms_url = "http://ours/v1/oncall/sms/inbound?via=p1"
        apps["company"], apps["ours"] = application(exchange, log), web(pool, settings, clock=clock)
        try:
            yield Lab(pool, settings, exchange, http, apps, clock)
        finally:
            await exchange.close()
            log.close()


class Killed(BaseException):
    """Not an Exception: nothing may catch it, as nothing catches SIGKILL."""


class DiesAt:
    """Awaits a coroutine and kills it at its n-th suspension; ``steps`` counts them.

    What is thrown into it (a time-out, a cancelled wait) is thrown into the coroutine, as if awaited."""

    def __init__(self, work: Coroutine[Any, Any, Any], at: int) -> None:
        self._work = work
        self._at = at
        self.steps = 0

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            waiting = self._work.send(None)
            while True:
                self.steps += 1
                if self.steps == self._at:
                    waiting = self._work.throw(Killed())
                    continue
                try:
                    yield waiting
                except BaseException as thrown:
                    waiting = self._work.throw(thrown)
                else:
                    waiting = self._work.send(None)
        except StopIteration as end:
            return end.value
