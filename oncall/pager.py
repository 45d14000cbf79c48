"""The pager: rings until a person answers.

One look = claim a due paging (lease in database time, fence + 1, committed), decide (``paging.decide``,
pure), make at most one provider request outside any transaction, record, give the claim back with the
next look.

Killed at any line, nothing is lost:

    before the page row is committed    nothing was asked; the lease runs out, the same move again
    between the row and the answer      the page stands ``claimed``: the next look asks the provider's list,
                                        and in doubt rings again
    after the answer, before the record the callbacks carry our page's id and complete the row; or as above
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from uuid import uuid4

import httpx
import msgspec

from oncall import alarm, metrics, requests, store, switch
from oncall.calls import Calls
from oncall.errors import ProviderError
from oncall.line import Hold, Pass, Ring, Verdict, may_ring
from oncall.messenger import PROVIDERS, Messenger
from oncall.page import News, Page, State, from_status
from oncall.paging import Advance, Ask, End, Lines, Move, Paging, Place, Resolve, Wait, decide
from oncall.settings import Settings, check
from oncall.sql import Q
from oncall.store import Claim
from oncall.synthetic import Invented
from oncall.targets import Conn, Ladder, Targets
from storage.pool import Pool
from ticketing import published
from wire.clock import Clock

log = logging.getLogger(__name__)

Looker = Callable[[], Awaitable[bool]]

_ALARMS = timedelta(minutes=1)
_PUT_BACK = timedelta(seconds=2)
"""A clock that is put back by less changes nothing that matters."""
_DOUBT_PAUSE = timedelta(seconds=2)
"""After a lost answer: time for the call's own callbacks to tell before we ask the list."""


async def run(
    pool: Pool, settings: Settings, clock: Clock, stop: asyncio.Event, targets: Targets | None = None
) -> None:
    """Page until ``stop``. ``targets`` says who is next (default: the rota's policies)."""
    check(settings)
    if not settings.providers:
        log.error("no voice provider is configured: nobody can be rung (setting oncall.providers)")
    async with httpx.AsyncClient() as http, asyncio.TaskGroup() as group:
        pager = Pager(
            pool,
            settings,
            clock,
            Calls(settings, http),
            Messenger(settings, http),
            targets or Invented(Ladder(settings), settings),
        )
        group.create_task(_repeat(pager.sync, settings, stop))
        for _ in range(settings.workers):
            group.create_task(_repeat(pager.look, settings, stop))


