"""Which rooms a process opens: their routes and their workers, by role."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator

from fastapi import APIRouter

import collector.api
from collector.directory import Directory
from storage.pool import Pool
from ucx_proactive.settings import Role, Rooms
from ucx_proactive.supervise import Supervisor, Work
from wire.clock import Clock

# module of the routes -> the section of the settings that its factory takes
ROUTES = {
    "alerting.api": "alerting",
    "ticketing.api": "ticketing",
    "oncall.api": "oncall",
    "oncall.rota_api": "oncall",
}
# role -> module of the worker, section of its settings
WORKERS: dict[Role, tuple[str, str]] = {
    "sweep": ("alerting.sweep", "alerting"),
    "desk": ("ticketing.desk", "ticketing"),
    "pager": ("oncall.pager", "oncall"),
}


def routers(pool: Pool, rooms: Rooms, clock: Clock, directory: Directory) -> Iterator[APIRouter]:
    """The routes of every room."""
    yield collector.api.router(pool, rooms.collector, clock, directory)
    for name, section in ROUTES.items():
        if importlib.util.find_spec(name):
            yield importlib.import_module(name).router(pool, getattr(rooms, section), clock)


def add_workers(
    supervisor: Supervisor, roles: tuple[Role, ...], pool: Pool, rooms: Rooms, clock: Clock
) -> None:
    """Register the workers of the given roles."""
    for role in roles:
        if role in WORKERS and importlib.util.find_spec(WORKERS[role][0]):
            supervisor.add(role, _work(role, pool, rooms, clock))


def _work(role: Role, pool: Pool, rooms: Rooms, clock: Clock) -> Work:
    name, section = WORKERS[role]
    run = importlib.import_module(name).run
    return lambda stop: run(pool, getattr(rooms, section), clock, stop)
