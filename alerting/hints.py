"""What is right in the language of rules and probably not meant: told by ``rules check``, never refused."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator, Mapping, Sequence

import yaml

from alerting.rule import Measured, Rule
from wire import catalogue


def announced() -> dict[str, set[str]]:
    """Metric -> its attributes: what our agent sends, and what it is announced to send."""
    text = importlib.resources.files("alerting").joinpath("packs/future.yaml").read_text(encoding="utf-8")
    later = {row["name"]: set(row["attributes"]) for row in yaml.safe_load(text)["metrics"]}
    return later | {name: set(row.attributes) for name, row in catalogue.load().metrics.items()}


def hints(rules: Sequence[Rule]) -> Iterator[str]:
    """One line per doubt."""
    known = announced()
    for rule in rules:
        if isinstance(rule.source, Measured):
            yield from _of(rule, rule.source, known)


def _of(rule: Rule, source: Measured, known: Mapping[str, set[str]]) -> Iterator[str]:
    for metric in dict.fromkeys(selector.metric for _, selector in source.terms):
        if metric not in known:
            yield f"{rule.id}: our agent does not send '{metric}': it never fires unless others do"
    for _, selector in source.terms:
        told = {*source.instance, *(name for name, _ in selector.where)}
        blurred = sorted(known.get(selector.metric, set()) - told)
        if blurred:
            yield (
                f"{rule.id}: '{selector.metric}' is measured per {', '.join(blurred)}, which neither "
                "'instance' nor 'where' names: only the first is judged"
            )
