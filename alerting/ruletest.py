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
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from alerting.document import Field, read
from alerting.evaluator import Evaluator
from alerting.inputs import EventInput, FrameInput, HostScope
from alerting.published import State
from alerting.rule import Rule
from alerting.simulation import SimulatedHost
from alerting.units import parse_duration, parse_quantity, show_duration
from wire.batch import Event, Severity
from wire.layout import Layout, Series, digest, encode

START = datetime(2026, 1, 5, tzinfo=UTC)
"""A Monday, midnight: minute 0 of every case."""
SCOPE = HostScope(1, "customer", 1, "site", 1, "host")
_MAX_SAMPLES = 100_000
_TOKEN = re.compile(r"(?P<first>[^x.]+(?:\.\d[^x.]*)?)(?:\.\.(?P<last>[^x]+))?(?:x(?P<times>\d{1,5}))?")


class Expected(msgspec.Struct, frozen=True, order=True):
    """One alert that must be open."""

    rule_id: str
    instance: str
    priority: int
    state: str
    muted: bool

    def __str__(self) -> str:
        muted = " muted" if self.muted else ""
        return f"P{self.priority} {self.rule_id} {self.instance}".rstrip() + f" {self.state}{muted}"


class Moment(msgspec.Struct, frozen=True):
    """What must be open at a time."""

    at_s: float
    alerts: tuple[Expected, ...]
    line: int


class InputSeries(msgspec.Struct, frozen=True):
    """One series of the host."""

    series: Series
    values: tuple[float | None, ...]


class Quiet(msgspec.Struct, frozen=True):
    """A stretch in which nothing arrives. Seconds."""

    from_s: float
    to_s: float
    nodes: int
    """Hosts of the deployment, all silent together."""


class Case(msgspec.Struct, frozen=True):
    """One story."""

    name: str
    interval_s: float
    series: tuple[InputSeries, ...]
    events: tuple[tuple[float, Event], ...]
    silence: Quiet | None
    expect: tuple[Moment, ...]


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
        _quiet(fields["silence"]) if "silence" in fields else None,
        tuple(_moment(item) for item in fields["expect"].items()),
    )


def _series(field: Field) -> InputSeries:
    fields = field.mapping(("metric", "values"), ("attributes",))
    metric = fields["metric"].text() if "metric" in fields else ""
    values = fields["values"].parsed(parse_values) if "values" in fields else ()
    return InputSeries(Series(metric, _attributes(fields.get("attributes"))), values or ())


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


def _event(field: Field) -> tuple[float, Event]:
    fields = field.mapping(("at", "source", "id"), ("severity", "text", "attributes"))
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
    return at or 0.0, event


def _quiet(field: Field) -> Quiet:
    fields = field.mapping(("from", "to"), ("nodes",))
    begin = fields["from"].parsed(parse_duration) if "from" in fields else 0.0
    end = fields["to"].parsed(parse_duration) if "to" in fields else 0.0
    nodes = fields["nodes"].number(1, 1000) if "nodes" in fields else 1
    return Quiet(begin or 0.0, end or 0.0, nodes)


def _moment(field: Field) -> Moment:
    fields = field.mapping(("at", "alerts"))
    at = fields["at"].parsed(parse_duration) if "at" in fields else 0.0
    alerts = [_expected(item) for item in fields["alerts"].items()] if "alerts" in fields else []
    return Moment(at or 0.0, tuple(sorted(alerts)), field.line)


def _expected(field: Field) -> Expected:
    fields = field.mapping(("rule", "priority"), ("instance", "state", "muted"))
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
    )


def run_case(case: Case, rules: Sequence[Rule]) -> list[Failure]:
    """What of a case did not come as expected; empty = it passes."""
    known = {rule.id for rule in rules}
    strange = {a.rule_id for m in case.expect for a in m.alerts} - known
    if strange:
        return [Failure(case.name, case.expect[0].line, f"there is no rule '{sorted(strange)[0]}'")]
    host = SimulatedHost(Evaluator(1, rules), SCOPE)
    failures = [f for moment in _moments(case, host) for f in _compared(case, moment, host)]
    failing = [Failure(case.name, 0, f"rule '{rule}' raised {error}") for rule, error in host.failing.items()]
    return failures + failing


def _moments(case: Case, host: SimulatedHost) -> Iterator[Moment]:
    """Runs the case on the host; yields each moment when it has come."""
    layout = Layout(1, case.interval_s, tuple(s.series for s in case.series))
    name = digest(encode(layout))
    events = sorted(case.events, key=lambda pair: pair[0])
    waiting = sorted(case.expect, key=lambda m: m.at_s)
    ticks = int(max((m.at_s for m in waiting), default=0.0) // case.interval_s)
    for tick in range(ticks + 1):
        now_s = tick * case.interval_s
        due = [e for e in events if e[0] <= now_s]
        events = events[len(due) :]
        _tick(case, host, layout, name, tick, due)
        while waiting and waiting[0].at_s < now_s + case.interval_s:
            yield waiting.pop(0)


def _tick(
    case: Case, host: SimulatedHost, layout: Layout, name: bytes, tick: int, due: list[tuple[float, Event]]
) -> None:
    now = _time(tick * case.interval_s)
    quiet = case.silence
    if quiet is not None and quiet.from_s <= tick * case.interval_s < quiet.to_s:
        since = _time(max(quiet.from_s - case.interval_s, 0.0))
        host.tick(now, quiet_since=since, nodes=quiet.nodes)
        return
    values = [s.values[tick] if tick < len(s.values) else None for s in case.series]
    inputs: list[FrameInput | EventInput] = [EventInput(_time(at), event) for at, event in due]
    host.feed([*inputs, FrameInput(name, layout, now, values)], now)
    host.tick(now)
    host.heard(now)


def _time(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def _compared(case: Case, moment: Moment, host: SimulatedHost) -> Iterator[Failure]:
    pending = any(a.state == State.PENDING for a in moment.alerts)
    found = sorted(
        Expected(h.rule_id, h.instance, h.priority, h.to_state.value, bool(h.muted))
        for h in host.open.values()
        if pending or h.to_state is not State.PENDING
    )
    if tuple(found) != moment.alerts:
        at = show_duration(moment.at_s)
        wanted = ", ".join(map(str, moment.alerts)) or "nothing"
        got = ", ".join(map(str, found)) or "nothing"
        yield Failure(case.name, moment.line, f"at {at}: expected {wanted}; found {got}")


def uncovered(cases: Sequence[Case], rules: Sequence[Rule]) -> list[str]:
    """``rule Pn`` of every level that no case expects to fire."""
    fired = {
        (a.rule_id, a.priority) for c in cases for m in c.expect for a in m.alerts if a.state == "firing"
    }
    return [
        f"{rule.id} P{level.priority}"
        for rule in rules
        for level in rule.source.levels
        if rule.enabled and (rule.id, level.priority) not in fired
    ]
