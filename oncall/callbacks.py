"""What the phone company tells us of a page, and what the callee hears in return.

Each callback is checked for its signature before anything is read from it, then turned into news of the
page (pure, ``oncall.page``) and written in one transaction. Repeated, late or out of order, callbacks end in
the same state: news only ever raises it, and an acknowledgement is unique per page.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from oncall import metrics, store
from oncall.calls import callback_url
from oncall.page import Key, News, Page, State, from_key, from_status, is_machine
from oncall.settings import Settings
from oncall.store import LockedCall
from oncall.targets import Conn
from oncall.voice import twiml
from oncall.voice.languages import notice, phrases
from oncall.voice.signature import Fields, is_signed
from storage.pool import Pool
from ticketing import published
from ticketing.published import Briefing
from wire.problem import Forbidden, NotFound

log = logging.getLogger(__name__)


def authenticate(
    settings: Settings, path_and_query: str, fields: Fields, signature: str | None, via: str
) -> None:
    """Raise Forbidden unless the provider named in the URL signed exactly this request."""
    provider = settings.provider(via)
    url = settings.public_url + path_and_query
    if provider is None or not is_signed(provider.auth_token, url, fields, signature):
        metrics.FORGED.inc()
        log.warning("a voice callback without a valid signature was refused: %.200s", path_and_query)
        raise Forbidden("This callback is not signed with the provider's key for this URL.")


class Callbacks:
    """The three routes' work. Times by ``now``: ours, at the moment of the callback."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings

    async def status(self, tenant_id: int, page_id: UUID, form: dict[str, str], now: datetime) -> None:
        """A status callback."""
        news = from_status(form.get("CallStatus", ""), form.get("AnsweredBy", ""), form.get("CallSid"))
        async with self._pool.connection() as conn, conn.transaction():
            call = await _locked(conn, tenant_id, page_id)
            if news is None:
                text = f"a status that means nothing to us: {form.get('CallStatus', '')[:40]!r}"
                await store.tell_once(conn, call.page, now, "unknown", text)
            else:
                await store.apply(conn, call, news, now, proof=_proof(form))

    async def answered(
        self, tenant_id: int, page_id: UUID, form: dict[str, str], turn: int, via: str, now: datetime
    ) -> str:
        """The call was picked up: what to say. ``turn`` counts readings of the menu from 1."""
        async with self._pool.connection() as conn, conn.transaction():
            call = await _locked(conn, tenant_id, page_id)
            await store.apply(conn, call, _picked_up(form), now, proof=_proof(form))
            if not call.needed:
                return _bye(call.page, _over(call.end_reason), phrases(call.page.language).over)
            briefings = await _briefings(conn, call)
        machine = is_machine(form.get("AnsweredBy", ""))
        return self._menu(call.page, briefings, turn, via, now, machine=machine)

    async def key(
        self, tenant_id: int, page_id: UUID, form: dict[str, str], turn: int, via: str, now: datetime
    ) -> str:
        """A key was pressed: what to say. A key counts whatever has become of the paging since."""
        digits = form.get("Digits", "")
        async with self._pool.connection() as conn, conn.transaction():
            call = await _locked(conn, tenant_id, page_id)
            name = call.page.person_name
            if news := from_key(digits, name, form.get("CallSid")):
                await store.apply(conn, call, news, now, channel="voice", proof=_proof(form))
                words = phrases(call.page.language)
                theirs = words.next_one if news.state is State.DECLINED else words.confirmed
                return _bye(call.page, _farewell(call, news), theirs)
            text = f"{name} pressed {digits[:10]!r}: the message is read again"
            await store.tell_once(conn, call.page, now, "key", text, _proof(form))
            briefings = await _briefings(conn, call)
        wrong = phrases(call.page.language).wrong_key if call.page.language else twiml.WRONG_KEY
        lead = "" if digits == Key.REPEAT else f"{wrong} "
        return self._menu(call.page, briefings, turn, via, now, lead=lead)

    def _menu(
        self,
        page: Page,
        briefings: Sequence[Briefing],
        turn: int,
        via: str,
        now: datetime,
        *,
        lead: str = "",
        machine: bool = False,
    ) -> str:
        def url(action: str, turn: int) -> str:
            return f"{callback_url(self._settings, page.tenant_id, page.page_id, action, via)}&turn={turn}"

        # A machine hears it once: the verdict may be wrong, and then a key counts.
        last = machine or turn >= self._settings.menu_repeats
        again = None if last else url("twiml", turn + 1)
        if page.language and briefings:
            said = phrases(page.language)
            text = lead + notice(page.person_name, briefings[0], page.language)
            words = twiml.Wording(said.menu, said.nothing, said.code)
            return twiml.menu(text, url("gather", turn), again, words)
        if len(briefings) > 1:
            items = twiml.summary(page.person_name, briefings, now)
            return twiml.menu_after(items, url("gather", turn), again, len(briefings), lead)
        return twiml.menu(lead + twiml.message(page.person_name, briefings, now), url("gather", turn), again)


async def _locked(conn: Conn, tenant_id: int, page_id: UUID) -> LockedCall:
    call = await store.lock_call(conn, tenant_id, page_id)
    if call is None:
        raise NotFound("There is no such page.")
    return call


async def _briefings(conn: Conn, call: LockedCall) -> list[Briefing]:
    """What to read out: the tickets that nobody has answered yet (or this page's own)."""
    found = []
    for page in call.needed or (call.page,):
        ticket_id = call.pagings[page.tenant_id, page.page_request_id][2]
        found.append(await published.briefing(conn, page.tenant_id, ticket_id))
    return [briefing for briefing in found if briefing]


def _picked_up(form: dict[str, str]) -> News:
    return from_status("in-progress", form.get("AnsweredBy", ""), form.get("CallSid")) or News(
        State.ANSWERED, "the phone was picked up", form.get("CallSid")
    )


def _bye(page: Page, ours: str, theirs: str) -> str:
    """Good-bye to a technician, or to a customer's contact in its language."""
    return twiml.goodbye(theirs, phrases(page.language).code) if page.language else twiml.goodbye(ours)


def _over(end_reason: str) -> str:
    return f"This is U C X on-call. Nothing is left to do for this call: {end_reason}. Good bye."


def _farewell(call: LockedCall, news: News) -> str:
    if news.state is State.DECLINED:
        return "Understood. The next person will be called. Good bye."
    taken = len(call.needed)
    if taken > 1:
        return f"Acknowledged. The {taken} tickets are yours. Thank you, and good luck."
    if taken or call.page.state is State.ACKNOWLEDGED:
        return "Acknowledged. The ticket is yours. Thank you, and good luck."
    return f"Your key was recorded. Before it: {call.end_reason}. Good bye."


def _proof(form: dict[str, str]) -> dict[str, Any]:
    """The fields that prove what happened, shortened; never all of what came."""
    names = (
        "CallSid",
        "CallStatus",
        "AnsweredBy",
        "Digits",
        "To",
        "Timestamp",
        "SequenceNumber",
        "SipResponseCode",
    )
    return {name: form[name][:120] for name in names if name in form}
