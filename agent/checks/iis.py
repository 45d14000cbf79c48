"""IIS: application pools, their request queues, requests of the sites, server errors.

Pools, queues and requests come from performance counters. They know status 500 alone, as a share, per worker
process, and no 503; so server errors (all 5xx) are counted from the logs of the sites (iislog.py). What
HTTP.SYS turns away itself, because a pool is stopped or its queue is full, stands in neither: that is the
queue's ``rejected``.

The services themselves (W3SVC, WAS) are the service check's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from agent.checks import rate
from agent.checks.iislog import SiteLogs
from agent.reading import Column, Reading

Values = Mapping[str, Mapping[str, float]]
"""Path of a counter -> instance -> value."""

STATE = r"\APP_POOL_WAS(*)\Current Application Pool State"
WORKERS = r"\APP_POOL_WAS(*)\Current Worker Processes"
FAILURES = r"\APP_POOL_WAS(*)\Total Worker Process Failures"
QUEUED = r"\HTTP Service Request Queues(*)\CurrentQueueSize"
REJECTED = r"\HTTP Service Request Queues(*)\RejectedRequests"
REQUESTS = r"\Web Service(*)\Total Method Requests"
PATHS = (STATE, WORKERS, FAILURES, QUEUED, REJECTED, REQUESTS)

_MOST = 60
"""Pools, and sites: 4 series each still leave room in a layout."""
_METRICS = {
    STATE: ("ucx.iis.application_pool.running", "iis.application_pool"),
    WORKERS: ("ucx.iis.application_pool.workers", "iis.application_pool"),
    FAILURES: ("ucx.iis.application_pool.failures", "iis.application_pool"),
    QUEUED: ("ucx.iis.request_queue.length", "iis.application_pool"),
    REJECTED: ("ucx.iis.request_queue.rejected", "iis.application_pool"),
    REQUESTS: ("ucx.iis.requests", "iis.site"),
}
_RATES = frozenset((FAILURES, REJECTED, REQUESTS))
_ERRORS = "ucx.iis.server_errors"
_RUNNING = {2.0: 1.0, 3.0: 1.0, 4.0: 0.0, 5.0: 0.0, 6.0: 0.0}
"""2 initialised (it waits for its first request), 3 running, 4 and 6 on its way down, 5 stopped (by a person,
or by IIS after too many failures). 1 (not yet known) and 7 (being deleted) say nothing."""


class Counters(Protocol):
    """The port. May raise OSError; what is not there is left out."""

    def read(self) -> Values: ...


class IisCheck:
    name: ClassVar[str] = "iis"
    interval_s: ClassVar[float] = 30.0

    def __init__(self, counters: Counters, logs: SiteLogs | None, runs: Callable[[], bool]) -> None:
        self._counters = counters
        self._logs = logs
        self._runs = runs
        """Whether W3SVC runs: then its counters must be there."""
        self._before: dict[Column, float] = {}
        self._before_s: float | None = None
        self._columns: tuple[Column, ...] = ()

    def read(self, now_s: float) -> Reading:
        values = self._counters.read()
        if not values.get(STATE) and self._runs():
            raise OSError(
                "IIS runs but gives no performance counters: see 'Windows' in docs/agent.md"
                " (Performance Monitor Users; lodctr /R)"
            )
        found = flatten(values)
        if self._logs is not None:
            found |= {Column(_ERRORS, (("iis.site.id", site),)): n for site, n in self._logs.read().items()}
        elapsed_s = None if self._before_s is None else now_s - self._before_s
        now = [self._value(column, value, elapsed_s) for column, value in found.items()]
        self._before, self._before_s = totals(self._before, found), now_s
        if tuple(found) != self._columns:
            self._columns = tuple(found)
        return Reading(self._columns, now)

    def _value(self, column: Column, value: float, elapsed_s: float | None) -> float | None:
        if column.metric == "ucx.iis.application_pool.running":
            return _RUNNING.get(value)
        if column.metric not in _RATE_METRICS:
            return value
        return None if elapsed_s is None else rate(value, self._before.get(column), elapsed_s)


_RATE_METRICS = frozenset((*(_METRICS[path][0] for path in _RATES), _ERRORS))


def flatten(values: Values) -> dict[Column, float]:
    """Series in a steady order: by instance, so that those of one pool stay together; no totals."""
    found = {}
    for attribute in ("iis.application_pool", "iis.site"):
        paths = [path for path in PATHS if _METRICS[path][1] == attribute]
        names = sorted({name for path in paths for name in values.get(path, {}) if is_instance(name)})[:_MOST]
        for name in names:
            for path in paths:
                if (value := values.get(path, {}).get(name)) is not None:
                    found[Column(_METRICS[path][0], ((attribute, name),))] = value
    return found


def is_instance(name: str) -> bool:
    """IIS adds totals, and lines of dashes for queues that belong to nobody; a name that could not travel
    would take the other series of its layout along."""
    return 0 < len(name) <= 200 and name.isprintable() and name != "_Total" and not name.startswith("---")


def totals(before: Mapping[Column, float], now: Mapping[Column, float]) -> dict[Column, float]:
    """What the next rates start from. A counter that could not be had shows as 0: then the earlier total is
    kept, or the next one would look like a burst."""
    return {column: value or before.get(column, value) for column, value in now.items()}


def for_this_system(logs: Path | None, runs: Callable[[], bool]) -> IisCheck | None:
    """None on every system but Windows."""
    if sys.platform == "win32":
        from agent.checks.iislog import default_root
        from agent.windows.counters import SystemCounters

        return IisCheck(SystemCounters(PATHS), SiteLogs(logs or default_root()), runs)
    else:  # noqa: RET505 - type checkers follow the platform only through if and else
        return None
