"""Trying rules on history before they are in force: what would have fired, been ticketed and paged.

Two packs go over the same frames with the same judge, each with its own memory; what they would have done is
counted and compared: ``pages 14 -> 3, missed 0``.

A CSV has the header ``time,host,metric,attributes,value``: RFC 3339 times, attributes as ``name=value;...``,
an empty value where nothing was measured. Rows of one host and time make a frame.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby, pairwise
from math import isfinite
from statistics import median

import msgspec

from alerting.errors import Fault, PackError
from alerting.evaluator import Evaluator
from alerting.inputs import FrameInput, HostScope
from alerting.published import State
from alerting.rule import Rule
from alerting.simulation import Happening, SimulatedHost
from wire.layout import Layout, Series, digest, encode

_COLUMNS = ["time", "host", "metric", "attributes", "value"]
_BRIEF = timedelta(minutes=10)
"""An alert that fired for less than this was probably noise."""

AT_ONCE = 240
"""Frames judged at a time where all of them are healthy."""
SeriesKey = tuple[str, str]


class Counts(msgspec.Struct, frozen=True):
    """What a pack would have done."""

    alerts: int
    """Alerts that fired and were not muted."""
    tickets: int
    """Problems: alerts of one rule and instance that follow each other within an hour are one."""
    pages: int
    """Of these, problems that were P1 at some time."""
    noise: int
    """Alerts over within ten minutes."""
    muted: int = 0
    """Further alerts that a silence or a maintenance window covered to their end."""


class Comparison(msgspec.Struct, frozen=True):
    """Two packs over the same history."""

    frames: int
    now: Counts
    """The rules in force."""
    then: Counts
    """The rules tried."""
    missed: int
    """P1 or P2 problems of the rules in force at whose time the rules tried say nothing of that host."""
    alerts: tuple[str, ...]
    """What the rules tried would have said, in order."""

    def __str__(self) -> str:
        pairs = (
            (name, getattr(self.now, name), getattr(self.then, name)) for name in Counts.__struct_fields__
        )
        told = [pair for pair in pairs if pair[0] != "muted" or pair[1:] != (0, 0)]
        counts = ", ".join(f"{name} {now} -> {then}" for name, now, then in told)
        return f"{self.frames} frames: {counts}, missed {self.missed}"


class Fired(msgspec.Struct, frozen=True):
    """One stretch in which an alert fired."""

    host: str
    rule_id: str
    instance: str
    priority: int
    """The most severe it reached."""
    start: datetime
    end: datetime | None
    """None: it still fired at the end of the history."""
    muted: bool = False
    """A silence or a maintenance window covered it all the time."""

    def __str__(self) -> str:
        end = f"{self.end:%Y-%m-%d %H:%M:%S}Z" if self.end else "the end"
        where = f"{self.host} {self.rule_id} {self.instance}".rstrip()
        covered = " (muted)" if self.muted else ""
        return f"{self.start:%Y-%m-%d %H:%M:%S}Z to {end}: P{self.priority} {where}{covered}"


class Trial:
    """Two packs, fed with the history of one host after the other."""

    def __init__(self, now: Sequence[Rule], then: Sequence[Rule]) -> None:
        self._evaluators = (Evaluator(1, now), Evaluator(2, then))
        self._fired: tuple[list[Fired], list[Fired]] = ([], [])
        self._frames = 0

    def feed(self, scope: HostScope, frames: Sequence[FrameInput]) -> None:
        """All frames of one host, in time order."""
        host = self.host(scope)
        for start in range(0, len(frames), AT_ONCE):
            host.take(frames[start : start + AT_ONCE])
        host.end()

    def host(self, scope: HostScope) -> TriedHost:
        """One host, to be fed piece by piece."""
        return TriedHost(self, scope)

    def begin(self, scope: HostScope) -> tuple[SimulatedHost, ...]:
        """A host under each pack."""
        return tuple(SimulatedHost(evaluator, scope) for evaluator in self._evaluators)

    def found(self, hosts: Sequence[SimulatedHost], frames: int) -> None:
        """What a host's whole history came to under each pack."""
        self._frames += frames
        for host, found in zip(hosts, self._fired, strict=True):
            found += fired(host.history)

    def result(self) -> Comparison:
        """What was found in all hosts fed so far."""
        return compared(*self._fired, frames=self._frames)


class TriedHost:
    """One host of a trial. Its history is not kept: it may be longer than the memory."""

    def __init__(self, trial: Trial, scope: HostScope) -> None:
        self._trial = trial
        self._hosts = trial.begin(scope)
        self._frames = 0

    def take(self, frames: Sequence[FrameInput]) -> None:
        """The next frames, in time order; at least one."""
        self._frames += len(frames)
        for host in self._hosts:
            host.replay(frames)

    def end(self) -> None:
        """There are no more."""
        self._trial.found(self._hosts, self._frames)


def compared(now: Sequence[Fired], then: Sequence[Fired], *, frames: int) -> Comparison:
    """What two packs found over the same time."""
    ordered = sorted(then, key=lambda f: (f.start, f.host, f.rule_id, f.instance))
    return Comparison(frames, counts(now), counts(then), missed(now, then), tuple(map(str, ordered)))


