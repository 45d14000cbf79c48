"""The HTTP application: every room's routes behind one guard."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

import collector.api
from collector.body import Message, Receive, Scope, Send
from collector.directory import Directory
from collector.route import IngestApp
from ucx_proactive import openapi
from ucx_proactive.guard import App, Guard, Public
from ucx_proactive.problems import problem_of, rendered, send_problem
from ucx_proactive.release import release
from ucx_proactive.rooms import PUBLIC_PREFIXES

PUBLIC = Public(
    {"/healthz", "/readyz", "/metrics", "/openapi.json", collector.api.ENROL},
    PUBLIC_PREFIXES,
)


def build(routers: Sequence[APIRouter], ingest: IngestApp | None, directory: Directory) -> App:
    """The application out of its rooms' routers; without ``ingest`` this process takes no batches."""
    app = FastAPI(
        title="UCX Proactive",
        version=release(),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in routers:
        app.include_router(router)
    app.add_exception_handler(HTTPException, _handled)
    app.add_exception_handler(RequestValidationError, _handled)
    app.add_middleware(_Shield)
    openapi.install(app, PUBLIC)
    return Guard(app, ingest, directory, PUBLIC)


async def _handled(_: Request, error: Exception) -> Response:
    status, headers, body = rendered(problem_of(error))
    return Response(body, status, headers)


class _Shield:
    """Answers what a route raises, inside the framework's own handler, which would raise it again."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:  # every fault of a route ends here
            problem = problem_of(error)
            if not started:
                await send_problem(send, problem)
