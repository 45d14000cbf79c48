"""Every refusal as problem+json (RFC 9457): which problem an exception means, and how it is sent."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from uuid import uuid4

import msgspec
import psycopg
from fastapi.exceptions import RequestValidationError
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests
from starlette.exceptions import HTTPException

from collector.problem import MethodNotAllowed
from wire.problem import (
    CONTENT_TYPE,
    BadRequest,
    FieldError,
    NotFound,
    Problem,
    Unauthorised,
    Unavailable,
    Unprocessable,
)

log = logging.getLogger(__name__)

Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
RETRY_AFTER_S = 5.0


class Internal(Problem):
    """A fault of ours. Told with a number that the log knows, and nothing else."""


class Other(Problem):
    """An HTTP status that the framework chose and that we have no name for."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self._status = status

    def body(self) -> dict[str, Any]:
        return super().body() | {"type": "about:blank", "title": self.detail, "status": self._status}


def problem_of(error: Exception) -> Problem:
    """What ``error`` means for the caller. A fault of ours is logged here, with its number."""
    match error:
        case Problem():
            return error
        case RequestValidationError():
            return Unprocessable("The request's fields are not acceptable.", errors=_field_errors(error))
        case HTTPException():
            return _of_framework(error)
        case psycopg.DataError() | UnicodeEncodeError():
            # The database could not even represent a value: nothing was stored.
            log.warning("a request was refused because of a value: %s", error)
            return Unprocessable("A value is out of the range, or holds a character, that can be stored.")
        case (
            psycopg.OperationalError()
            | psycopg.errors.IdleInTransactionSessionTimeout()
            | PoolTimeout()
            | PoolClosed()
            | TooManyRequests()
        ):
            log.error("the database did not answer a request: %s", error)
            return Unavailable("The database is not available: try again.", retry_after_s=RETRY_AFTER_S)
        case _:
            number = uuid4().hex
            log.error("internal error %s", number, exc_info=error)
            return Internal("Something went wrong on our side; quote the incident.", incident=number)


def _of_framework(error: HTTPException) -> Problem:
    if error.status_code == 404:
        return NotFound("There is nothing at this address.")
    if error.status_code == 405:
        return MethodNotAllowed((error.headers or {}).get("Allow", ""))
    if error.status_code == 400:
        return BadRequest(str(error.detail))
    return Other(error.status_code, str(error.detail))


def _field_errors(error: RequestValidationError) -> list[FieldError]:
    ours = "Value error, "  # how pydantic begins the words of our own validators
    return [
        FieldError(_field(fault["loc"]), str(fault["msg"]).removeprefix(ours)) for fault in error.errors()
    ]


def _field(location: tuple[Any, ...]) -> str:
    """``("body", "frames", 3, "at")`` -> ``frames[3].at``; a body that is no JSON at all -> ``body``."""
    where, *rest = location
    if where == "body" and (not rest or isinstance(rest[0], int)):
        return "body"
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in rest)
    return (path.removeprefix(".") or str(where)).encode("utf-8", "replace").decode()


def rendered(problem: Problem) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of a problem."""
    document = problem.body()
    headers = {"Content-Type": CONTENT_TYPE} | problem.headers()
    if isinstance(problem, Unauthorised):
        headers["WWW-Authenticate"] = "Bearer"
    return document["status"], headers, msgspec.json.encode(_encodable(document))


def _encodable(value: Any) -> Any:
    """The document with lone surrogates replaced: they came in with the request and have no UTF-8."""
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case dict():
            return {_encodable(name): _encodable(item) for name, item in value.items()}
        case list() | tuple():
            return [_encodable(item) for item in value]
        case _:
            return value


async def send_problem(send: Send, problem: Problem, *, close: bool = False) -> None:
    """Answer with ``problem``; ``close`` when part of the request's body was left unread."""
    status, headers, body = rendered(problem)
    headers["Content-Length"] = str(len(body))
    if close:
        headers["Connection"] = "close"
    raw = [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace"))
        for name, value in headers.items()
    ]
    await send({"type": "http.response.start", "status": status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