def scope_of(name: str, number: int) -> HostScope:
    """A host that is known by its name alone."""
    return HostScope(1, "history", 1, "history", number, name)


def fired(history: Iterable[Happening]) -> list[Fired]:
    """The stretches in which alerts fired, from their transitions; muted ones left out."""
    running: dict[tuple[str, str], Fired] = {}
    done: list[Fired] = []
    for step in history:
        key = (step.rule_id, step.instance)
        if step.to_state is State.FIRING and not step.muted:
            known = running.get(key) or Fired(step.host, *key, step.priority, step.at, None)
            running[key] = msgspec.structs.replace(known, priority=min(known.priority, step.priority))
        elif step.to_state in (State.RESOLVED, State.STALE) and key in running:
            done.append(msgspec.structs.replace(running.pop(key), end=step.at))
    return done + list(running.values())


def counts(stretches: Sequence[Fired]) -> Counts:
    """Alerts, tickets, pages and noise of a pack."""
    told = [f for f in stretches if not f.muted]
    tickets = list(_tickets(told))
    brief = [f for f in told if f.end is not None and f.end - f.start < _BRIEF]
    pages = sum(priority == 1 for priority in tickets)
    return Counts(len(told), len(tickets), pages, len(brief), len(stretches) - len(told))


def _tickets(stretches: Iterable[Fired]) -> Iterator[int]:
    """The most severe priority of each problem."""
    ordered = sorted(stretches, key=lambda f: (f.host, f.rule_id, f.instance, f.start))
    for _, group in groupby(ordered, key=lambda f: (f.host, f.rule_id, f.instance)):
        priority, until = 0, datetime.min.replace(tzinfo=UTC)
        for stretch in group:
            if priority and stretch.start - until > timedelta(hours=1):
                yield priority
                priority = 0
            priority = min(priority or 4, stretch.priority)
            until = stretch.end or datetime.max.replace(tzinfo=UTC)
        yield priority


def missed(now: Iterable[Fired], then: Sequence[Fired]) -> int:
    """P1 and P2 stretches of the one during which the other is silent about that host and instance."""
    return sum(not any(_overlap(f, g) for g in then) for f in now if f.priority <= 2 and not f.muted)


def _overlap(one: Fired, other: Fired) -> bool:
    same = (one.host, one.instance) == (other.host, other.instance)
    begun = one.end is None or other.start <= one.end
    return same and begun and (other.end is None or one.start <= other.end)


def read_csv(lines: Iterable[str], name: str) -> dict[str, list[FrameInput]]:
    """The frames of each host in a CSV, in time order. Raises PackError with its faulty lines."""
    reader = csv.DictReader(lines)
    if reader.fieldnames != _COLUMNS:
        raise PackError(name, [Fault(1, "header", f"must be {','.join(_COLUMNS)}")])
    hosts: dict[str, dict[SeriesKey, dict[datetime, float | None]]] = {}
    faults: list[Fault] = []
    for line, row in enumerate(reader, start=2):
        try:
            series = hosts.setdefault(row["host"], {}).setdefault((row["metric"], row["attributes"]), {})
            series[_time(row["time"])] = _value(row["value"])
        except (ValueError, TypeError) as error:
            faults.append(Fault(line, "row", str(error)))
    if faults:
        raise PackError(name, faults[:100])
    return {host: _frames(series) for host, series in hosts.items()}


def _time(text: str) -> datetime:
    at = datetime.fromisoformat(text)
    if at.tzinfo is None:
        raise ValueError(f"'{text}' has no zone; write it like 2026-03-02T14:00:00Z")
    return at.astimezone(UTC)


def _value(text: str) -> float | None:
    value = float(text) if text else None
    if value is not None and not isfinite(value):
        raise ValueError(f"'{text}' is no finite number; leave it empty where nothing was measured")
    return value


def _frames(series: Mapping[SeriesKey, Mapping[datetime, float | None]]) -> list[FrameInput]:
    """Series of the same interval share a layout: a slow one among fast ones would seem full of gaps."""
    by_interval: dict[float, list[SeriesKey]] = {}
    for key in sorted(series):
        by_interval.setdefault(_interval(series[key]), []).append(key)
    frames = [f for interval, keys in by_interval.items() for f in _layout_frames(interval, keys, series)]
    return sorted(frames, key=lambda frame: frame.at)


def _interval(values: Mapping[datetime, float | None]) -> float:
    apart = [(b - a).total_seconds() for a, b in pairwise(sorted(values))]
    return max(float(round(median(apart))), 1.0) if apart else 60.0


def _layout_frames(
    interval: float, keys: Sequence[SeriesKey], series: Mapping[SeriesKey, Mapping[datetime, float | None]]
) -> Iterator[FrameInput]:
    layout = Layout(1, interval, tuple(_series(key) for key in keys))
    name = digest(encode(layout))
    for at in sorted({at for key in keys for at in series[key]}):
        yield FrameInput(name, layout, at, [series[key].get(at) for key in keys])


def _series(key: SeriesKey) -> Series:
    metric, attributes = key
    pairs = (part.partition("=")[::2] for part in attributes.split(";") if part)
    return Series(metric, {name.strip(): value.strip() for name, value in pairs})
