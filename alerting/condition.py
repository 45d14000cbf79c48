"""Conditions on the values of one frame: ``free_ratio < 10 % and (free < 5 GB or growth > 1 GB)``.

    condition  = conjunction | disjunction | atom
    conjunction = atom "and" atom { "and" atom }
    disjunction = atom "or" atom { "or" atom }
    atom       = "(" condition ")" | term [ "/" term ] op quantity
    op         = "<" | "<=" | ">" | ">=" | "==" | "!="

On alert states an atom is ``[not] name`` instead: ``database and (portal or not web)`` (``parse_states``).

``and`` and ``or`` never stand side by side without parentheses, so nobody has to know which binds closer.
A missing value makes a comparison unknown (None). ``and`` with a false part is false, ``or`` with a true
part is true, all else with an unknown part is unknown: unknown neither fires nor clears.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterator, Mapping

import msgspec

from alerting.units import parse_quantity, show

Values = Mapping[str, float | None]
"""Term name -> value in this frame; None = not measured."""

OPERATORS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


class Compare(msgspec.Struct, frozen=True, tag="compare"):
    """One value (or the ratio of two) against a limit."""

    term: str
    """Name of the value."""
    divisor: str
    """Name of the value that it is divided by; empty = none."""
    op: str
    """A key of ``OPERATORS``."""
    limit: float
    """In the metric's base unit."""
    unit: str
    """Unit as the author wrote it, for display."""


class Stands(msgspec.Struct, frozen=True, tag="stands"):
    """Whether a state of other alerts is there: its value is 1 (it is), 0 (it is not) or unknown."""

    term: str
    """Name of the state."""
    wanted: bool = True
    """False: it must not be there."""


class All(msgspec.Struct, frozen=True, tag="all"):
    """True when every part is."""

    parts: tuple[Condition, ...]


class AnyOf(msgspec.Struct, frozen=True, tag="any"):
    """True when at least one part is."""

    parts: tuple[Condition, ...]


class Not(msgspec.Struct, frozen=True, tag="not"):
    """Made only for a level without a clear condition: it clears when ``when`` no longer holds."""

    part: Condition


Condition = Compare | Stands | All | AnyOf | Not
Atom = Compare | Stands

_TOKEN = re.compile(
    r"\s*(?:(?P<paren>[()])|(?P<op><=|>=|==|!=|<|>)|(?P<div>/)(?!s)"
    r"|(?P<number>[+-]?\d+(?:\.\d+)?)\s*(?P<unit>%|/s|(?!(?:and|or)\b)[A-Za-z]+)?"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*))"
)
_MAX_LENGTH = 500


def parse(text: str) -> Condition:
    """The condition written in ``text``. Raises ValueError that says what is wrong and where."""
    return _parsed(text, _comparison)


def parse_states(text: str) -> Condition:
    """The condition on alert states written in ``text``. Raises ValueError as ``parse`` does."""
    return _parsed(text, _state)


def _parsed(text: str, atom: Callable[[_Reader], Atom]) -> Condition:
    if len(text) > _MAX_LENGTH:
        raise ValueError(f"a condition has at most {_MAX_LENGTH} characters")
    reader = _Reader(list(_tokens(text)), atom)
    condition = _expression(reader, 0)
    if reader.peek()[0]:
        raise ValueError(f"unexpected '{reader.peek()[1]}'; join comparisons with 'and' or 'or'")
    return condition


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    position = 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if match is None:
            raise ValueError(f"cannot read '{text[position:].strip()[:20]}'")
        position = match.end()
        kind = match.lastgroup or ""
        yield (
            ("number", f"{match['number']} {match['unit'] or ''}") if match["number"] else (kind, match[kind])
        )


class _Reader:
    """The tokens not yet read."""

    def __init__(self, tokens: list[tuple[str, str]], atom: Callable[[_Reader], Atom]) -> None:
        self._tokens = tokens[::-1]
        self.atom = atom
        """Reads what stands between 'and' and 'or'."""

    def peek(self) -> tuple[str, str]:
        return self._tokens[-1] if self._tokens else ("", "the end")

    def take(self, kind: str, wanted: str) -> str:
        found = self.peek()
        if found[0] != kind:
            raise ValueError(f"expected {wanted}, found '{found[1]}'")
        return self._tokens.pop()[1]


def _expression(reader: _Reader, depth: int) -> Condition:
    if depth > 8:
        raise ValueError("more than 8 parentheses deep")
    parts, joiner = [_atom(reader, depth)], ""
    while reader.peek() in (("name", "and"), ("name", "or")):
        word = reader.take("name", "'and' or 'or'")
        if joiner not in ("", word):
            raise ValueError("'and' and 'or' side by side: say with parentheses which belongs together")
        joiner = word
        parts.append(_atom(reader, depth))
    if not joiner:
        return parts[0]
    return All(tuple(parts)) if joiner == "and" else AnyOf(tuple(parts))