class Pager:
    """One process's pager. Any number may run on one database."""

    def __init__(
        self,
        pool: Pool,
        settings: Settings,
        clock: Clock,
        calls: Calls,
        messenger: Messenger,
        targets: Targets,
    ) -> None:
        self._messenger = messenger
        self._pool = pool
        self._settings = settings
        self._clock = clock
        self._calls = calls
        self._targets = targets
        self._alarms_at = clock()
        """When to look next whether an alarm is over."""
        self._complained_at = clock() - _ALARMS
        self._latest = clock()
        """The latest time that our clock has told."""

    async def sync(self) -> bool:
        """Begin a paging for each new page request, end those whose request has ended."""
        now = self._clock()
        await self._watch_clock(now)
        async with self._pool.connection() as conn, conn.transaction():
            if not self._settings.enabled:
                self._complain("paging is switched off by a setting: nobody will be rung", now)
            elif await switch.is_on(conn, now):
                await requests.begin_new(conn, now)
            else:
                self._complain("paging is off (ucx-proactive oncall paging status): nobody will be rung", now)
            await requests.end_finished(conn, now)
            if now >= self._alarms_at:
                self._alarms_at = now + _ALARMS
                await alarm.let_end(conn, now)
        return False

    async def _watch_clock(self, now: datetime) -> None:
        """A clock that was an hour ahead and is put right must not leave a phone silent for an hour."""
        back = self._latest - now
        if back > _PUT_BACK:
            log.warning("our clock was put back by %s: so is what waits for it", back)
            self._alarms_at = now
            async with self._pool.connection() as conn, conn.transaction():
                await store.put_back(conn, back, now)
        self._latest = now if back > _PUT_BACK else max(now, self._latest)

    def _complain(self, text: str, now: datetime) -> None:
        """Loudly, but not at each of the looks: twice a second for a night is a full disk."""
        if now >= self._complained_at + _ALARMS:
            self._complained_at = now
            log.error(text)

    async def look(self) -> bool:
        """One look at the most urgent due paging; False when none is due."""
        if not self._settings.enabled:
            return False
        async with self._pool.connection() as conn, conn.transaction():
            if not await switch.is_on(conn, self._clock()):
                return False
            claim = await store.claim_due(conn, self._settings.lease_s, self._clock())
        if claim is None:
            return False
        try:
            await self._handle(claim)
        except Exception:
            metrics.LOOK_FAILURES.inc()
            log.exception("a look at page request %s failed; it is tried again", claim.paging.page_request_id)
            await self._postpone(claim)
        return True

    async def _postpone(self, claim: Claim) -> None:
        async with self._pool.connection() as conn:
            await conn.execute(Q.postpone, claim.key | {"now": self._clock()})

    async def _handle(self, claim: Claim) -> None:
        if not claim.active:
            await self._hang_up_rest(claim)
            return
        lines: dict[int, Hold | Pass] = {}
        # Each turn settles one person's phone, so this ends.
        while isinstance(move := await self._decide(claim, lines), Place):
            verdict = await self._place(claim, move)
            if verdict is None:
                return
            lines[move.target.person_id] = verdict
        match move:
            case Resolve():
                await self._resolve(claim, move.page)
            case Ask():
                await self._ask(claim, move)
            case Wait():
                await self._wait(claim, move, lines)
            case Advance():
                await self._advance(claim, move)
            case End():
                await self._end(claim, move.reason)

    async def _decide(self, claim: Claim, lines: Lines) -> Move:
        paging, now = claim.paging, self._clock()
        async with self._pool.connection() as conn:
            pages = await store.pages_of(conn, paging.tenant_id, paging.page_request_id)
            step = await self._targets(conn, paging, now)
        return decide(paging, pages, step, self._settings, now, lines)

    async def _place(self, claim: Claim, move: Place) -> Hold | Pass | None:
        """Place the call; a verdict instead when the person's phone may not be rung now."""
        page = _new_page(claim.paging, move, self._clock())
        async with self._pool.connection() as conn, conn.transaction():
            if not await store.may_call(conn, claim, page.created_at):
                return None
            bundle = await self._line(conn, claim, move, page.created_at)
            if not isinstance(bundle, Ring):
                return bundle
            await store.insert_page(conn, page)
            await store.tell(conn, page, page.created_at, "call", _call_text(page, move))
            await self._join(conn, claim, move, page, bundle.bundle)
            briefing = await published.briefing(conn, page.tenant_id, claim.paging.ticket_id)
        if page.transport == "voice" or briefing is None:
            outcome = await self._calls.place(page, move.target.ring_s)
        else:
            outcome = await self._messenger.send(page, briefing, page.created_at)
        if outcome.news:
            await self._record(claim, page, outcome.news)
        else:
            await self._in_question(claim, page, outcome.text)
        return None

    async def _line(self, conn: Conn, claim: Claim, move: Place, now: datetime) -> Verdict:
        if move.target.transport != "voice":
            return Ring(0)
        target, window_s = move.target, self._settings.person_window_s
        line = await store.line_of(conn, claim.paging, target.person_id, target.name, window_s, now)
        if line.spent >= self._settings.calls_per_hour:
            await self._spent(conn, line.spent, now)
        verdict = may_ring(line, self._settings, now)
        # A customer's notice is about one ticket, in the contact's language.
        return Ring(0) if target.language and isinstance(verdict, Ring) else verdict

    async def _spent(self, conn: Conn, calls: int, now: datetime) -> None:
        """Calls are spaced from here on, which a person must know: the auditor rings for it, elsewhere."""
        cap, gap = self._settings.calls_per_hour, self._settings.spend_gap_s
        detail = f"The pager made {calls} calls within an hour, its cap is {cap}: calls are {gap:g} s apart."
        await alarm.sound(conn, "spend_cap", detail, now, urgent=True)

    async def _join(self, conn: Conn, claim: Claim, move: Place, lead: Page, most: int) -> None:
        """Pages for the other tickets that this call reads out."""
        if not most:
            return
        person_id, now = lead.person_id, lead.created_at
        lease_s = self._settings.lease_s
        for other in await store.join_waiting(conn, claim.paging, person_id, most, lease_s, now):
            page = msgspec.structs.replace(_new_page(other, move, now), bundle_id=lead.page_id)
            await store.insert_page(conn, page)
            text = f"read out in one call to {lead.person_name} together with other tickets"
            await store.tell(conn, page, now, "call", text, {"call_of": str(lead.page_id)})

    async def _wait(self, claim: Claim, move: Wait, lines: Lines) -> None:
        if move.peek is not None:
            news = await self._calls.ask(move.peek)
            if news is not None and _is_progress(move.peek, news):
                await self._record(claim, move.peek, news)
                return
        held = next((person for person, line in lines.items() if isinstance(line, Hold)), None)
        now, paging = self._clock(), claim.paging
        since = paging.waiting_since if held is not None and held == paging.waiting_for else None
        async with self._pool.connection() as conn, conn.transaction():
            if not await store.is_mine(conn, claim):
                return
            if held is not None and held != paging.waiting_for:
                await store.tell(conn, paging, now, "wait", move.reason)
            since = (since or now) if held is not None else None
            await store.release(
                conn, claim, move.until, move.reason, now, waiting_for=held, waiting_since=since
            )

    async def _in_question(self, claim: Claim, page: Page, text: str) -> None:
        """The answer was lost: the page stays ``claimed`` and is looked for in a moment."""
        now = self._clock()
        async with self._pool.connection() as conn, conn.transaction():
            await store.tell(conn, page, now, "answer_lost", text)
            await store.release(conn, claim, now + _DOUBT_PAUSE, "the provider's answer was lost", now)

    async def _resolve(self, claim: Claim, page: Page) -> None:
        if page.transport != "voice":
            text = "it is not known whether the message was sent: sent again"
            await self._record(claim, page, News(State.IN_DOUBT, text))
            return
        try:
            calls = await self._calls.find(page)
            problem = "the provider does not list it"
        except ProviderError as error:
            calls, problem = [], f"the provider could not be asked ({error})"
        async with self._pool.connection() as conn:
            refs = await store.unknown_refs(conn, page.provider, [call.sid for call in calls])
        news = None
        if found := next((call for call in calls if call.sid in refs), None):
            metrics.FOUND.labels(page.provider).inc()
            news = from_status(found.status, found.answered_by, found.sid)
        if news is None:
            metrics.DOUBTS.labels(page.provider).inc()
            news = News(State.IN_DOUBT, f"it is not known whether the call was placed: {problem}; rung again")
        await self._record(claim, page, news)

    async def _ask(self, claim: Claim, move: Ask) -> None:
        page = move.page
        news = await self._calls.ask(page)
        if news is None or not _is_progress(page, news):
            # A person on the line is left to listen; a phone that only rings is hung up before
            # the next one rings.
            if page.state is not State.ANSWERED:
                await self._calls.hang_up(page)
            news = News(move.otherwise, f"time is up: {move.reason}")
        await self._record(claim, page, news)

    async def _record(self, claim: Claim, page: Page, news: News) -> None:
        """The news into the page; the next look at once, unless the claim has passed to another pager."""
        now = self._clock()
        async with self._pool.connection() as conn, conn.transaction():
            call = await store.lock_call(conn, page.tenant_id, page.page_id)
            if call:
                await store.apply(conn, call, news, now)
            await store.release(conn, claim, now, "news", now)

    async def _release(self, claim: Claim, until: datetime | None, reason: str) -> None:
        async with self._pool.connection() as conn:
            await store.release(conn, claim, until, reason, self._clock())

    async def _advance(self, claim: Claim, move: Advance) -> None:
        now = self._clock()
        async with self._pool.connection() as conn, conn.transaction():
            if not await store.is_mine(conn, claim):
                return
            await store.tell(conn, claim.paging, now, "loop" if move.looped else "next", move.reason)
            await store.release(conn, claim, move.at, move.reason, now, position=move.position)
        if move.looped:
            metrics.LOOPS.inc()
            log.critical("page request %s: %s", claim.paging.page_request_id, move.reason)

    async def _end(self, claim: Claim, reason: str) -> None:
        now = self._clock()
        async with self._pool.connection() as conn, conn.transaction():
            if await store.is_mine(conn, claim):
                await store.tell(conn, claim.paging, now, "ended", f"paging ends: {reason}")
                await conn.execute(Q.end_paging, claim.key | {"reason": reason, "now": now})
                await store.release(conn, claim, now, reason, now)

    async def _hang_up_rest(self, claim: Claim) -> None:
        """The need is over: end the calls that are queued or ringing, as well as we can."""
        paging = claim.paging
        async with self._pool.connection() as conn:
            pages = await store.pages_of(conn, paging.tenant_id, paging.page_request_id)
        for page in (page for page in pages if page.live):
            await self._hang_up(page)
        await self._release(claim, None, "finished")

    async def _hang_up(self, page: Page) -> None:
        async with self._pool.connection() as conn, conn.transaction():
            call = await store.lock_call(conn, page.tenant_id, page.page_id)
        shared = call is not None and bool(call.needed)
        if page.transport != "voice":
            page = msgspec.structs.replace(page, provider="")  # nothing can be hung up
        text = "no longer needed; the call goes on for other tickets" if shared else None
        if text is None:
            problem = await self._calls.hang_up(await self._with_ref(page))
            text = f"could not be hung up: {problem}" if problem else "hung up: no longer needed"
        now = self._clock()
        async with self._pool.connection() as conn, conn.transaction():
            call = await store.lock_call(conn, page.tenant_id, page.page_id)
            if call and call.page.live:
                marked = call.page if shared else msgspec.structs.replace(call.page, hung_up_at=now)
                await store.apply_to(conn, marked, News(State.SUPERSEDED, text), now)
                await store.line_is_free(conn, page, now)

    async def _with_ref(self, page: Page) -> Page:
        """The page with its call's id; looked for in the provider's list when its answer was lost."""
        if page.provider_ref is not None:
            return page
        with contextlib.suppress(ProviderError):
            refs = [call.sid for call in await self._calls.find(page)]
            async with self._pool.connection() as conn:
                unknown = await store.unknown_refs(conn, page.provider, refs)
            return msgspec.structs.replace(page, provider_ref=next(iter(unknown), None))
        return page


