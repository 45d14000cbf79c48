"""A small file in which the running agent says how it does, for ``ucx-agent status``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from agent import VERSION
from agent.clock import Timekeeper
from agent.shipper import Condition
from agent.store import Total

FILE = "status.json"
_FIRST_S = 120.0
"""Readings wait up to a minute for company."""


class Status(msgspec.Struct, frozen=True):
    """At one moment; times in seconds since 1970 by the host's clock."""

    version: str
    written_at: float
    delivered_batches: int
    """Since the agent started."""
    last_receipt_at: float | None
    trouble: str
    """Why nothing is delivered; empty while all is well."""
    clock_offset_s: float | None
    clock_correction_ms: int
    spool_batches: int
    spool_bytes: int
    counters: dict[str, int]
    stopped: bool = False
    """The agent was stopped in good order."""
    renumbered: int = 0
    """Batches whose number was taken: the machine was reverted or cloned."""
    started_at: float | None = None


def of(
    timekeeper: Timekeeper,
    condition: Condition,
    total: Total,
    counters: Mapping[str, int],
    *,
    stopped: bool,
    renumbered: int = 0,
    started_at: float | None = None,
) -> Status:
    """The status of a running agent."""
    return Status(
        VERSION,
        timekeeper.raw_s(),
        condition.delivered,
        condition.last_receipt_s,
        condition.trouble,
        timekeeper.offset_s(),
        timekeeper.correction_ms,
        total.batches,
        total.bytes,
        dict(counters),
        stopped,
        renumbered,
        started_at,
    )


def write(state: Path, status: Status) -> None:
    """Replace the file; not synced, and trouble with the disk is ignored: it only informs."""
    path = state / FILE
    with suppress(OSError):
        beside = path.with_name(FILE + ".new")
        beside.write_bytes(msgspec.json.encode(status))
        beside.replace(path)


def read(state: Path) -> Status | None:
    """What the agent said last; None when it never ran here (or the file is damaged)."""
    try:
        return msgspec.json.decode((state / FILE).read_bytes(), type=Status)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def is_running(status: Status, now_s: float) -> bool:
    """It has given a sign of life lately and was not stopped since."""
    return not status.stopped and now_s - status.written_at < 180


def is_fresh(status: Status, now_s: float) -> bool:
    """It has just started: that nothing was delivered yet is in order."""
    young = status.started_at is not None and now_s - status.started_at < _FIRST_S
    return young and is_running(status, now_s) and status.last_receipt_at is None and not status.trouble


def lines(status: Status | None, now_s: float) -> list[str]:
    """For people."""
    if status is None:
        return ["The agent has not run here yet."]
    age = now_s - status.written_at
    running = "running" if is_running(status, now_s) else f"not running (last sign of life {_ago(age)})"
    receipt = "never" if status.last_receipt_at is None else _ago(now_s - status.last_receipt_at)
    if is_fresh(status, now_s):
        receipt = "not yet: the first readings go out about a minute after the start"
    offset = "unknown" if status.clock_offset_s is None else f"{status.clock_offset_s:+.1f} s"
    rows = [
        f"agent        {status.version}, {running}",
        f"delivered    {status.delivered_batches} batches, last receipt {receipt}",
        f"waiting      {status.spool_batches} batches, {status.spool_bytes / 2**20:.1f} MB",
        f"clock        {offset} against the collector",
    ]
    rows += [f"{name.replace('_', ' '):<12} {count}" for name, count in status.counters.items() if count]
    return [*rows, f"trouble      {status.trouble}"] if status.trouble else rows


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{max(0, seconds):.0f} s ago"
    return f"{seconds / 60:.0f} min ago" if seconds < 7200 else f"{seconds / 3600:.0f} h ago"
