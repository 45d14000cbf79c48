"""Rule packs: YAML in, rules out, strictly. The JSON Schema for editors is in ``packs/schema.json``.

    version: 1
    name: default
    rules:
      - id: host.cpu
        name: CPU
        component: host
        rationale: why this limit
        runbook: what to look at, what to do
        summary: CPU of {host} is busy            # or a text per language: text_pack.py
        metric: system.cpu.utilization            # or terms: {used: {metric: ..., where: {...}}, ...}
        where: {system.device: ["sd*", nvme0n1]}  # attribute -> pattern or patterns, * = anything
        instance: [system.device]                 # attributes that tell one problem from another
        levels:
          - {priority: P2, when: value > 95 %, for: 10 min, clear: value < 80 %, clear_for: 5 min}

A term may look ahead: ``full: {forecast: free, reaches: 0 B, only_when: ratio < 10 %}`` is the time until
the value ``free`` reaches 0 B, for conditions like ``full < 24 h``.

Instead of ``metric`` or ``terms`` a rule has ``event`` (levels: ``count``), ``silent`` (levels: ``after``) or
``alerts`` (states of other rules' alerts: ``compound_pack.py``).
"""

from __future__ import annotations

import importlib.resources
from collections.abc import Sequence

import msgspec

from alerting import compound_pack, text_pack
from alerting import condition as cond
from alerting.document import Field, read
from alerting.fields import (
    check_levels,
    condition_field,
    hold_field,
    patterns_field,
    priority_field,
    where_field,
)
from alerting.overlap import both_hold
from alerting.rule import (
    CountLevel,
    Forecast,
    Level,
    Matched,
    Measured,
    Rule,
    Selector,
    Silent,
    SilentLevel,
    Source,
)
from alerting.units import parse_duration, parse_quantity
from wire.language import LANGUAGES, SOURCE

VERSION = 1
DEFAULT_NAME = "default"
_DAY_S = 86_400.0
_SOURCES = ("metric", "terms", "event", "silent", "alerts")
_REQUIRED = ("id", "name", "component", "rationale", "runbook", "summary", "levels")
_OPTIONAL = (*_SOURCES, "where", "instance", "problem", "labels", "hidden_by", "enabled")
_TRANSLATED = ("summary", "runbook")
_MAX_RULES = 2_000


class Pack(msgspec.Struct, frozen=True):
    """A checked set of rules."""

    name: str
    rules: tuple[Rule, ...]


def default_document() -> str:
    """The pack that is shipped, as text: the rules, and the languages' files as its translations."""
    folder = importlib.resources.files("alerting").joinpath("packs")
    found = {code: folder.joinpath(f"default.{code}.yaml") for code in LANGUAGES if code != SOURCE}
    texts = {code: file.read_text(encoding="utf-8") for code, file in found.items()}
    return text_pack.joined(folder.joinpath("default.yaml").read_text(encoding="utf-8"), texts)


def parse_pack(text: str, name: str = "pack") -> Pack:
    """The rules in a document; ``name`` names it in faults. Raises PackError with every fault."""
    root = read(text, name)
    fields = root.mapping(("version", "name", "rules"), ("translations",))
    if "version" in fields and fields["version"].scalar() != VERSION:
        fields["version"].fault(f"must be {VERSION}, the version of the rule language")
    title = fields["name"].text() if "name" in fields else ""
    rules = _rules(fields["rules"]) if "rules" in fields else []
    if "translations" in fields:
        complete = not root.faults.found
        rules = text_pack.translated(rules, fields["translations"], complete=complete)
    root.faults.raise_if_any()
    return Pack(title, tuple(rules))


def _rules(field: Field) -> list[Rule]:
    items = field.items()
    if len(items) > _MAX_RULES:
        field.fault(f"has more than {_MAX_RULES} rules")
        return []
    read_rules = [(item, _rule(item)) for item in items]
    rules = [rule for _, rule in read_rules if rule is not None]
    _check_ids(read_rules)
    return rules


def _check_ids(rules: Sequence[tuple[Field, Rule | None]]) -> None:
    """Ids are unique, and where a rule names others they are rules of this pack."""
    ids: set[str] = set()
    for field, rule in rules:
        rule_id = rule.id if rule else str(getattr(field.within("id").node, "value", ""))
        if rule_id in ids:
            field.faults.add(field.line, f"{field.path}.id", f"'{rule_id}' is the id of an earlier rule")
        ids.add(rule_id)
    for field, rule in rules:
        for other in rule.hidden_by if rule else ():
            if other not in ids:
                field.faults.add(field.line, f"{field.path}.hidden_by", f"there is no rule '{other}'")
    compound_pack.check(rules, ids)


