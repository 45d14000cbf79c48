"""The phone company's HTTP: the provider's API, the control API of tests and demo, and the page of phones."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import parse_qs

import jinja2
import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from oncall.settings import is_e164
from oncall.simulator import contract
from oncall.simulator.call import Call
from oncall.simulator.contract import Fault
from oncall.simulator.exchange import Exchange
from oncall.simulator.journal import Journal
from oncall.simulator.script import Change, DueFault, FaultKind

_BASE = "/2010-04-01/Accounts/{account}"
_MAX_BODY = 65_536
_HANG_S = 60.0
"""How long an answer that never comes keeps its connection."""
Handler = Callable[[Request], Awaitable[Response]]


def application(exchange: Exchange, journal: Journal) -> Starlette:
    """The whole program as one ASGI application."""
    provider = ProviderApi(exchange, journal)
    control = Control(exchange)
    routes = [
        Route(f"{_BASE}/Calls.json", provider.create, methods=["POST"]),
        Route(f"{_BASE}/Calls.json", provider.list, methods=["GET"]),
        Route(f"{_BASE}/Calls/{{sid}}.json", provider.update, methods=["POST"]),
        Route(f"{_BASE}/Calls/{{sid}}.json", provider.fetch, methods=["GET"]),
        Route(f"{_BASE}/Messages.json", provider.message, methods=["POST"]),
        Route("/phones/{number}/reply", control.reply, methods=["POST"]),
        Route("/phones/{number}/dial", control.dial, methods=["POST"]),
        Route("/", control.page, methods=["GET"]),
        Route("/state", control.state, methods=["GET"]),
        Route("/calls", control.calls, methods=["GET"]),
        Route("/calls/{sid}/{what}", control.do, methods=["POST"]),
        Route("/script", control.script, methods=["POST"]),
    ]

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await exchange.close()

    return Starlette(routes=routes, lifespan=lifespan, exception_handlers={Fault: _refusal})


async def _refusal(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, Fault)
    headers = {"WWW-Authenticate": 'Basic realm="Twilio API"'} if fault.status == 401 else None
    return JSONResponse(fault.body(), fault.status, headers)


class ProviderApi:
    """The documented API, strictly."""

    def __init__(self, exchange: Exchange, journal: Journal) -> None:
        self._exchange = exchange
        self._account = exchange.account
        self._journal = journal

    async def create(self, request: Request) -> Response:
        """``POST Calls.json``."""
        self._authenticate(request)
        order = contract.order(await _form(request), self._account.numbers)
        faults = self._exchange.script.faults(order.to)
        self._journal.write(
            "requested", {"to": order.to, "url": order.url, "faults": [f.kind for f in faults]}
        )
        by_kind = {fault.kind: fault for fault in faults}
        await _refuse_by_script(by_kind)
        call = self._exchange.place(order, faults)
        if FaultKind.REPLY_LOST in by_kind:
            await asyncio.sleep(_HANG_S)
        if slow := by_kind.get(FaultKind.SLOW):
            await asyncio.sleep(slow.s)
        return JSONResponse(call.public(self._account), 201)

    async def message(self, request: Request) -> Response:
        """``POST Messages.json``."""
        self._authenticate(request)
        text = contract.text(await _form(request), self._account.numbers)
        await _refuse_by_script({fault.kind: fault for fault in self._exchange.script.faults(text.to)})
        message = self._exchange.take(text)
        body = {"sid": message.sid, "account_sid": self._account.sid, "to": text.to, "from": text.from_}
        body |= {"body": text.body, "status": "queued", "direction": "outbound-api", "num_segments": "1"}
        return JSONResponse(body | {"error_code": None, "error_message": None}, 201)

    async def list(self, request: Request) -> Response:
        """``GET Calls.json``: newest first."""
        self._authenticate(request)
        wanted = contract.listing(parse_qs(request.url.query, keep_blank_values=True))
        newest = sorted(self._exchange.calls.values(), key=lambda c: c.created_at, reverse=True)
        shown = [(call, call.public(self._account)) for call in newest]
        calls = [public for call, public in shown if wanted.admits(public, call.started_at)]
        first = f"{request.url.path}?{request.url.query}"
        document = {"calls": calls[: wanted.page_size], "page": 0, "page_size": wanted.page_size, "start": 0}
        document |= {
            "end": max(0, min(len(calls), wanted.page_size) - 1),
            "uri": first,
            "first_page_uri": first,
        }
        return JSONResponse(document | {"next_page_uri": None, "previous_page_uri": None})

    async def fetch(self, request: Request) -> Response:
        """``GET Calls/{sid}.json``."""
        self._authenticate(request)
        return JSONResponse(self._call(request).public(self._account))

    async def update(self, request: Request) -> Response:
        """``POST Calls/{sid}.json``: end it."""
        self._authenticate(request)
        call = self._call(request)
        status = contract.ending(await _form(request))
        if call.over:
            raise Fault(400, 21220, "Call is not in-progress. Cannot redirect.")
        if status == "completed" or call.picked_up is None:
            self._exchange.end(call, status)
        return JSONResponse(call.public(self._account))

    def _call(self, request: Request) -> Call:
        call = self._exchange.calls.get(request.path_params["sid"])
        if call is None:
            raise contract.not_found(request.url.path)
        return call

    def _authenticate(self, request: Request) -> None:
        scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
        wanted = base64.b64encode(f"{self._account.sid}:{self._account.token}".encode())
        known = hmac.compare_digest(secret.strip().encode(), wanted)
        if scheme.lower() != "basic" or not known or request.path_params["account"] != self._account.sid:
            raise contract.not_authenticated()


async def _refuse_by_script(faults: Mapping[FaultKind, DueFault]) -> None:
    if FaultKind.ERROR in faults:
        raise Fault(500, 20500, "Internal Server Error")
    if FaultKind.REFUSE in faults:
        raise Fault(400, 21217, "Phone number does not appear to be valid")
    if FaultKind.BUSY in faults:
        raise contract.too_many()
    if fault := faults.get(FaultKind.TIMEOUT):
        await asyncio.sleep(max(fault.s, _HANG_S))
        raise Fault(504, 20504, "Gateway Timeout")


async def _form(request: Request) -> dict[str, list[str]]:
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip()
    if kind != "application/x-www-form-urlencoded":
        raise Fault(
            415, 20415, f"Content-Type {kind or '(none)'!r}: application/x-www-form-urlencoded is needed"
        )
    try:
        return parse_qs((await _body(request)).decode("ascii"), keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise Fault(400, 20001, "The body is not a form") from None


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY:
            raise Fault(413, 20001, "The body is too large")
    return bytes(body)


class Dial(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST /phones/{number}/dial``."""

    keys: list[Annotated[str, msgspec.Meta(pattern=r"^[0-9*#]{1,20}$")]] = []
    """Pressed one after the other, each time the caller is asked; empty: on the page."""


