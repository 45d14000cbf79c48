"""``ucx-agent check``: one reading as a table, as JSON, or exactly as it would leave the host."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from agent.assemble import Assembler
from agent.checks import Check
from agent.checks.own import CheckHealth, OwnState
from agent.clock import Timekeeper
from agent.config import Config
from agent.reading import Column, Reading
from agent.runner import Runner
from agent.selection import make_checks, make_groups
from agent.sources import for_this_system
from wire.batch import Event
from wire.catalogue import load as load_catalogue
from wire.clock import utcnow

_BETWEEN_S = 1.0
"""Time between the two readings that rates need."""
_DEADLINE_S = 8.0


class Result(NamedTuple):
    """One check's second reading."""

    check: str
    duration_s: float | None
    fault: str
    reading: Reading | None


class Preview(NamedTuple):
    """What one look at this host gives."""

    results: list[Result]
    events: list[dict[str, Any]]
    checks: list[Check]
    config: Config


class Glance:
    """Takes a log's events for one look and keeps no position: nothing of the running agent is touched."""

    def bookmark(self, feed: str) -> str:
        return ""

    def put_marked(self, events: list[Event], correction_ms: int, feed: str, bookmark: str) -> bool:
        return True


def look(config: Config) -> Preview:
    """Read every check twice, a second apart, as the running agent would."""
    events: list[dict[str, Any]] = []
    health: dict[str, CheckHealth] = {}

    def emit(event_id: str, message: str, attributes: dict[str, str]) -> None:
        events.append({"event_id": event_id, "message": message, "attributes": attributes})

    checks = make_checks(
        config,
        for_this_system(),
        clock_offset_s=lambda: None,
        own_state=lambda: OwnState(0, 0, 0, 0, 0, 0, health),
        emit=emit,
        sink=Glance(),
        stamp=Timekeeper(utcnow),
    )
    health |= {check.name: CheckHealth(None, 0) for check in checks}
    for result in read_all(checks):
        health[result.check] = CheckHealth(result.duration_s, int(bool(result.fault)))
    time.sleep(_BETWEEN_S)
    return Preview(read_all(checks), events, checks, config)


def read_all(checks: Sequence[Check]) -> list[Result]:
    """Each check once, under a deadline."""
    runner = Runner(lambda: None)
    jobs = [(check.name, runner.submit(check.name, check.read)) for check in checks]
    end = time.monotonic() + _DEADLINE_S
    while time.monotonic() < end and any(job and job.finished_s is None for _, job in jobs):
        runner.tend(time.monotonic())
        time.sleep(0.005)
    results = []
    for name, job in jobs:
        assert job is not None
        fault = "hangs" if job.finished_s is None else str(job.fault or "")
        results.append(Result(name, job.duration_s(), fault, job.reading))
    return results


# ---- as a table ---------------------------------------------------------------------------------------


def table(preview: Preview) -> list[str]:
    """Readable rows: metric, attributes, value with its unit."""
    rows = [row for result in preview.results for row in _rows(result)]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows]
    return [*lines, *(f"event {event['event_id']}: {event['message']}" for event in preview.events)]


def _rows(result: Result) -> list[tuple[str, str, str]]:
    if result.reading is None:
        return [(f"{result.check}: {result.fault}", "", "")]
    pairs = zip(result.reading.columns, result.reading.values, strict=True)
    return [(column.metric, _attributes(column), human(column.metric, value)) for column, value in pairs]


def _attributes(column: Column) -> str:
    return " ".join(value for _, value in column.attributes)


def human(metric: str, value: float | None) -> str:
    """A value with its unit, for people."""
    if value is None:
        return "-"
    unit = load_catalogue().unit(metric)
    if unit == "1":
        return f"{value:.1%}"
    if unit.startswith("By"):
        return _bytes(value) + unit[2:]
    return f"{value:.4g} {unit.strip('{}').replace('}/', '/')}"


def _bytes(value: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.4g} {unit}"
        value /= 1024
    return f"{value:.4g} TiB"


# ---- for programs, and in full ------------------------------------------------------------------------


def document(preview: Preview) -> dict[str, Any]:
    """The reading as JSON-ready values."""
    return {
        "checks": [
            {"check": r.check, "duration_s": r.duration_s, "fault": r.fault or None} for r in preview.results
        ],
        "samples": [
            {"metric": column.metric, "attributes": dict(column.attributes), "value": value}
            for result in preview.results
            if result.reading is not None
            for column, value in zip(result.reading.columns, result.reading.values, strict=True)
        ],
        "events": preview.events,
    }


def explanation(preview: Preview) -> dict[str, Any]:
    """Everything that would leave the host for these readings, and nothing that would not."""
    readings = {result.check: result.reading for result in preview.results}
    sent = []
    for group in make_groups(preview.checks, preview.config, "preview", None):
        assembler: Assembler = group.assembler
        for plan, values in assembler.frames({check.name: readings[check.name] for check in group.checks}):
            sent.append(
                {
                    "layout": plan.digest.hex(),
                    "layout_body": msgspec.msgpack.decode(plan.body),
                    "values": values,
                }
            )
    return {
        "sent_once_per_layout": "layout_body: [version, interval in seconds, [[metric, attributes], ...]]",
        "sent_at_each_tick": "layout, time, values in the layout's order",
        "sent_with_each_request": "agent id, number of the batch, time, a signed token; never the key",
        "frames": sent,
        "events": preview.events,
    }
