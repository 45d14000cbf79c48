"""Reading ``alerts:``, the part of a pack that combines states of other rules' alerts.

    alerts:
      of: deployment                  # whose alert it is: host | deployment
      fresh: 5 min                    # a state whose evidence is older than this is unknown
      states:
        database: {rule: database.service, on: every host}
        portal: {rule: web.portal, on: 2 hosts, instance: main, priority: P2, state: firing}
    levels:
      - {priority: P1, when: database and portal, for: 2 min, clear: not database, clear_for: 5 min}

``on``: ``same host`` (the default for an alert of a host), ``any host``, ``every host``, ``N hosts`` (at
least); nothing for a rule whose alerts are the deployment's own. ``state``: ``firing`` (the default; what
recovers still counts) or ``pending`` (also what is not firing yet).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from alerting import condition as cond
from alerting.document import Field
from alerting.fields import check_levels, condition_field, hold_field, patterns_field, priority_field
from alerting.rule import Compound, Level, Rule, Scope, Wanted
from alerting.units import parse_duration

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,49}")
_RESERVED = ("and", "or", "not")
_MAX_STATES = 20
_FRESH_S = (60.0, 86_400.0)
"""Least and most: below the interval of reports everything would be unknown, a day old nothing is fresh."""


def compound(fields: Mapping[str, Field]) -> Compound:
    """The source of a rule on alerts; ``fields`` of the rule."""
    given = fields["alerts"].mapping(("of", "fresh", "states"))
    of = given["of"].text() if "of" in given else "host"
    if of not in ("host", "deployment"):
        given["of"].fault("must be 'host' or 'deployment'")
    fresh = given["fresh"].parsed(parse_duration) if "fresh" in given else None
    if fresh is not None and not _FRESH_S[0] <= fresh <= _FRESH_S[1]:
        given["fresh"].fault("must be 1 min to 24 h")
    states = tuple(_states(given["states"], of)) if "states" in given else ()
    names = {name for name, _ in states}
    levels = [_level(item, names) for item in fields["levels"].items()] if states else []
    known = sorted((v for v in levels if v), key=lambda level: level.priority)
    check_levels(fields["levels"], [level.priority for level in known])
    return Compound(of == "deployment", fresh or _FRESH_S[0], states, tuple(known))


def _states(field: Field, of: str) -> Iterator[tuple[str, Wanted]]:
    given = field.mapping((), None)
    if not 1 <= len(given) <= _MAX_STATES:
        field.fault(f"must name one to {_MAX_STATES} states")
    for name, state in given.items():
        if not _NAME.fullmatch(name) or name in _RESERVED:
            state.fault("must be named with letters, digits and '_', and not 'and', 'or', 'not'")
        yield name, _wanted(state, of)


def _wanted(field: Field, of: str) -> Wanted:
    fields = field.mapping(("rule",), ("on", "instance", "priority", "state"))
    default = (Scope.HOST, 1) if of == "host" else (Scope.DEPLOYMENT, 1)
    scope, least = (fields["on"].parsed(_parse_on) if "on" in fields else None) or default
    if scope is Scope.HOST and of == "deployment":
        field.fault(
            "speaks of the same host, but the alert is the deployment's: say 'any host', 'every host'"
        )
    state = fields["state"].text() if "state" in fields else "firing"
    if state not in ("firing", "pending"):
        fields["state"].fault("must be 'firing' or 'pending'")
    return Wanted(
        fields["rule"].text() if "rule" in fields else "",
        scope,
        least,
        patterns_field(fields.get("instance")),
        priority_field(fields["priority"]) if "priority" in fields else 4,
        state == "pending",
    )


def _parse_on(text: str) -> tuple[Scope, int]:
    if text in ("same host", "every host", "deployment"):
        return Scope(text), 1
    counted = re.fullmatch(r"([1-9][0-9]{0,3}) hosts?", text)
    if text != "any host" and counted is None:
        raise ValueError(
            "must be 'same host', 'any host', 'every host', a number like '2 hosts', or 'deployment'"
        )
    return Scope.SOME, int(counted[1]) if counted else 1


def _level(field: Field, names: set[str]) -> Level | None:
    fields = field.mapping(("priority", "when"), ("for", "clear", "clear_for"))
    if not {"priority", "when"} <= fields.keys():
        return None
    when = state_condition(fields["when"], names)
    clear = condition_field(fields["clear"], names, cond.parse_states) if "clear" in fields else None
    for_s, _ = seconds_field(fields.get("for"))
    clear_s, _ = seconds_field(fields.get("clear_for"))
    priority = priority_field(fields["priority"])
    if when is None or ("clear" in fields and clear is None):
        return None
    return Level(priority, when, clear or cond.Not(when), for_s, 1, clear_s, 1)


def state_condition(field: Field, names: set[str]) -> cond.Condition | None:
    """A condition on states that can open an alert: what holds when nothing is wrong is a fault."""
    parsed = condition_field(field, names, cond.parse_states)
    if parsed is not None and cond.holds(parsed, dict.fromkeys(names, 0.0)):
        field.fault("holds when none of the states is there: it must need at least one")
    return parsed


def seconds_field(field: Field | None) -> tuple[float, int]:
    """A duration, as (seconds, 1)."""
    held = hold_field(field)
    if field is not None and held[1] > 1:
        field.fault("must be a duration: states of alerts have no samples to count")
    return held


def check(rules: Sequence[tuple[Field, Rule | None]], ids: Collection[str]) -> None:
    """What can be told only of a whole pack: the rules looked at exist, have such alerts, and form no circle.

    ``ids``: of all its rules, those with faults of their own included."""
    known = {rule.id: (field, rule) for field, rule in rules if rule is not None}
    for field, rule in known.values():
        for name, wanted in _looked_at(rule):
            found = known.get(wanted.rule_id)
            fault = _misfit(wanted, found[1]) if found else _missing(wanted.rule_id, ids)
            if fault:
                field.within("alerts", "states", name).fault(fault)
        for cause in [known[other][1] for other in rule.hidden_by if other in known]:
            if isinstance(cause.source, Compound):
                fault = f"'{cause.id}' is concluded from other alerts and cannot hide one"
                field.within("hidden_by").fault(fault)
            elif isinstance(rule.source, Compound) and rule.of_deployment and not cause.of_deployment:
                fault = f"the alerts of '{cause.id}' are its hosts', this one is the deployment's"
                field.within("hidden_by").fault(fault)
    for circle in _circles([rule for _, rule in known.values()]):
        known[circle[0]][0].within("alerts", "states").fault(f"goes round in a circle: {' -> '.join(circle)}")


def _looked_at(rule: Rule) -> tuple[tuple[str, Wanted], ...]:
    return rule.source.states if isinstance(rule.source, Compound) else ()


def looked_at(rule: Rule) -> list[Wanted]:
    """The states that a rule looks at; none for a rule that measures by itself."""
    return [wanted for _, wanted in _looked_at(rule)]


def _missing(rule_id: str, ids: Collection[str]) -> str:
    return "" if rule_id in ids else f"there is no rule '{rule_id}'"


def _misfit(wanted: Wanted, looked_at: Rule) -> str:
    """What is wrong with looking at that rule in this way; empty: nothing."""
    if looked_at.of_deployment and wanted.scope not in (Scope.DEPLOYMENT, Scope.HOST):
        return f"the alerts of '{wanted.rule_id}' are the deployment's own: leave 'on' out"
    if not looked_at.of_deployment and wanted.scope is Scope.DEPLOYMENT:
        return f"the alerts of '{wanted.rule_id}' are its hosts': say on how many, 'any host', 'every host'"
    if wanted.priority < min((level.priority for level in looked_at.source.levels), default=1):
        return f"'{wanted.rule_id}' never reaches P{wanted.priority}"
    return ""


def _graph(rules: Sequence[Rule]) -> dict[str, set[str]]:
    """Rule -> the rules that it looks at."""
    return {rule.id: {wanted.rule_id for _, wanted in _looked_at(rule)} for rule in rules}


def _circles(rules: Sequence[Rule]) -> Iterator[list[str]]:
    """Ways from a rule back to itself; each begins at its lowest id."""
    graph = _graph(rules)
    while True:
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = list(reversed(error.args[1]))[1:]  # it names a rule after the one that looks at it
            first = circle.index(min(circle))
            yield [*circle[first:], *circle[:first], circle[first]]
            graph[circle[first]] = set()
        else:
            return


def in_order(rules: Sequence[Rule]) -> list[Rule]:
    """The compound rules among these, each after those that it looks at."""
    known = {rule.id: rule for rule in rules}
    ordered = TopologicalSorter(_graph(rules)).static_order()
    return [known[i] for i in ordered if i in known and isinstance(known[i].source, Compound)]
