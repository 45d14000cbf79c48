"""Rule tests: input series and events -> the alerts expected at times. Data, like the rules.

    version: 1
    cases:
      - name: a saturated CPU
        interval: 1 min                                   # between two frames; the default
        series:
          - {metric: system.cpu.utilization, values: 0.5 97%x11 0.5x6}
        events:
          - {at: 5 min, source: MSSQLSERVER, id: "1105", text: no space}
        silence: {from: 10 min, to: 25 min, nodes: 2}      # nothing arrives from the host (and the others)
        expect:
          - at: 11 min
            alerts: [{rule: host.cpu, priority: P2}]       # exactly these are open, in state firing

``values``: ``v`` one sample, ``vxN`` N samples, ``a..bxN`` N samples from a to b, ``_`` not measured; units
stand at the number (``400MB``). The first sample is at 0. After its last value a series is not measured.
In ``expect``, ``state`` may say pending or recovering; pending alerts are compared only where one is
expected. ``muted: true`` expects an alert that counts as a consequence.

Several hosts of one deployment: ``host: b`` with a series, an event, a silence (then a list of them) or an
expected alert speaks of host b; without it they speak of the first host, and alerts of the deployment too.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

import msgspec

from alerting.document import Field, read
from alerting.published import State
from alerting.units import parse_duration, parse_quantity
from wire.batch import Event, Severity
from wire.layout import Series

START = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday, midnight: minute 0 of every case."""
_MAX_SAMPLES = 100_000
_TOKEN = re.compile(r"(?P<first>[^x.]+(?:\.\d[^x.]*)?)(?:\.\.(?P<last>[^x]+))?(?:x(?P<times>\d{1,5}))?")


class Expected(msgspec.Struct, frozen=True, order=True):
    """One alert that must be open."""

    rule_id: str
    instance: str
    priority: int
    state: str
    muted: bool
    host: str = ""
    """Empty: the first host, or the deployment."""

    def __str__(self) -> str:
        muted = " muted" if self.muted else ""
        host = f" on {self.host}" if self.host else ""
        return f"P{self.priority} {self.rule_id} {self.instance}".rstrip() + f" {self.state}{muted}{host}"


class Moment(msgspec.Struct, frozen=True):
    """What must be open at a time."""

    at_s: float
    alerts: tuple[Expected, ...]
    line: int


class InputSeries(msgspec.Struct, frozen=True):
    """One series of the host."""

    series: Series
    values: tuple[float | None, ...]
    host: str = ""


class Quiet(msgspec.Struct, frozen=True):
    """A stretch in which nothing arrives. Seconds."""

    from_s: float
    to_s: float
    nodes: int
    """Hosts of the deployment, all silent together."""
    host: str = ""


class Case(msgspec.Struct, frozen=True):
    """One story."""

    name: str
    interval_s: float
    series: tuple[InputSeries, ...]
    events: tuple[tuple[float, str, Event], ...]
    """(seconds, host, event)."""
    silences: tuple[Quiet, ...]
    expect: tuple[Moment, ...]

    @property
    def hosts(self) -> list[str]:
        """The first one (empty), and those that are named."""
        named = (
            {s.host for s in self.series} | {h for _, h, _ in self.events} | {q.host for q in self.silences}
        )
        return ["", *sorted(named - {""})]


class Failure(msgspec.Struct, frozen=True):
    """An expectation that was not met."""

    case: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}: case '{self.case}': {self.message}"


def parse_cases(text: str, name: str = "tests") -> tuple[Case, ...]:
    """The cases in a document. Raises PackError with every fault."""
    root = read(text, name)
    fields = root.mapping(("version", "cases"))
    if "version" in fields and fields["version"].scalar() != 1:
        fields["version"].fault("must be 1, the version of the test format")
    cases = [_case(item) for item in fields["cases"].items()] if "cases" in fields else []
    root.faults.raise_if_any()
    return tuple(case for case in cases if case is not None)


