"""The auditor's loop: look, judge, write down, ring, ask, and tell a watchdog that all this worked.

Killed at any line it goes on where its files say. The state is on disk before the provider is asked, so that
a crash between the two counts as a call: it may ring once more, never in a loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import msgspec
import psycopg

from oncall.auditor import audit as core
from oncall.auditor.audit import Entry, Number, Ring, State, Verdict
from oncall.auditor.files import Files
from oncall.auditor.finding import Finding, blind, findings
from oncall.auditor.listener import keys_url, serve
from oncall.auditor.phone import Phone, PhoneFault
from oncall.auditor.settings import Settings
from oncall.auditor.sight import look
from wire.clock import Clock

log = logging.getLogger(__name__)


async def run(url: str, settings: Settings, clock: Clock, stop: asyncio.Event) -> None:
    """Audit until ``stop``. Raises AnotherAuditor or OSError when it cannot start."""
    files = Files(Path(settings.directory), clock)
    try:
        async with httpx.AsyncClient() as http, asyncio.TaskGroup() as group:
            auditor = Auditor(url, settings, clock, files, http)
            group.create_task(serve(settings, auditor.pressed, stop))
            while not stop.is_set():
                pause = await auditor.turn()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stop.wait(), pause)
    finally:
        files.close()


class Auditor:
    """One auditor on one directory."""

    def __init__(
        self, url: str, settings: Settings, clock: Clock, files: Files, http: httpx.AsyncClient
    ) -> None:
        self._url = url
        self._settings = settings
        self._clock = clock
        self._files = files
        self._http = http
        self._phone = Phone(settings.provider, settings, http) if settings.provider else None
        self.state = files.state()
        self._told = ""
        self._disk = ""
        """What is wrong with the directory."""

    async def turn(self) -> float:
        """One audit, or one question about the call under way; seconds until the next turn."""
        try:
            if self.state.call is not None:
                await self._ask()
            verdict = await self._audit()
            if verdict.ring is not None:
                await self._ring(verdict.ring)
            await self._heartbeat(verdict)
        except Exception:
            log.exception("the audit failed: no heartbeat; it is tried again")
        return self._settings.poll_s if self.state.call else self._settings.every_s

    async def pressed(self, nonce: str, digits: str) -> bool:
        """A key on one of our calls."""
        state, entry = core.key_pressed(self.state, nonce, digits, self._clock())
        if entry is None:
            return False
        self._keep(state, entry)
        return True

    async def _audit(self) -> Verdict:
        found, people, is_blind = await self._look()
        now = self._clock()
        verdict = core.audit(found, people, self.state, self._settings, now, blind=is_blind)
        self._keep(verdict.state, *verdict.entries)
        return verdict

    async def _look(self) -> tuple[tuple[Finding, ...], list[Number], bool]:
        now, s = self._clock(), self._settings
        sent = tuple(self._files.unsent)
        try:
            sight = await look(self._url, s, now, sent)
        except (psycopg.Error, OSError, TimeoutError) as error:
            return self._blind(now, error)
        self._files.unsent = [line for line in self._files.unsent if line not in sent]
        if sight.people:
            with contextlib.suppress(OSError):  # the state's own writing says it
                self._files.keep_people(list(sight.people))
        self.state = msgspec.structs.replace(self.state, blind_since=None)
        return findings(sight.snapshot, s, now), list(sight.people), False

    def _blind(self, now: datetime, error: Exception) -> tuple[tuple[Finding, ...], list[Number], bool]:
        since = self.state.blind_since or now
        self.state = msgspec.structs.replace(self.state, blind_since=since)
        log.error("the database is out of reach since %s: %s", since, error)
        known = self._files.people() or [Number("colleague", number) for number in self._settings.numbers]
        return blind(since, f"It says {type(error).__name__}.", self._settings, now), known, True

    async def _ring(self, ring: Ring) -> None:
        if self._phone is None:
            log.critical("no provider is set, nobody can be rung: %s", ring.text)
            return
        nonce = uuid4().hex
        text = f"calling {ring.to.name} at {ring.to.number}: {ring.text}"
        self._keep(
            core.placing(self.state, ring, nonce, self._clock()), Entry("call", text, {"nonce": nonce})
        )
        try:
            sid = await self._phone.place(ring.to.number, ring.text, keys_url(self._settings, nonce))
        except PhoneFault as fault:
            self._over(nonce, heard=False, why=f"the call could not be placed: {fault}")
            return
        if self.state.call is not None and self.state.call.nonce == nonce:
            self._keep(core.placed(self.state, sid))

    async def _ask(self) -> None:
        call, late = self.state.call, timedelta(seconds=self._settings.call_limit_s)
        assert call is not None
        expired = self._clock() >= call.placed_at + late
        if call.sid is None or self._phone is None:
            # A crash between the request and its answer: in doubt the next person is rung, soon.
            if self._clock() >= call.placed_at + timedelta(seconds=self._settings.provider_timeout_s):
                self._over(call.nonce, heard=False, why="it is not known what became of the call")
            return
        try:
            fate = await self._phone.fate(call.sid)
        except PhoneFault as fault:
            if expired:
                self._over(call.nonce, heard=False, why=f"nobody says what became of the call: {fault}")
            return
        if fate.over or expired:
            self._over(call.nonce, heard=fate.heard, why=str(fate))

    def _over(self, nonce: str, *, heard: bool, why: str) -> None:
        if self.state.call is None or self.state.call.nonce != nonce:
            return  # a key has settled it meanwhile
        state, entry = core.over(self.state, self._settings, self._clock(), heard=heard, why=why)
        self._keep(state, entry)

    def _keep(self, state: State, *entries: Entry) -> None:
        """Journal first: a state without its line would hide a step, a line without its state repeats one.

        A disk that is full stops no call: then memory alone bounds them, and the heartbeat is withheld."""
        self.state = state
        for entry in entries:
            log.warning("%s: %s", entry.kind, entry.text)
        try:
            for entry in entries:
                self._files.write(entry)
            self._files.keep_state(state)
            self._disk = ""
        except OSError as error:
            self._disk = f"nothing can be written to {self._settings.directory}: {error}"
            log.critical("%s", self._disk)

    async def _heartbeat(self, verdict: Verdict) -> None:
        wrong = self._disk or ("" if verdict.healthy else verdict.reason)
        if wrong and wrong != self._told:
            self._keep(self.state, Entry("heartbeat_withheld", wrong))
        self._told = wrong
        if wrong:
            return
        if self._settings.heartbeat_url:
            try:
                response = await self._http.post(self._settings.heartbeat_url, timeout=10.0)
                response.raise_for_status()
            except httpx.HTTPError:
                log.exception("the watchdog did not take the heartbeat")
