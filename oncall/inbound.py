"""The on-call line: a customer rings us, gives its PIN, confirms, and the technician is rung (§6.1).

    call begins  -> asked for the PIN, or turned away (too many wrong PINs)
    PIN entered  -> counted as wrong first, looked at then, taken back when right: guesses made side by side
                    cannot pass the limits together, and a process that dies in between errs on the safe side
    PIN right    -> served: asked for key 4, because a PIN alone wakes nobody; not served: told where to call
    key 4        -> one row that ticketing consumes: a critical ticket by telephone, paged like any other

Every step is kept under the provider's id of the call, so that a repeated or replayed callback gets the same
words again and changes nothing. The digits are never stored, never logged, never in a message.
"""

from __future__ import annotations

import asyncio
import logging
import re
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from oncall import alarm, metrics, switch
from oncall.alarm import Conn, L
from oncall.pin import digest, is_pin
from oncall.settings import Settings
from oncall.voice import caller as words
from oncall.voice import twiml
from storage.pool import Pool
from ticketing import published
from wire.problem import BadRequest

log = logging.getLogger(__name__)
KEEP = timedelta(days=30)
"""Calls that came to nothing are forgotten after this: a caller's number is a person's."""
FOR_CUSTOMERS = 3
"""So many times the wrong PINs of a stranger may come from a number that a customer's contact has."""
_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")


class Guesses(msgspec.Struct, frozen=True):
    """Wrong PINs of the last hour."""

    of_caller: int
    """From this number; 0 where it is withheld (it would be everybody's)."""
    of_all: int
    known: bool
    """A customer's contact has this number."""


Gate = Literal["ask", "caller", "everybody"]


def gate(found: Guesses, s: Settings) -> Gate:
    """Whether a PIN may be entered, or whose limit is reached. Somebody who floods the line with guesses
    must not lock the customers out: past the limit of all, numbers that a customer's contact has are still
    asked."""
    # At night a customer with a shaking hand has nowhere else to call: its own numbers get more tries.
    patience = FOR_CUSTOMERS if found.known else 1
    if found.of_caller >= s.wrong_pins_per_caller * patience:
        return "caller"
    if found.of_all >= s.wrong_pins_per_hour and not found.known:
        return "everybody"
    return "ask"


class Ringing(msgspec.Struct, frozen=True):
    """A call as its callbacks name it."""

    provider: str
    """Ours: the name in the settings."""
    ref: str
    """The provider's id."""
    caller: str
    """E.164; '' = withheld, or no number."""

    @property
    def key(self) -> dict[str, str]:
        return {"provider": self.provider, "ref": self.ref}


def ringing(form: dict[str, str], via: str) -> Ringing:
    """The call of a (signed) callback. Raises BadRequest when it names none: two calls must never be one."""
    number, ref = form.get("From", ""), form.get("CallSid", "")
    if not 0 < len(ref) <= 64:
        raise BadRequest("CallSid is missing or longer than 64 characters.")
    return Ringing(via, ref, number if _NUMBER.fullmatch(number) else "")


class _Kept(msgspec.Struct, frozen=True):
    """The call's row, locked."""

    call_no: int
    caller: str
    tried: int
    wrong: int
    outcome: str


class _Report(msgspec.Struct, frozen=True):
    tenant_id: int
    deployment_id: int
    report_id: int
    served: bool
    confirmed_at: datetime | None


