"""Calls and their lives: queued, dialled, ringing, picked up, spoken to, ended.

Each call is one task. What a callee does (answer, press a key, hang up) reaches it through its inbox; what
happens leaves as signed callbacks, one after the other, and as lines in plain words.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Coroutine
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlencode

import httpx

from oncall.simulator.call import Account, Call, HungUp, Message, Pace
from oncall.simulator.contract import FINAL, Order, Text
from oncall.simulator.instructions import (
    BadInstructions,
    Gather,
    Hangup,
    Pause,
    Redirect,
    Say,
    Step,
    parse,
    reply_text,
)
from oncall.simulator.journal import Journal
from oncall.simulator.script import Behaviour, DueFault, FaultKind, Phone, Script
from oncall.voice.signature import HEADER, sign
from wire.clock import Clock

_MAX_DOCUMENTS = 30
_CALLBACK_TIMEOUT_S = 15.0


class Exchange:
    """All calls and messages of the account."""

    def __init__(
        self,
        account: Account,
        script: Script,
        http: httpx.AsyncClient,
        journal: Journal,
        clock: Clock,
        say: Callable[[str], None],
        pace: Pace,
    ) -> None:
        self.account = account
        self.script = script
        self.calls: dict[str, Call] = {}
        self.messages: list[Message] = []
        self.sms_url = ""
        """Where messages to the account's numbers are delivered (set in the provider's console)."""
        self.voice_url = ""
        """What is asked when somebody rings one of the account's numbers (likewise)."""
        self._http = http
        self._journal = journal
        self._clock = clock
        self._say = say
        self._pace = pace
        self._tasks: set[asyncio.Task[None]] = set()

    # From the provider's API ---------------------------------------------------------------------------

    def place(self, order: Order, faults: list[DueFault]) -> Call:
        """Take a call; it is in the journal before anybody hears of it."""
        call = Call(f"CA{secrets.token_hex(16)}", order, faults, self._clock())
        names = [fault.kind.value for fault in faults]
        self._journal.write("placed", {"sid": call.sid, "to": order.to, "url": order.url, "faults": names})
        self.calls[call.sid] = call
        self.spawn(self._live(call))
        return call

    def dial(self, number: str, keys: list[str]) -> Call:
        """A phone rings the account. ``keys``: what its owner presses, one entry for each question."""
        order = Order(min(self.account.numbers), number, self.voice_url, "", "POST", "", (), 60, False)
        call = Call(f"CA{secrets.token_hex(16)}", order, [], self._clock())
        call.inbound, call.keys = True, list(keys)
        self._journal.write("dialled", {"sid": call.sid, "from": number, "url": self.voice_url})
        self.calls[call.sid] = call
        self.spawn(self._live(call))
        return call

    def end(self, call: Call, status: str) -> None:
        """The account ends a call: cancelled if nobody picked up, else completed."""
        call.inbox.put_nowait("cancel" if call.picked_up is None else "end")
        self._journal.write("ended-by-account", {"sid": call.sid, "status": status})

    def do(self, call: Call, what: str) -> None:
        """The callee does something: ``answer``, ``decline``, ``voicemail``, ``hangup``, ``press:4``."""
        call.inbox.put_nowait(what)

    def take(self, text: Text) -> Message:
        """Take an SMS from the account and deliver it."""
        message = Message(f"SM{secrets.token_hex(16)}", text.to, text.body, False)
        self._journal.write("message", {"sid": message.sid, "to": text.to, "body": text.body})
        self.messages.append(message)
        who = self.script.phone(text.to).name or text.to
        self._say(f"message to {who}: {text.body}")
        if text.status_callback:
            self.spawn(self._report(message, text))
        return message

    async def _report(self, message: Message, text: Text) -> None:
        for status in ("sent", "delivered"):
            await self._pause(0.2)
            fields = {"MessageSid": message.sid, "MessageStatus": status, "To": text.to, "From": text.from_}
            fields |= {"AccountSid": self.account.sid, "ApiVersion": "2010-04-01"}
            await self._request(message.sid, text.status_callback, "POST", fields)

    async def reply(self, number: str, body: str) -> str:
        """The owner of a phone writes an SMS; what the account answers."""
        message = Message(f"SM{secrets.token_hex(16)}", number, body, True)
        self.messages.append(message)
        own = min(self.account.numbers)
        fields = {"MessageSid": message.sid, "From": number, "To": own, "Body": body, "NumMedia": "0"}
        fields |= {"AccountSid": self.account.sid, "ApiVersion": "2010-04-01"}
        response = await self._request(message.sid, self.sms_url, "POST", fields)
        answer = reply_text(response.content) if response is not None and response.is_success else ""
        if answer:
            self.messages.append(Message(f"SM{secrets.token_hex(16)}", number, answer, False))
        return answer

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cut every line."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for call in self.calls.values():
            for work in call.held:
                work.close()

    # A call's life -------------------------------------------------------------------------------------

    async def _live(self, call: Call) -> None:
        phone = self.script.phone(call.number)
        who = phone.name or phone.number
        try:
            if FaultKind.NEVER_RINGS in call.faults:
                self._say(f"a call to {who} was accepted and stays in the queue (by script)")
                await self._expect(call, None)
            await (self._ring_us(call, phone) if call.inbound else self._dial(call, phone))
            await self._converse(call, phone)
        except HungUp:
            pass
        except BadInstructions as error:
            self._say(f"an application error has occurred: {error}")
            call.lines.append("We are sorry, an application error has occurred. Goodbye.")
            self._journal.write("bad-instructions", {"sid": call.sid, "error": str(error)})
        finally:
            await self._finish(call, who)

    async def _dial(self, call: Call, phone: Phone) -> None:
        await self._pause(0.2)
        call.started_at = self._clock()
        await self._progress(call, "initiated", "initiated")
        await self._pause(0.3)
        if phone.behaviour is Behaviour.WRONG_NUMBER:
            self._end(call, "failed")
        if phone.behaviour is Behaviour.BUSY:
            self._end(call, "busy")
        call.status = "ringing"
        self._say(f"ringing {phone.name or 'a phone'} at {phone.number}")
        await self._progress(call, "ringing", "ringing")
        await self._pick_up(call, phone)

    async def _ring_us(self, call: Call, phone: Phone) -> None:
        """The account picks up as soon as it is asked what to say."""
        await self._pause(0.2)
        call.started_at, call.status, call.picked_up = self._clock(), "ringing", time.monotonic()
        self._say(f"{phone.name or phone.number} rings us")

    async def _pick_up(self, call: Call, phone: Phone) -> None:
        answer = await self._answer(call, phone)
        if answer == "cancel":
            self._end(call, "canceled")
        if answer == "decline":
            self._end(call, "busy")
        if answer not in ("answer", "voicemail"):
            self._end(call, "no-answer")
        call.status, call.picked_up = "in-progress", time.monotonic()
        await self._progress(call, "answered", "in-progress")
        if call.order.detects_machines:
            await self._pause(0.5)
            call.answered_by = "machine_start" if answer == "voicemail" else "human"
        self._say(
            f"{phone.name or phone.number}: {'a machine' if answer == 'voicemail' else 'a person'} picked up"
        )

    async def _answer(self, call: Call, phone: Phone) -> str:
        """How the ringing ends; '' = it rang out."""
        by_itself = {
            Behaviour.AUTO: "answer",
            Behaviour.SILENT: "answer",
            Behaviour.VOICEMAIL: "voicemail",
        }.get(phone.behaviour)
        limit = float(call.order.timeout_s)
        wait_s = min(limit, phone.after_s) if by_itself else limit
        deadline = time.monotonic() + wait_s * self._pace.factor
        while (left := deadline - time.monotonic()) > 0:
            did = await self._next(call, left)
            ends = ("answer", "decline", "voicemail", "cancel")
            if did in ends and (phone.behaviour is not Behaviour.NO_ANSWER or did == "cancel"):
                return did
        return by_itself or ""

    async def _converse(self, call: Call, phone: Phone) -> None:
        url, method, extra = call.order.url, call.order.method, dict[str, str]()
        for _ in range(_MAX_DOCUMENTS):
            document = await self._instructions(call, url, method, extra)
            call.status = "in-progress"
            following = await self._perform(call, phone, parse(document, url))
            if following is None:
                return
            url, method, extra = following
        raise BadInstructions(f"more than {_MAX_DOCUMENTS} documents in one call")

    async def _perform(
        self, call: Call, phone: Phone, steps: list[Step]
    ) -> tuple[str, str, dict[str, str]] | None:
        for step in steps:
            match step:
                case Say() | Pause():
                    await self._speak(call, step)
                case Hangup():
                    return None
                case Redirect():
                    return step.url, step.method, {}
                case Gather():
                    if digits := await self._gather(call, phone, step):
                        return step.action, step.method, {"Digits": digits, "msg": "Gather End"}
        return None

    async def _gather(self, call: Call, phone: Phone, step: Gather) -> str:
        """Speak and listen: a key cuts the speech short."""
        call.listening = True
        try:
            if call.keys:
                self.spawn(self._press_later(call, phone, call.keys.pop(0)))
            elif _answers_by_itself(call, phone):
                self.spawn(self._press_later(call, phone, phone.key))
            for prompt in step.prompts:
                if digits := await self._speak(call, prompt, interruptible=True):
                    return digits
            return await self._keys(call, step.timeout_s * self._pace.factor)
        finally:
            call.listening = False

    async def _press_later(self, call: Call, phone: Phone, keys: str) -> None:
        await self._pause(1.0)
        if call.listening and not call.over:
            self._say(f"{phone.name or phone.number} presses {'a PIN' if len(keys) > 1 else keys}")
            call.inbox.put_nowait(f"press:{keys}")

    async def _speak(self, call: Call, step: Say | Pause, interruptible: bool = False) -> str:
        if isinstance(step, Pause):
            seconds = step.seconds
        else:
            call.lines.append(step.text)
            self._say(f"  \N{SPEECH BALLOON} {step.text}")
            seconds = len(step.text) * self._pace.per_character_s
        digits = await self._keys(call, seconds * self._pace.factor)
        return digits if interruptible else ""

    async def _keys(self, call: Call, seconds: float) -> str:
        """The first keys within so many seconds; '' if none came."""
        deadline = time.monotonic() + seconds
        while True:
            did = await self._next(call, max(0.0, deadline - time.monotonic()))
            if did.startswith("press:"):
                self._journal.write("pressed", {"sid": call.sid, "digits": _told(did[6:])})
                return did[6:]
            if did in ("hangup", "decline", "end", "cancel"):
                raise HungUp
            if time.monotonic() >= deadline:
                return ""

    async def _next(self, call: Call, seconds: float) -> str:
        with contextlib.suppress(TimeoutError):
            return await asyncio.wait_for(call.inbox.get(), seconds)
        return ""

    async def _expect(self, call: Call, seconds: float | None) -> None:
        """Nothing happens on this line but being cancelled."""
        while await asyncio.wait_for(call.inbox.get(), seconds) not in ("cancel", "end"):
            pass
        self._end(call, "canceled")

    def _end(self, call: Call, status: str) -> None:
        call.status = status
        raise HungUp

    async def _finish(self, call: Call, who: str) -> None:
        call.ended_at = self._clock()
        if not call.over:
            call.status = "completed"
        self._journal.write("ended", {"sid": call.sid, "status": call.status})
        self._say(f"the call to {who} is over: {call.status}")
        await self._progress(call, "completed", call.status)
        for late in reversed(call.held):
            await late
        call.held.clear()

    # Speaking to the account ---------------------------------------------------------------------------

    async def _instructions(self, call: Call, url: str, method: str, extra: dict[str, str]) -> bytes:
        if not url:
            return call.order.twiml.encode()
        fields = self._fields(call, call.status) | extra
        if call.answered_by:
            fields["AnsweredBy"] = call.answered_by
        if FaultKind.DUPLICATE in call.faults:
            await self._request(call.sid, url, method, fields)
        if FaultKind.FORGED in call.faults:
            await self._forge(call, url)
        response = await self._request(call.sid, url, method, fields)
        if response is None or not response.is_success:
            raise BadInstructions(f"{url} answered {response.status_code if response else 'nothing'}")
        return response.content

    async def _progress(self, call: Call, event: str, status: str) -> None:
        """One status callback, if it was asked for."""
        self._journal.write("status", {"sid": call.sid, "status": status})
        if not call.order.status_callback or event not in call.order.events or FaultKind.LOST in call.faults:
            return
        fields = self._fields(call, status) | {
            "SequenceNumber": str(call.sequence),
            "Timestamp": format_datetime(self._clock()),
            "CallbackSource": "call-progress-events",
        }
        call.sequence += 1
        if status in FINAL and call.picked_up is not None:
            fields["CallDuration"] = str(int(time.monotonic() - call.picked_up))
        if call.answered_by:
            fields["AnsweredBy"] = call.answered_by
        await self._deliver(call, fields)

    async def _deliver(self, call: Call, fields: dict[str, str]) -> None:
        send = self._callback(call, fields)
        if FaultKind.DISORDER in call.faults:
            call.held.append(send)
        elif late := call.faults.get(FaultKind.LATE):
            self.spawn(self._later(send, late.s))
        else:
            await send

    async def _callback(self, call: Call, fields: dict[str, str]) -> None:
        url = call.order.status_callback
        await self._request(call.sid, url, "POST", fields)
        if FaultKind.DUPLICATE in call.faults:
            await self._request(call.sid, url, "POST", fields)
        if FaultKind.FORGED in call.faults:
            await self._forge(call, url.replace("/status", "/gather"))

    async def _later(self, send: Coroutine[Any, Any, None], seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            send.close()
            raise
        await send

    async def _forge(self, call: Call, url: str) -> None:
        """Somebody else pretends that key 4 was pressed."""
        fields = self._fields(call, "in-progress") | {"Digits": "4"}
        await self._request(call.sid, url, "POST", fields, token="not-the-token")  # noqa: S106 - that is the point

    def _fields(self, call: Call, status: str) -> dict[str, str]:
        number, own = call.order.to, call.order.from_
        return {
            "CallSid": call.sid,
            "AccountSid": self.account.sid,
            "From": own,
            "To": number,
            "Caller": own,
            "Called": number,
            "CallStatus": status,
            "ApiVersion": "2010-04-01",
            "Direction": "inbound" if call.inbound else "outbound-api",
        }

    async def _request(
        self, sid: str, url: str, method: str, fields: dict[str, str], token: str | None = None
    ) -> httpx.Response | None:
        pairs = list(fields.items())
        get = method == "GET"
        if get:
            url, pairs = f"{url}{'&' if '?' in url else '?'}{urlencode(pairs)}", []
        headers = {
            HEADER: sign(token or self.account.token, url, pairs),
            "Content-Type": "application/x-www-form-urlencoded; charset=UTF-8",
            "User-Agent": "TwilioProxy/1.1",
            "I-Twilio-Idempotency-Token": secrets.token_hex(16),
        }
        try:
            response = await self._http.request(
                method,
                url,
                content=None if get else urlencode(pairs),
                headers=headers,
                timeout=_CALLBACK_TIMEOUT_S,
            )
        except httpx.HTTPError as error:
            self._journal.write("callback", {"sid": sid, "url": url, "error": type(error).__name__})
            self._say(f"our callback could not be delivered ({type(error).__name__})")
            return None
        kept = fields | {name: _told(fields[name]) for name in ("Digits",) if name in fields}
        facts = {"sid": sid, "url": url, "fields": kept, "forged": token is not None}
        self._journal.write("callback", facts | {"answered": response.status_code})
        return response

    async def _pause(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self._pace.factor)


def _answers_by_itself(call: Call, phone: Phone) -> bool:
    return phone.behaviour is Behaviour.AUTO and call.answered_by != "machine_start" and not call.inbound


def _told(digits: str) -> str:
    """Keys as a journal may hold them: a PIN is nobody's business."""
    return digits if len(digits) < 5 else "*"
