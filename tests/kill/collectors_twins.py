"""Broken collectors, on purpose; the collectors' story must notice each.

python -m tests.kill.collectors_twins TWIN serve ...
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tests.kill.twins import acknowledge_before_commit, no_host_lock, no_ledger

WINDOW_S = 0.02


def state_without_version() -> None:
    """A collector that has evaluated a host believes its own memory of it, whatever another one has done."""
    from alerting import evaluate

    believed: dict[Any, Any] = {}
    lock, save = evaluate.lock_hosts, evaluate.save_outcomes

    async def cached(conn: Any, keys: Any, now: Any) -> Any:
        states = await lock(conn, keys, now)
        for key, held in believed.items():
            if key in states:
                states[key] = msgspec.structs.replace(states[key], memory=held.memory, frontier=held.frontier)
        return states

    async def remembered(conn: Any, outcomes: Sequence[Any], now: Any) -> None:
        await save(conn, outcomes, now)
        for outcome in outcomes:
            believed[outcome.state.tenant_id, outcome.state.host_id] = outcome.state

    evaluate.lock_hosts, evaluate.save_outcomes = cached, remembered


def noted_before_commit() -> None:
    """A (host, layout) pair counts as noted before the transaction that notes it has committed."""
    from collector.commit import IngestCommit

    store = IngestCommit._store

    async def early(self: IngestCommit, conn: Any, group: Sequence[Any]) -> Any:
        verdicts, pairs = await store(self, conn, group)
        self._noted |= pairs
        await asyncio.sleep(5 * WINDOW_S if pairs else 0)
        return verdicts, pairs

    IngestCommit._store = early  # type: ignore[method-assign]


def locks_in_any_order() -> None:
    """Each group locks its hosts in the order in which their batches came."""
    from alerting import evaluate

    lock = evaluate.lock_hosts

    async def one_by_one(conn: Any, keys: Any, now: Any) -> Any:
        states: dict[Any, Any] = {}
        for key in random.sample(list(keys), len(keys)):
            states |= await lock(conn, [key], now)
            await asyncio.sleep(WINDOW_S)
        return states

    evaluate.lock_hosts = one_by_one


TWINS: dict[str, Callable[[], None]] = {
    "acknowledge-before-commit": acknowledge_before_commit,
    "locks-in-any-order": locks_in_any_order,
    "no-host-lock": no_host_lock,
    "no-ledger": no_ledger,
    "noted-before-commit": noted_before_commit,
    "state-without-version": state_without_version,
}

if __name__ == "__main__":
    TWINS[sys.argv[1]]()
    from ucx_proactive.main import main

    main(sys.argv[2:])
