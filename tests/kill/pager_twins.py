"""Broken pagers, on purpose; the pagers' story must notice each.

python -m tests.kill.pager_twins TWIN serve ...
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from tests.kill.twins import mark_before_call

SESSIONS: dict[int, Any] = {}
"""The database session of each pager that holds (or waits for) the lock."""


def hold_a_session_lock() -> None:
    """Only the pager that holds a lock of its database session works: a frozen one keeps it for ever."""
    import psycopg

    from oncall import pager

    look = pager.Pager.look

    async def look_if_chosen(self: pager.Pager) -> bool:
        if id(self) not in SESSIONS:
            url = str(self._pool.conninfo)
            SESSIONS[id(self)] = await psycopg.AsyncConnection.connect(url, autocommit=True)
        cursor = await SESSIONS[id(self)].execute(
            "SELECT pg_try_advisory_lock(4711) OR EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory'"
            " AND objid = 4711 AND pid = pg_backend_pid())"
        )
        row = await cursor.fetchone()
        return await look(self) if row[0] else False

    pager.Pager.look = look_if_chosen  # type: ignore[method-assign]


def trust_2xx() -> None:
    """A call that the provider accepted counts as a phone that rings: nobody ever asks after it."""
    from datetime import timedelta

    from oncall import paging
    from oncall.page import State

    limit = paging._limit

    def believing(page: Any, target: Any, settings: Any) -> Any:
        until, otherwise, reason = limit(page, target, settings)
        trusted = page.state is State.PLACED
        return (until + timedelta(days=1) if trusted else until), otherwise, reason

    paging._limit = believing  # type: ignore[assignment]


TWINS: dict[str, Callable[[], None]] = {
    "mark-before-call": mark_before_call,
    "session-lock": hold_a_session_lock,
    "trust-2xx": trust_2xx,
}

if __name__ == "__main__":
    TWINS[sys.argv[1]]()
    from ucx_proactive.main import main

    main(sys.argv[2:])
