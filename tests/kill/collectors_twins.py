"""Broken collectors, on purpose; the collectors' story must notice each.

python -m tests.kill.collectors_twins TWIN serve ...
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tests.kill.twins import acknowledge_before_commit, no_host_lock, no_ledger

WINDOW_S = 0.05


def state_without_version() -> None:
    """A collector that has evaluated a host believes its own memory of it, whatever another one has done."""
    from alerting import evaluate

    believed: dict[Any, Any] = {}
    lock, save = evaluate.lock_hosts, evaluate.save_outcomes

    async def cached(conn: Any, keys: Any, now: Any, **known: Any) -> Any:
        states = await lock(conn, keys, now, **known)
        for key, held in believed.items():
            if key in states:
                states[key] = msgspec.structs.replace(states[key], memory=held.memory, frontier=held.frontier)
        return states

    async def remembered(conn: Any, outcomes: Sequence[Any], now: Any) -> None:
        await save(conn, outcomes, now)
        for outcome in outcomes:
            believed[outcome.state.tenant_id, outcome.state.host_id] = outcome.state

    evaluate.lock_hosts, evaluate.save_outcomes = cached, remembered


def layouts_before_commit() -> None:
    """A layout is believed before the transaction that registers it has committed, and no frame's commit asks
    for it again; a third of these transactions are rolled back."""
    import psycopg

    from collector import commit, layouts
    from collector.directory import Q

    admit = layouts.LayoutStore._admit

    async def believed(
        self: layouts.LayoutStore, conn: Any, host: Any, digest: bytes, body: bytes, now: Any
    ) -> None:
        await admit(self, conn, host, digest, body, now)
        row = {"tenant_id": host.tenant_id, "digests": [digest]}
        stored = await (await conn.execute(Q.layout_find, row)).fetchone()
        self._cache[host.tenant_id, digest] = layouts.StoredLayout(stored[1], layouts.decode(body))
        self._remember(host, {digest})
        if random.random() < 1 / 3:
            raise psycopg.OperationalError("rolled back, on purpose")

    async def unasked(*_: Any) -> None:
        return None

    layouts.LayoutStore._admit = believed  # type: ignore[method-assign]
    commit._note_layouts = unasked  # type: ignore[assignment]


def locks_in_any_order() -> None:
    """Each group locks its hosts in an order of its own, and takes its time; groups are large."""
    from alerting import evaluate
    from collector import group

    os.environ["UCX_COLLECTOR__LINGER_S"] = str(6 * WINDOW_S)
    group.PATIENCE_S = 6 * WINDOW_S

    lock = evaluate.lock_hosts

    async def one_by_one(conn: Any, keys: Any, now: Any, **known: Any) -> Any:
        states: dict[Any, Any] = {}
        for key in sorted(keys, reverse=random.random() < 0.5):
            states |= await lock(conn, [key], now, **known)
            await asyncio.sleep(WINDOW_S)
        return states

    evaluate.lock_hosts = one_by_one


TWINS: dict[str, Callable[[], None]] = {
    "acknowledge-before-commit": acknowledge_before_commit,
    "layouts-before-commit": layouts_before_commit,
    "locks-in-any-order": locks_in_any_order,
    "no-host-lock": no_host_lock,
    "no-ledger": no_ledger,
    "state-without-version": state_without_version,
}

if __name__ == "__main__":
    TWINS[sys.argv[1]]()
    from ucx_proactive.main import main

    main(sys.argv[2:])
