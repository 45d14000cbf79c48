"""What the types of a release cannot say: names that refer to each other, hours, zones, orders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from zoneinfo import available_timezones

from ticketing.holiday import known_country
from ticketing.hours import parse_hours
from ticketing.platform import VersionError, parse_version
from ticketing.policy import Release, Theatre

Fault = tuple[tuple[str | int, ...], str]


@cache
def _zones() -> frozenset[str]:
    """Every call of ``available_timezones`` reads the disk."""
    return frozenset(available_timezones())


def faults(release: Release) -> Iterator[Fault]:
    """Every fault: path of the field and message."""
    yield from _plans(release)
    yield from _licences(release)
    yield from _proactive(release)
    yield from _on_call(release)
    yield from _escalation(release)
    yield from _theatres(release)
    yield from _ascending(release.clock.at_risk_percent, ("clock", "at_risk_percent"))


def _known(path: tuple[str | int, ...], names: Iterable[str], known: Iterable[str]) -> Iterator[Fault]:
    allowed = list(known)
    for index, name in enumerate(names):
        if name not in allowed:
            yield (*path, index), f"'{name}' is not defined; known are {', '.join(allowed)}"


def _complete(path: tuple[str | int, ...], names: Iterable[str], wanted: Iterable[str]) -> Iterator[Fault]:
    missing = sorted(set(wanted) - set(names))
    if missing:
        yield path, f"lacks {', '.join(missing)}"


def _ascending(values: Iterable[int], path: tuple[str | int, ...]) -> Iterator[Fault]:
    found = list(values)
    if found != sorted(set(found)):
        yield path, "must ascend, without repeats"


P = ("P1", "P2", "P3", "P4")


def _plans(release: Release) -> Iterator[Fault]:
    yield from _complete(("priorities",), release.priorities, P)
    if not release.plans:
        yield ("plans",), "must not be empty"
    ranks = [plan.rank for plan in release.plans.values()]
    if len(set(ranks)) < len(ranks):
        yield ("plans",), "must each have a rank of its own"
    for key, plan in release.plans.items():
        yield from _complete(("plans", key, "targets"), plan.targets, P)
        for name, target in plan.targets.items():
            if target.minutes and target.working_days:
                yield ("plans", key, "targets", name), "has both minutes and working_days; keep one"


def _licences(release: Release) -> Iterator[Fault]:
    for key, licence in release.licences.items():
        if licence.included and licence.included.plan not in release.plans:
            yield ("licences", key, "included", "plan"), f"'{licence.included.plan}' is not a plan"
    yield from _complete(("proactive", "plans"), release.proactive.plans, release.licences)


def _proactive(release: Release) -> Iterator[Fault]:
    for key, plans in release.proactive.plans.items():
        yield from _known(("proactive", "plans"), [key], release.licences)
        yield from _known(("proactive", "plans", key), plans, release.plans)
    yield from _known(("proactive", "priorities"), release.proactive.priorities, release.plans)
    for plan, bounds in release.proactive.priorities.items():
        if bounds.most > bounds.least:
            yield ("proactive", "priorities", plan), "'most' must not be less urgent than 'least'"
    rules = release.proactive.version
    if not rules.seasons:
        yield ("proactive", "version", "seasons"), "must not be empty"
    try:
        parse_version(rules.minimum, rules.seasons)
    except VersionError as error:
        yield ("proactive", "version", "minimum"), str(error)


def _on_call(release: Release) -> Iterator[Fault]:
    rules = release.on_call
    yield from _known(("on_call", "plans"), rules.plans, release.plans)
    yield from _known(("on_call", "licences"), rules.licences, release.licences)
    yield from _known(("on_call", "channels"), rules.channels, release.channels)
    yield from _known(("on_call", "languages"), rules.languages, release.languages)
    yield from _known(("on_call", "customer_call", "plans"), rules.customer_call.plans, release.plans)
    for index, zone in enumerate(rules.asia_pacific_zones):
        if not zone.endswith("/*") and zone not in _zones():
            yield ("on_call", "asia_pacific_zones", index), f"'{zone}' is not an IANA zone"


def _escalation(release: Release) -> Iterator[Fault]:
    yield from _complete(("escalation", "steps"), release.escalation.steps, P)
    for name, steps in release.escalation.steps.items():
        path = ("escalation", "steps", name)
        yield from _ascending([step.after_h for step in steps], path)
        for index, step in enumerate(steps):
            if step.role not in release.escalation.roles:
                yield (*path, index, "role"), f"'{step.role}' is not one of escalation.roles"


def _theatres(release: Release) -> Iterator[Fault]:
    if not release.theatres:
        yield ("theatres",), "must not be empty"
    for key, theatre in release.theatres.items():
        for path, message in _theatre(theatre, release.languages):
            yield ("theatres", key, *path), message
    yield from _known(("rest_of_world", "hours_of"), release.rest_of_world.hours_of, release.theatres)
    if not release.rest_of_world.hours_of:
        yield ("rest_of_world", "hours_of"), "must name at least one theatre"
    if release.rest_of_world.languages_of not in release.theatres:
        yield ("rest_of_world", "languages_of"), "is not a theatre"


def _theatre(theatre: Theatre, languages: Iterable[str]) -> Iterator[Fault]:
    if theatre.zone not in _zones():
        yield ("zone",), f"'{theatre.zone}' is not an IANA zone, such as Europe/Rome"
    if not known_country(theatre.country):
        yield ("country",), f"no public holidays are known for '{theatre.country}' (ISO 3166-1 alpha-2)"
    if not theatre.working_days:
        yield ("working_days",), "must not be empty"
    if set(theatre.working_days) & set(theatre.special_days):
        yield ("special_days",), "names a working day"
    if not theatre.languages:
        yield ("languages",), "must not be empty"
    yield from _known(("languages",), theatre.languages, languages)
    yield from _known(("optional_languages",), theatre.optional_languages, languages)
    yield from _hours(theatre)


def _hours(theatre: Theatre) -> Iterator[Fault]:
    for field in ("hours", "special_hours"):
        try:
            parse_hours(getattr(theatre, field))
        except ValueError as error:
            yield (field,), str(error)