def _new_page(paging: Paging, move: Place, now: datetime) -> Page:
    target = move.target
    return Page(
        tenant_id=paging.tenant_id,
        page_id=uuid4(),
        page_request_id=paging.page_request_id,
        person_id=target.person_id,
        person_name=target.name,
        address=target.address,
        transport=target.transport,
        step=paging.position.step,
        attempt=paging.position.attempt,
        round=paging.position.round,
        fence=paging.fence,
        state=State.CLAIMED,
        provider=PROVIDERS.get(target.transport, move.provider),
        provider_ref=None,
        created_at=now,
        language=target.language,
    )


def _call_text(page: Page, move: Place) -> str:
    where = f"step {page.step + 1}, call {page.attempt}, round {page.round}"
    return f"calling {page.person_name} at {page.address} through {page.provider} ({where}): {move.reason}"


def _is_progress(page: Page, news: News) -> bool:
    return list(State).index(news.state) > list(State).index(page.state)


async def _repeat(look: Looker, settings: Settings, stop: asyncio.Event) -> None:
    """Call ``look`` until ``stop``: at once again after work, after a pause when idle or when it raised."""
    while not stop.is_set():
        busy = False
        try:
            busy = await look()
        except Exception:
            log.exception("the pager could not work (database?); it goes on trying")
        if not busy:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), settings.poll_s)
