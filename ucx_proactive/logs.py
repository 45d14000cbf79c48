"""Plain logs: one line per event on standard error - UTC time, level, module, words."""

from __future__ import annotations

import logging
import time
from types import TracebackType

import psycopg
from psycopg_pool import PoolTimeout

POOL_EVERY_S = 60.0
"""Pause between two lines of connection pools, which would tell each of their many tries."""


_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


class _Utc(logging.Formatter):
    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return time.strftime(datefmt or "%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))

    def formatException(self, ei: _ExcInfo) -> str:
        """Of a database that is away the reason in a line: every worker tells it, no stack explains it."""
        if ei[1] is not None and database_is_away(ei[1]):
            return f"  {type(ei[1]).__name__}: {str(ei[1]).strip().splitlines()[0]}"
        return super().formatException(ei)


class _OneLineAMinute(logging.Filter):
    """Lets a pool's first complaint through, then one a minute with the number of those between."""

    def __init__(self) -> None:
        super().__init__()
        self._next = float("-inf")
        self._held = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.created < self._next:
            self._held += 1
            return False
        words = record.getMessage().strip().splitlines()[0]
        record.msg, record.args = words + (f" ({self._held} like it before)" if self._held else ""), ()
        self._next, self._held = record.created + POOL_EVERY_S, 0
        return True


def database_is_away(error: BaseException) -> bool:
    """Whether an error says only that: no connection, or one that the server ended."""
    if isinstance(error, PoolTimeout):
        return True
    if not isinstance(error, psycopg.OperationalError):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P"))


def set_up(level: str) -> None:
    """Send all logs of this process to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        _Utc("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    pools = logging.getLogger("psycopg.pool")
    pools.filters[:] = [_OneLineAMinute()]
    for chatty in ("httpx", "httpcore", "uvicorn.access", "psycopg.pool"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