def _atom(reader: _Reader, depth: int) -> Condition:
    if reader.peek() == ("paren", "("):
        reader.take("paren", "'('")
        inside = _expression(reader, depth + 1)
        if reader.take("paren", "')'") != ")":
            raise ValueError("expected ')'")
        return inside
    return reader.atom(reader)


def _state(reader: _Reader) -> Stands:
    """``database`` or ``not database``."""
    wanted = reader.peek() != ("name", "not")
    if not wanted:
        reader.take("name", "'not'")
    term = reader.take("name", "the name of a state")
    if term in ("and", "or", "not"):
        raise ValueError(f"expected the name of a state, found '{term}'")
    return Stands(term, wanted)


def _comparison(reader: _Reader) -> Compare:
    term, divisor = reader.take("name", "the name of a value"), ""
    if reader.peek()[0] == "div":
        reader.take("div", "'/'")
        divisor = reader.take("name", "the name of a value to divide by")
    op = reader.take("op", "a comparison (<, <=, >, >=, ==, !=)")
    limit, unit = parse_quantity(reader.take("number", "a number with its unit").strip())
    return Compare(term, divisor, op, limit, unit)


def holds(condition: Condition, values: Values) -> bool | None:
    """Whether the condition is true in these values; None = cannot be known."""
    match condition:
        case Compare():
            value = value_of(condition, values)
            return None if value is None else OPERATORS[condition.op](value, condition.limit)
        case Stands(term, wanted):
            state = values.get(term)
            return None if state is None else bool(state) is wanted
        case All(parts):
            return _all([holds(part, values) for part in parts])
        case AnyOf(parts):
            return _negated(_all([_negated(holds(part, values)) for part in parts]))
        case Not(part):
            return _negated(holds(part, values))


def _all(results: list[bool | None]) -> bool | None:
    if False in results:
        return False
    return None if None in results else True


def _negated(result: bool | None) -> bool | None:
    return None if result is None else not result


def value_of(compare: Compare, values: Values) -> float | None:
    """What is compared; None when it, or what it is divided by, is missing (or the divisor is 0)."""
    value = values.get(compare.term)
    if not compare.divisor or value is None:
        return value
    divisor = values.get(compare.divisor)
    return value / divisor if divisor else None


def atoms(condition: Condition) -> Iterator[Atom]:
    """All comparisons (or states) of a condition, in reading order."""
    match condition:
        case Compare() | Stands():
            yield condition
        case All(parts) | AnyOf(parts):
            for part in parts:
                yield from atoms(part)
        case Not(part):
            yield from atoms(part)


def comparisons(condition: Condition) -> Iterator[Compare]:
    """All comparisons of a condition, in reading order."""
    return (atom for atom in atoms(condition) if isinstance(atom, Compare))


def terms(condition: Condition) -> set[str]:
    """Names of the values or states that a condition reads."""
    divisors = {c.divisor for c in comparisons(condition) if c.divisor}
    return {atom.term for atom in atoms(condition)} | divisors


def leading_value(condition: Condition, values: Values) -> tuple[float | None, str]:
    """The value to show for a condition, with its limit's unit: of its first comparison that holds, else of
    its first known one."""
    known = [(c, v) for c in comparisons(condition) if (v := value_of(c, values)) is not None]
    held = [(v, c.unit) for c, v in known if OPERATORS[c.op](v, c.limit)]
    return (*held, *((v, c.unit) for c, v in known), (None, ""))[0]


def explain(condition: Condition, values: Values, names: Mapping[str, str]) -> str:
    """The parts that hold, with their values: ``system.cpu.utilization 97 % > 95 %``."""
    held = [c for c in atoms(condition) if holds(c, values)]
    shown = held or [c for c in atoms(condition) if holds(c, values) is not None]
    return " and ".join(dict.fromkeys(_explain_one(c, values, names) for c in shown))


def _explain_one(compare: Atom, values: Values, names: Mapping[str, str]) -> str:
    if isinstance(compare, Stands):
        return names.get(compare.term, compare.term)
    value = value_of(compare, values)
    name = names.get(compare.term, compare.term)
    if compare.divisor:
        name = f"{name} / {names.get(compare.divisor, compare.divisor)}"
    limit = show(compare.limit, compare.unit)
    return f"{name} {show(value, compare.unit) if value is not None else '?'} {compare.op} {limit}"


def written(condition: Condition) -> str:
    """The condition as text that ``parse`` reads back."""
    match condition:
        case Compare():
            divisor = f" / {condition.divisor}" if condition.divisor else ""
            return f"{condition.term}{divisor} {condition.op} {show(condition.limit, condition.unit)}"
        case Stands(term, wanted):
            return term if wanted else f"not {term}"
        case All(parts):
            return " and ".join(_grouped(part) for part in parts)
        case AnyOf(parts):
            return " or ".join(_grouped(part) for part in parts)
        case Not(part):
            return f"not ({written(part)})"


def _grouped(condition: Condition) -> str:
    return written(condition) if isinstance(condition, Compare | Stands) else f"({written(condition)})"