def _rule(field: Field) -> Rule | None:
    before = len(field.faults.found)
    fields = field.mapping(_REQUIRED, _OPTIONAL)
    source = _source(field, fields)
    plain = [key for key in _REQUIRED if key in fields and key not in (*_TRANSLATED, "levels")]
    texts = {key: fields[key].text() for key in plain}
    written = text_pack.texts(fields, source)
    rule_id = texts.get("id", "")
    if rule_id and not _is_id(rule_id):
        fields["id"].fault("must be lower-case letters, digits, '.', '-', '_', at most 100")
    problem = fields["problem"].text() if "problem" in fields else rule_id
    labels = _labels(fields["labels"]) if "labels" in fields else ()
    hidden_by = tuple(f.text() for f in fields["hidden_by"].one_or_more()) if "hidden_by" in fields else ()
    enabled = fields["enabled"].flag() if "enabled" in fields else True
    if hidden_by and isinstance(source, Matched):
        fields["hidden_by"].fault("is not for events: they are told once and have no state to hide")
    if source is None or len(field.faults.found) > before:
        return None
    return Rule(
        **texts,
        **msgspec.structs.asdict(written.english),
        source=source,
        problem=problem,
        labels=labels,
        hidden_by=hidden_by,
        enabled=enabled,
        translations=written.translations,
    )


def _is_id(text: str) -> bool:
    return len(text) <= 100 and all(c.isascii() and (c.islower() or c.isdigit() or c in ".-_") for c in text)


def _labels(field: Field) -> tuple[tuple[str, str], ...]:
    return tuple((key, value.text()) for key, value in field.mapping((), None).items())


def _source(rule: Field, fields: dict[str, Field]) -> Source | None:
    given = [key for key in _SOURCES if key in fields]
    if len(given) != 1:
        rule.fault(f"must have exactly one of {', '.join(_SOURCES)}")
        return None
    if "levels" not in fields:
        return None
    kind = given[0]
    if kind == "alerts":
        _not_for(
            fields, ("where", "instance"), "is not for 'alerts': each state has an 'instance' of its own"
        )
        return compound_pack.compound(fields)
    if kind == "event":
        _not_for(fields, ("where",), "is not for events: name their source, id, severity or text")
        return _matched(fields)
    return _silent(fields) if kind == "silent" else _measured(fields)


def _not_for(fields: dict[str, Field], keys: Sequence[str], why: str) -> None:
    for key in keys:
        if key in fields:
            fields[key].fault(why)


def _measured(fields: dict[str, Field]) -> Measured:
    terms: tuple[tuple[str, Selector], ...]
    forecasts: tuple[tuple[str, Forecast], ...] = ()
    if "metric" in fields:
        terms = (("value", Selector(fields["metric"].text(), where_field(fields.get("where")))),)
    else:
        given = fields["terms"].mapping((), None)
        terms = tuple((name, _selector(f)) for name, f in given.items() if not _looks_ahead(f))
        forecasts = _forecasts({n: f for n, f in given.items() if _looks_ahead(f)}, {n for n, _ in terms})
        if "where" in fields:
            fields["where"].fault("stands beside 'metric'; with 'terms', each term has its own")
    names = {name for name, _ in (*terms, *forecasts)}
    levels = [_level(item, names) for item in fields["levels"].items()]
    ordered = _ordered(fields["levels"], [v for v in levels if v])
    return Measured(terms, _instance(fields), ordered, forecasts)


def _looks_ahead(field: Field) -> bool:
    return "forecast" in field.key_names


def _forecasts(given: dict[str, Field], names: set[str]) -> tuple[tuple[str, Forecast], ...]:
    read_ahead = [(name, _forecast(field, names)) for name, field in given.items()]
    return tuple((name, found) for name, found in read_ahead if found is not None)


def _forecast(field: Field, names: set[str]) -> Forecast | None:
    fields = field.mapping(("forecast", "reaches", "only_when"))
    if len(fields) < 3:
        return None
    of = fields["forecast"].text()
    if of not in names:
        fields["forecast"].fault(f"there is no value '{of}'; there are: {', '.join(sorted(names))}")
    limit = fields["reaches"].parsed(parse_quantity)
    only_when = condition_field(fields["only_when"], names)
    return None if limit is None or only_when is None else Forecast(of, limit[0], only_when)


