"""The form of a provider's callback: bounded, and signed or refused before anything is read from it."""

from __future__ import annotations

from urllib.parse import parse_qsl

from fastapi import Request, Response

from oncall.callbacks import authenticate
from oncall.settings import Settings
from oncall.voice.signature import HEADER, Fields
from wire.problem import BadRequest, TooLarge

MAX_FORM_BYTES = 65_536
"""Callbacks are a few hundred bytes; nobody unauthenticated gets more memory than this."""


async def signed_form(request: Request, settings: Settings, via: str) -> dict[str, str]:
    """The callback's form, if the provider signed it. A field that stands twice: the last one."""
    fields = _fields(await _body(request))
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    authenticate(settings, path, fields, request.headers.get(HEADER), via)
    return {name: value.replace("\x00", "") for name, value in fields}


def xml(document: str) -> Response:
    """A TwiML document as an answer."""
    return Response(document, media_type="text/xml; charset=utf-8")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise TooLarge(f"A callback has at most {MAX_FORM_BYTES} bytes.")
    return bytes(body)


def _fields(body: bytes) -> Fields:
    try:
        return parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise BadRequest("The body is not a form (application/x-www-form-urlencoded).") from error
