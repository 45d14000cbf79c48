"""Broken designs, on purpose: each removes one thing that a promise rests on. The driver must notice each.

    python -m tests.kill.twins TWIN serve ...

runs ``ucx-proactive`` with that one thing taken out. Where the window in which the fault shows is only
microseconds wide, the twin also widens it: the point is whether the driver sees the fault, not luck.
"""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from wire.receipt import Outcome, Receipt

WINDOW_S = 0.3
SLOW_SHARE = 1 / 3
"""Of the receipts that are held back: with more, the spools would never be delivered."""
_background: set[asyncio.Task[Any]] = set()


def acknowledge_before_commit() -> None:
    """The receipt leaves first, the commit follows."""
    from collector.commit import IngestCommit

    commit = IngestCommit.__call__

    async def receipts_first(self: IngestCommit, group: Sequence[Any]) -> tuple[Receipt, ...]:
        async def later() -> None:
            await asyncio.sleep(WINDOW_S)
            await commit(self, group)

        task = asyncio.get_running_loop().create_task(later())
        _background.add(task)
        task.add_done_callback(_background.discard)
        return tuple(pending.receipt(Outcome.STORED) for pending in group)

    IngestCommit.__call__ = receipts_first  # type: ignore[method-assign]


def no_ledger() -> None:
    """Every batch is taken for new."""
    from collector import commit

    async def all_win(
        _: commit.IngestCommit, conn: Any, group: Sequence[Any], careful: bool
    ) -> commit.Verdicts:
        return commit.Verdicts(tuple(group), tuple(p.receipt(Outcome.STORED) for p in group))

    whole = commit.IngestCommit.__call__

    async def slow_receipts(self: commit.IngestCommit, group: Sequence[Any]) -> tuple[Receipt, ...]:
        receipts = await whole(self, group)
        await asyncio.sleep(WINDOW_S if random.random() < SLOW_SHARE else 0)
        return receipts

    commit.IngestCommit._enter_ledger = all_win  # type: ignore[method-assign,assignment]
    commit.IngestCommit.__call__ = slow_receipts  # type: ignore[method-assign]


def mark_before_call() -> None:
    """A page is said to be placed, then the provider is asked."""
    from oncall import pager
    from oncall.page import News, State

    place = pager.Pager._place
    record = pager.Pager._record

    async def mark_first(self: pager.Pager, claim: Any, move: Any) -> None:
        ask = self._calls.place

        async def marked(page: Any, ring_s: int) -> Any:
            await record(self, claim, page, News(State.PLACED, "placed", f"CA{page.page_id.hex}"))
            await asyncio.sleep(5 * WINDOW_S)
            return await ask(page, ring_s)

        self._calls.place = marked  # type: ignore[method-assign]
        try:
            await place(self, claim, move)
        finally:
            self._calls.place = ask  # type: ignore[method-assign]

    pager.Pager._place = mark_first  # type: ignore[method-assign]


def no_host_lock() -> None:
    """Two collectors evaluate one host at the same time, and the last one to write wins."""
    from alerting import evaluate, store

    def without(name: str, clause: str) -> bytes:
        text = bytes(getattr(store.Q, name)).decode()
        assert clause in text, f"{name} no longer says {clause!r}: mend this twin"
        return text.replace(clause, "").encode()

    store.Q = _Altered(  # type: ignore[assignment]
        store.Q,
        lock_hosts=without("lock_hosts", "FOR UPDATE OF h"),
        save_hosts=without("save_hosts", "AND h.version = s.version"),
    )
    lock = evaluate.lock_hosts

    async def slow_lock(conn: Any, keys: Any, now: Any, **known: Any) -> Any:
        states = await lock(conn, keys, now, **known)
        await asyncio.sleep(WINDOW_S / 10)
        return states

    evaluate.lock_hosts = slow_lock


def progress_apart() -> None:
    """What the desk has handled is committed first, its ticket in a transaction after that."""
    from alerting.published import transitions_after
    from ticketing import alerts

    catch_up = alerts._catch_up

    async def apart(conn: Any, settings: Any, now: Any, alert: Any, progress: Any) -> None:
        key = {"tenant_id": alert.tenant_id, "alert_id": alert.alert_id}
        before = progress.handled_seq
        fresh = await transitions_after(conn, alert.tenant_id, alert.alert_id, before)
        progress.handled_seq = fresh[-1].seq if fresh else before
        await conn.execute(alerts.Q.save_progress, key | msgspec.structs.asdict(progress))
        await conn.execute(b"COMMIT")
        await asyncio.sleep(2 * WINDOW_S)
        await conn.execute(b"BEGIN")
        progress.handled_seq = before
        await catch_up(conn, settings, now, alert, progress)

    alerts._catch_up = apart


class _Altered:
    """Named queries, some of them replaced."""

    def __init__(self, queries: Any, **replaced: bytes) -> None:
        self._queries = queries
        self._replaced = replaced

    def __getattr__(self, name: str) -> Any:
        return self._replaced.get(name) or getattr(self._queries, name)


TWINS: dict[str, Callable[[], None]] = {
    "acknowledge-before-commit": acknowledge_before_commit,
    "no-ledger": no_ledger,
    "mark-before-call": mark_before_call,
    "no-host-lock": no_host_lock,
    "progress-apart": progress_apart,
}

if __name__ == "__main__":
    TWINS[sys.argv[1]]()
    from ucx_proactive.main import main

    main(sys.argv[2:])