class Inbound:
    """The three routes' work; each returns TwiML."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self._pool = pool
        self._settings = settings

    async def begin(self, call: Ringing, turn: int, now: datetime) -> str:
        """The phone was picked up by us (or nothing was entered: ``turn`` counts from 1)."""
        if not self._settings.pin_secret:
            log.error("a customer rings the on-call line and oncall.pin_secret is not set: it was sent away")
            return twiml.goodbye(words.CLOSED)
        async with self._pool.connection() as conn, conn.transaction():
            kept = await self._kept(conn, call, now)
            report = await _report(conn, kept.call_no)
            if report is not None:
                return await self._known(conn, call, report, 1, now)
            if await self._shut(conn, kept, now):
                return twiml.goodbye(words.ENOUGH)
        return self._ask(call, turn, words.WELCOME if turn == 1 else "")

    async def entered(self, call: Ringing, digits: str, turn: int, now: datetime) -> str:
        """Keys came: perhaps a PIN."""
        if turn > self._settings.pin_tries:
            return twiml.goodbye(words.ENOUGH)
        async with self._pool.connection() as conn, conn.transaction():
            await conn.execute(L.lock_guesses)
            kept = await self._kept(conn, call, now)
            report = await _report(conn, kept.call_no)
            if report is None and turn > kept.tried:
                if await self._shut(conn, kept, now):
                    return twiml.goodbye(words.ENOUGH)
                await conn.execute(L.count_guess, {"turn": turn, "call_no": kept.call_no})
        if report is None:
            report = await self._identify(call, kept, digits, now)
        if report is None:
            return await self._wrong(call, turn)
        async with self._pool.connection() as conn, conn.transaction():
            return await self._known(conn, call, report, 1, now)

    async def confirmed(self, call: Ringing, digits: str, turn: int, now: datetime) -> str:
        """A key after the right PIN, or none (``digits`` empty)."""
        async with self._pool.connection() as conn, conn.transaction():
            kept = await self._kept(conn, call, now)
            report = await _report(conn, kept.call_no)
            if report is None:
                return twiml.goodbye(words.ENOUGH)
            if digits == "4" and report.served:
                await self._confirm(conn, report, now)
                return twiml.goodbye(await self._reported(conn))
            return await self._known(conn, call, report, turn + bool(digits), now)

    async def _kept(self, conn: Conn, call: Ringing, now: datetime) -> _Kept:
        begun = await conn.execute(L.begin_call, call.key | {"caller": call.caller, "now": now})
        if begun.rowcount:
            await conn.execute(L.forget_calls, {"before": now - KEEP})
        row = await (await conn.execute(L.lock_call, call.key)).fetchone()
        assert row is not None, "written a line above"
        return _Kept(*row)

    async def _shut(self, conn: Conn, kept: _Kept, now: datetime) -> bool:
        """Whether this caller is turned away; written down and, when it is everybody, told to operations."""
        values = {"caller": kept.caller, "now": now}
        row = await (await conn.execute(L.guesses, values)).fetchone()
        assert row is not None, "an aggregate returns a row"
        found = gate(Guesses(*row), self._settings)
        if found == "ask":
            return False
        if await (await conn.execute(L.turn_away, {"call_no": kept.call_no})).fetchone():
            metrics.INBOUND.labels("turned away").inc()
        if found == "everybody":
            detail = (
                f"{row[1]} wrong PINs within an hour on the on-call line: unknown numbers are turned away."
            )
            # Not urgent: else whoever guesses could wake our people at will.
            await alarm.sound(conn, "pin_guessing", detail, now, urgent=False)
        return True

    async def _identify(self, call: Ringing, kept: _Kept, digits: str, now: datetime) -> _Report | None:
        """Whose PIN it is, written down; None: nobody's."""
        if not is_pin(digits) or not self._settings.pin_secret:
            return None
        kept_of_it = await asyncio.to_thread(digest, self._settings.pin_secret, digits)
        async with self._pool.connection() as conn, conn.transaction():
            row = await (await conn.execute(L.whose_pin, {"digest": kept_of_it})).fetchone()
            if row is None:
                return None
            service = await published.on_call_service(conn, row[0], row[1], now)
            values = {"tenant_id": row[0], "deployment_id": row[1], "pin_id": row[2]}
            values |= {"call_no": kept.call_no, "caller": kept.caller, "now": now}
            values |= {"served": service.served, "reason": service.reason}
            await conn.execute(L.lock_call, call.key)
            if await (await conn.execute(L.identified, {"call_no": kept.call_no})).fetchone():
                await conn.execute(L.insert_report, values)
                metrics.INBOUND.labels("served" if service.served else "not served").inc()
            return await _report(conn, kept.call_no)

    async def _wrong(self, call: Ringing, turn: int) -> str:
        metrics.WRONG_PINS.inc()
        if turn < self._settings.pin_tries:
            return self._ask(call, turn + 1, words.WRONG)
        async with self._pool.connection() as conn, conn.transaction():
            row = await (await conn.execute(L.lock_call, call.key)).fetchone()
            if row and await (await conn.execute(L.turn_away, {"call_no": row[0]})).fetchone():
                metrics.INBOUND.labels("wrong PIN").inc()
        return twiml.goodbye(words.WRONG + words.ENOUGH)

    async def _known(self, conn: Conn, call: Ringing, report: _Report, turn: int, now: datetime) -> str:
        """What a caller with the right PIN hears at this point of the call."""
        if report.confirmed_at is not None:
            return twiml.goodbye(await self._reported(conn))
        if not report.served:
            service = await published.on_call_service(conn, report.tenant_id, report.deployment_id, now)
            return words.not_served(service.phone)
        last = turn >= self._settings.menu_repeats
        again = None if last else self._url(call, "confirm", turn + 1)
        return words.ask_confirmation(self._url(call, "confirm", turn), again)

    async def _reported(self, conn: Conn) -> str:
        """No promise of a technician while nobody is rung at all."""
        rings = self._settings.enabled and (await switch.read(conn)).on
        return words.REPORTED if rings else words.RECORDED

    async def _confirm(self, conn: Conn, report: _Report, now: datetime) -> None:
        values = {"tenant_id": report.tenant_id, "report_id": report.report_id, "now": now}
        if await (await conn.execute(L.confirm_report, values)).fetchone():
            metrics.INBOUND.labels("reported").inc()

    def _ask(self, call: Ringing, turn: int, lead: str) -> str:
        more = turn < self._settings.pin_tries
        again = self._url(call, "call", turn + 1) if more else None
        return words.ask_pin(lead, self._url(call, "pin", turn), again)

    def _url(self, call: Ringing, action: str, turn: int) -> str:
        return f"{self._settings.public_url}/v1/oncall/inbound/{action}?via={call.provider}&turn={turn}"


async def _report(conn: Conn, call_no: int) -> _Report | None:
    row = await (await conn.execute(L.report_of_call, {"call_no": call_no})).fetchone()
    return None if row is None else _Report(*row)
