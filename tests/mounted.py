"""A room's routes as composition mounts them: somebody calls, and every refusal is a problem."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from wire.access import Principal
from wire.problem import CONTENT_TYPE, Problem


def mounted(routes: APIRouter, caller: Callable[[], Principal]) -> FastAPI:
    """``caller`` is asked at each request who sends it."""
    app = FastAPI(exception_handlers={Problem: _problem, RequestValidationError: _invalid})
    app.include_router(routes)

    @app.middleware("http")
    async def authenticate(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        request.state.principal = caller()
        return await call_next(request)

    return app


async def _problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return JSONResponse(error.body(), error.status, error.headers(), CONTENT_TYPE)


async def _invalid(_: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error).encode("utf-8", "replace").decode()}, 422)
