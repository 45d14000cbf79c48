"""The catalogue: every metric and event that our agent sends, one row each (wire/metrics.yaml).

A metric that the catalogue does not know is legal (other senders exist); its name must only be well formed
(wire/layout.py). The agent never sends one that is missing here: a test holds both lists together.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from importlib.resources import files

import msgspec

from wire.batch import Severity


class Kind(StrEnum):
    """How a metric's value comes about, and so how it may be summed up over time."""

    GAUGE = "gauge"
    """The value at the tick."""
    MEAN = "mean"
    """Mean since the previous tick."""
    RATE = "rate"
    """Increase per second since the previous tick."""
    COUNTER = "counter"
    """Only grows (until the agent's spool is made anew)."""


class Metric(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of the catalogue."""

    name: str
    unit: str
    """UCUM, as OpenTelemetry writes units: ``1`` (a share 0..1), ``By``, ``s``, ``{process}``."""
    kind: Kind
    check: str
    """The agent's check that measures it."""
    interval: int
    """Default seconds between two readings."""
    meaning: str
    attributes: tuple[str, ...] = ()
    """Names of the attributes that tell its series apart."""


class EventKind(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of event that the agent itself makes."""

    id: str
    severity: Severity
    meaning: str


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    metrics: tuple[Metric, ...]
    events: tuple[EventKind, ...]


class Catalogue(msgspec.Struct, frozen=True):
    """All rows, by name and in the order of the file."""

    metrics: dict[str, Metric]
    events: dict[str, EventKind]

    def unit(self, metric: str) -> str:
        """The metric's unit; empty for one that the catalogue does not know."""
        row = self.metrics.get(metric)
        return row.unit if row else ""


@cache
def load() -> Catalogue:
    """The shipped catalogue (read once)."""
    import yaml  # only here: the running agent never needs the catalogue

    text = files("wire").joinpath("metrics.yaml").read_text(encoding="utf-8")
    document = msgspec.convert(yaml.safe_load(text), _Document)
    return Catalogue({row.name: row for row in document.metrics}, {row.id: row for row in document.events})


def markdown() -> str:
    """The catalogue as a page for people: docs/metrics.md is this text; a test says that it is current."""
    catalogue = load()
    rows = [_metric_row(row) for row in catalogue.metrics.values()]
    events = [f"| `{row.id}` | {row.severity} | {row.meaning} |" for row in catalogue.events.values()]
    return "\n".join([*_HEAD, *rows, *_EVENT_HEAD, *events, ""])


def _metric_row(row: Metric) -> str:
    attributes = ", ".join(f"`{name}`" for name in row.attributes) or "-"
    cells = (f"`{row.name}`", row.unit, row.kind, attributes, f"{row.interval} s", row.check, row.meaning)
    return f"| {' | '.join(cells)} |"


_HEAD = (
    "# Metrics and events of the agent",
    "",
    "Made from `wire/metrics.yaml` by `python -m wire.catalogue`. Names are OpenTelemetry's semantic",
    "conventions where they have one; a counter of theirs is sent as its rate, under the same name.",
    "Shares and utilizations are 0..1, never per cent.",
    "",
    "| metric | unit | kind | attributes | every | check | meaning |",
    "|---|---|---|---|---|---|---|",
)
_EVENT_HEAD = (
    "",
    "## Events that the agent makes itself (source `ucx-agent`)",
    "",
    "| id | severity | meaning |",
    "|---|---|---|",
)


if __name__ == "__main__":
    print(markdown(), end="")
