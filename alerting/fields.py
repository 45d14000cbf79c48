"""What packs and overrides are made of: conditions, durations, patterns, priorities."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from alerting import condition as cond
from alerting.document import Field
from alerting.rule import Patterns
from alerting.units import parse_duration

_DAY_S = 86_400.0


def where_field(field: Field | None) -> tuple[tuple[str, Patterns], ...]:
    """Attribute -> pattern or patterns."""
    if field is None:
        return ()
    return tuple((key, patterns_field(value)) for key, value in field.mapping((), None).items())


def patterns_field(field: Field | None) -> Patterns:
    """A pattern, a list of them, or ``{not: ...}``."""
    if field is None:
        return ()
    if field.is_mapping:
        excluded = field.mapping(("not",)).get("not")
        return tuple(f"!{pattern}" for pattern in patterns_field(excluded))
    patterns = tuple(item.text(empty=True) for item in field.one_or_more())
    if not patterns:
        field.fault("must name at least one pattern")
    return patterns


def condition_field(
    field: Field, names: Collection[str], parse: Callable[[str], cond.Condition] = cond.parse
) -> cond.Condition | None:
    """A condition on the given values (or states); None (and a fault) when it is none."""
    parsed = field.parsed(parse)
    unknown = sorted(cond.terms(parsed).difference(names)) if parsed else []
    if unknown:
        field.fault(f"there is no value '{unknown[0]}'; there are: {', '.join(sorted(names))}")
    return parsed


def hold_field(field: Field | None) -> tuple[float, int]:
    """``10 min`` -> (600, 1); ``3 samples`` -> (0, 3); ``3 samples and 3 min`` -> (180, 3)."""
    if field is None:
        return 0.0, 1
    return field.parsed(_parse_hold) or (0.0, 1)


def _parse_hold(text: str) -> tuple[float, int]:
    seconds, samples = 0.0, 1
    for part in text.split(" and "):
        counted = re.fullmatch(r"\s*([0-9]{1,4}) samples?\s*", part)
        if counted:
            samples = int(counted[1])
        else:
            seconds = parse_duration(part)
    if seconds > 30 * _DAY_S or not 1 <= samples <= 1000:
        raise ValueError("must be at most 30 d, and 1 to 1000 samples")
    return seconds, samples


def priority_field(field: Field) -> int:
    """P1 .. P4."""
    text = field.text()
    if text not in ("P1", "P2", "P3", "P4"):
        field.fault("must be P1, P2, P3 or P4")
        return 4
    return int(text[1])


def check_levels(field: Field, priorities: list[int]) -> None:
    """One to four levels, each priority once."""
    if not 1 <= len(field.items()) <= 4:
        field.fault("must have one to four levels")
    if len(set(priorities)) != len(priorities):
        field.fault("has two levels of the same priority; join their conditions with 'or'")