def _selector(field: Field) -> Selector:
    fields = field.mapping(("metric",), ("where",))
    return Selector(fields["metric"].text() if "metric" in fields else "", where_field(fields.get("where")))


def _instance(fields: dict[str, Field]) -> tuple[str, ...]:
    return tuple(f.text() for f in fields["instance"].one_or_more()) if "instance" in fields else ()


def _level(field: Field, names: set[str]) -> Level | None:
    fields = field.mapping(("priority", "when"), ("for", "clear", "clear_for"))
    if not {"priority", "when"} <= fields.keys():
        return None
    when = condition_field(fields["when"], names)
    clear = (
        condition_field(fields["clear"], names) if "clear" in fields else (cond.Not(when) if when else None)
    )
    for_s, for_samples = hold_field(fields.get("for"))
    clear_s, clear_samples = hold_field(fields.get("clear_for"))
    priority = priority_field(fields["priority"])
    if when is None or clear is None:
        return None
    if value := both_hold(when, clear):
        fields["clear"].fault(f"holds at {value} as 'when' does: it would end what has just begun")
    return Level(priority, when, clear, for_s, for_samples, clear_s, clear_samples)


def _ordered(field: Field, levels: list[Level]) -> tuple[Level, ...]:
    check_levels(field, [level.priority for level in levels])
    return tuple(sorted(levels, key=lambda level: level.priority))


def _matched(fields: dict[str, Field]) -> Matched:
    event = fields["event"].mapping((), ("source", "id", "severity", "text", "window", "quiet"))
    window = event["window"].parsed(parse_duration) if "window" in event else 0.0
    quiet = event["quiet"].parsed(parse_duration) if "quiet" in event else _DAY_S
    if not event.keys() & {"source", "id", "severity", "text"}:
        fields["event"].fault("must name at least one of source, id, severity, text")
    levels = [_count_level(item, bool(window)) for item in fields["levels"].items()]
    check_levels(fields["levels"], [level.priority for level in levels])
    return Matched(
        source=patterns_field(event.get("source")),
        ids=patterns_field(event.get("id")),
        severity=patterns_field(event.get("severity")),
        text=patterns_field(event.get("text")),
        instance=_instance(fields),
        window_s=window or 0.0,
        quiet_s=_bounded(event.get("quiet"), quiet or _DAY_S),
        levels=tuple(sorted(levels, key=lambda level: level.priority)),
    )


def _bounded(field: Field | None, seconds: float) -> float:
    """An event-only alert is over after a day at the latest."""
    if field is not None and not 1 <= seconds <= _DAY_S:
        field.fault("must be 1 s to 24 h: an alert that only events speak of expires after a day")
    return seconds


def _count_level(field: Field, windowed: bool) -> CountLevel:
    fields = field.mapping(("priority",), ("count",))
    count = fields["count"].number(1, 1_000_000) if "count" in fields else 1
    if count > 1 and not windowed:
        field.fault("counts events, so the rule's event needs a 'window'")
    return CountLevel(priority_field(fields["priority"]) if "priority" in fields else 4, count)


def _silent(fields: dict[str, Field]) -> Silent:
    _not_for(fields, ("where", "instance"), "is not for silence: it is the host's or the deployment's")
    silent = fields["silent"].mapping(("of",), ("clear_reports",))
    of = silent["of"].text() if "of" in silent else "host"
    if of not in ("host", "deployment"):
        silent["of"].fault("must be 'host' or 'deployment'")
    reports = silent["clear_reports"].number(1, 100) if "clear_reports" in silent else 1
    levels = [_silent_level(item) for item in fields["levels"].items()]
    check_levels(fields["levels"], [level.priority for level in levels])
    return Silent(of == "deployment", tuple(sorted(levels, key=lambda level: level.priority)), reports)


def _silent_level(field: Field) -> SilentLevel:
    fields = field.mapping(("priority", "after"))
    after = fields["after"].parsed(parse_duration) if "after" in fields else None
    if after is not None and after < 60:
        fields["after"].fault("must be at least 60 s: agents report once a minute or so")
    return SilentLevel(priority_field(fields["priority"]) if "priority" in fields else 4, after or 60.0)


def schema() -> str:
    """The JSON Schema of rule packs, for editors."""
    return importlib.resources.files("alerting").joinpath("packs/schema.json").read_text(encoding="utf-8")