class Control:
    """What a person, a test or the demo does with the phones."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        folder = Path(__file__).parent / "templates"
        loader = jinja2.FileSystemLoader(folder)
        self._templates = jinja2.Environment(loader=loader, autoescape=True)

    async def page(self, request: Request) -> Response:
        """The page of phones."""
        return HTMLResponse(self._templates.get_template("phones.html").render(state=self._state()))

    async def state(self, request: Request) -> Response:
        """What the page shows, as JSON."""
        return JSONResponse(self._state())

    async def calls(self, request: Request) -> Response:
        """All calls, newest first, with what was said."""
        newest = sorted(self._exchange.calls.values(), key=lambda c: c.created_at, reverse=True)
        return JSONResponse({"calls": [_shown(call, self._exchange) for call in newest]})

    async def do(self, request: Request) -> Response:
        """The callee answers, declines, presses a key ..."""
        call = self._exchange.calls.get(request.path_params["sid"])
        what = request.path_params["what"]
        if call is None or what not in ("answer", "decline", "voicemail", "hangup", "press"):
            raise contract.not_found(request.url.path)
        if what == "press":
            what = f"press:{await _digits(request)}"
        if call.over:
            raise Fault(409, 21220, f"The call is over ({call.status}).")
        self._exchange.do(call, what)
        return JSONResponse(_shown(call, self._exchange))

    async def reply(self, request: Request) -> Response:
        """The owner of a phone writes to us."""
        text = await _word(request, "text")
        if not self._exchange.sms_url:
            raise Fault(409, 20001, "start the simulator with --sms-url: nobody takes messages")
        answer = await self._exchange.reply(request.path_params["number"], text[:1600])
        return JSONResponse({"answer": answer})

    async def dial(self, request: Request) -> Response:
        """The owner of a phone rings us; with ``keys`` its owner presses by script."""
        number = request.path_params["number"]
        if not self._exchange.voice_url:
            raise Fault(409, 20001, "start the simulator with --voice-url: nobody takes calls")
        if not is_e164(number):
            raise Fault(400, 21211, f"The phone number {number} is not valid.")
        try:
            wanted = msgspec.json.decode(await _body(request) or b"{}", type=Dial)
        except msgspec.MsgspecError as error:
            raise Fault(400, 20001, str(error)) from None
        return JSONResponse(_shown(self._exchange.dial(number, wanted.keys), self._exchange), 201)

    async def script(self, request: Request) -> Response:
        """Change how phones and the company behave."""
        try:
            self._exchange.script.change(msgspec.json.decode(await _body(request), type=Change))
        except (msgspec.MsgspecError, ValueError) as error:
            raise Fault(400, 20001, str(error)) from None
        return Response(status_code=204)

    def _state(self) -> dict[str, Any]:
        newest: dict[str, Call] = {}
        for call in self._exchange.calls.values():
            newest[call.number] = call
        for number in newest:
            self._exchange.script.phone(number)
        texts: dict[str, list[dict[str, Any]]] = {}
        for message in self._exchange.messages:
            self._exchange.script.phone(message.number)
            texts.setdefault(message.number, []).append({"body": message.body, "ours": message.ours})
        phones = self._exchange.script.phones.values()
        return {
            "takes_calls": bool(self._exchange.voice_url),
            "phones": [
                {
                    "number": phone.number,
                    "name": phone.name or phone.number,
                    "behaviour": phone.behaviour.value,
                    "messages": texts.get(phone.number, [])[-4:],
                    "call": _shown(newest[phone.number], self._exchange) if phone.number in newest else None,
                }
                for phone in phones
            ],
        }


async def _digits(request: Request) -> str:
    """``{"digits": "4"}``."""
    digits = await _word(request, "digits")
    if not 1 <= len(digits) <= 20 or set(digits) - set("0123456789*#"):
        raise Fault(400, 20001, 'keys are needed, as in {"digits": "4"}')
    return digits


async def _word(request: Request, name: str) -> str:
    """One text of a JSON object; '' if it is not there."""
    try:
        body = msgspec.json.decode(await _body(request), type=dict[str, str])
    except msgspec.MsgspecError:
        return ""
    return body.get(name, "")


def _shown(call: Call, exchange: Exchange) -> dict[str, Any]:
    return {
        "sid": call.sid,
        "to": call.order.to,
        "name": exchange.script.phone(call.number).name,
        "inbound": call.inbound,
        "from": call.order.from_,
        "status": call.status,
        "answered_by": call.answered_by,
        "created_at": call.created_at.isoformat(),
        "ended_at": call.ended_at.isoformat() if call.ended_at else None,
        "heard": call.lines[-8:],
        "listening": call.listening,
        "url": call.order.url,
    }