def _case(field: Field) -> Case | None:
    fields = field.mapping(("name", "expect"), ("interval", "series", "events", "silence"))
    if not {"name", "expect"} <= fields.keys():
        return None
    interval = fields["interval"].parsed(parse_duration) if "interval" in fields else 60.0
    if interval is not None and not 1 <= interval <= 86_400:
        fields["interval"].fault("must be 1 s to 24 h")
    return Case(
        fields["name"].text(),
        interval or 60.0,
        tuple(_series(item) for item in fields["series"].items()) if "series" in fields else (),
        tuple(_event(item) for item in fields["events"].items()) if "events" in fields else (),
        tuple(_quiet(item) for item in _one_or_list(fields["silence"])) if "silence" in fields else (),
        tuple(_moment(item) for item in fields["expect"].items()),
    )


def _one_or_list(field: Field) -> list[Field]:
    return [field] if field.is_mapping else field.items()


def _host(fields: dict[str, Field]) -> str:
    return fields["host"].text() if "host" in fields else ""


def _series(field: Field) -> InputSeries:
    fields = field.mapping(("metric", "values"), ("attributes", "host"))
    metric = fields["metric"].text() if "metric" in fields else ""
    values = fields["values"].parsed(parse_values) if "values" in fields else ()
    return InputSeries(Series(metric, _attributes(fields.get("attributes"))), values or (), _host(fields))


def _attributes(field: Field | None) -> dict[str, str]:
    return {key: value.text(empty=True) for key, value in field.mapping((), None).items()} if field else {}


def parse_values(text: str) -> tuple[float | None, ...]:
    """``0.5 97%x3 1..4x4 _`` -> the samples. Raises ValueError."""
    samples: list[float | None] = []
    for token in text.split():
        samples += _samples(token)
        if len(samples) > _MAX_SAMPLES:
            raise ValueError(f"more than {_MAX_SAMPLES} samples")
    return tuple(samples)


def _samples(token: str) -> list[float | None]:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise ValueError(f"'{token}' is no value; write v, vxN, a..bxN or _")
    times = int(match["times"] or 1)
    if match["first"] == "_":
        return [None] * times
    first, _ = parse_quantity(match["first"])
    last, _ = parse_quantity(match["last"]) if match["last"] else (first, "")
    return [first + (last - first) * i / max(times - 1, 1) for i in range(times)]


def _event(field: Field) -> tuple[float, str, Event]:
    fields = field.mapping(("at", "source", "id"), ("severity", "text", "attributes", "host"))
    at = fields["at"].parsed(parse_duration) if "at" in fields else 0.0
    severity = fields["severity"].parsed(Severity) if "severity" in fields else Severity.ERROR
    event = Event(
        round(START.timestamp() * 1000 + (at or 0.0) * 1000),
        fields["source"].text() if "source" in fields else "",
        fields["id"].text() if "id" in fields else "",
        severity or Severity.ERROR,
        fields["text"].text(empty=True) if "text" in fields else "",
        _attributes(fields.get("attributes")),
    )
    return at or 0.0, _host(fields), event


def _quiet(field: Field) -> Quiet:
    fields = field.mapping(("from", "to"), ("nodes", "host"))
    begin = fields["from"].parsed(parse_duration) if "from" in fields else 0.0
    end = fields["to"].parsed(parse_duration) if "to" in fields else 0.0
    nodes = fields["nodes"].number(1, 1000) if "nodes" in fields else 1
    return Quiet(begin or 0.0, end or 0.0, nodes, _host(fields))


def _moment(field: Field) -> Moment:
    fields = field.mapping(("at", "alerts"))
    at = fields["at"].parsed(parse_duration) if "at" in fields else 0.0
    alerts = [_expected(item) for item in fields["alerts"].items()] if "alerts" in fields else []
    return Moment(at or 0.0, tuple(sorted(alerts)), field.line)


def _expected(field: Field) -> Expected:
    fields = field.mapping(("rule", "priority"), ("instance", "state", "muted", "host"))
    priority = fields["priority"].text() if "priority" in fields else "P1"
    if priority not in ("P1", "P2", "P3", "P4"):
        fields["priority"].fault("must be P1, P2, P3 or P4")
    state = fields["state"].text() if "state" in fields else State.FIRING.value
    if state not in (State.PENDING, State.FIRING, State.RECOVERING):
        fields["state"].fault("must be pending, firing or recovering")
    return Expected(
        fields["rule"].text() if "rule" in fields else "",
        fields["instance"].text() if "instance" in fields else "",
        int(priority[1:2]) if priority[1:2].isdigit() else 1,
        state,
        fields["muted"].flag() if "muted" in fields else False,
        _host(fields),
    )
