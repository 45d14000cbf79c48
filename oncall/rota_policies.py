"""Reading the ``policies`` of a rota file (see ``oncall.rota_file`` for the whole form)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from oncall import rota_terms as terms
from oncall.document import Cursor
from oncall.policy import (
    ENGLISH,
    RINGS,
    TRANSPORTS,
    Hours,
    PagingPolicy,
    Selector,
    Step,
    Transport,
    When,
)
from oncall.policy_check import contract_faults
from oncall.schedule import Schedule

_KINDS = ("schedule", "person", "role")
_LEAST_RING_S, _MOST_RING_S = 5, 600


def policies(
    cursor: Cursor | None,
    hours: Mapping[str, Hours],
    person: Callable[[str], str],
    schedules: Mapping[str, Schedule],
) -> dict[str, PagingPolicy]:
    """The policies by name; ``person`` checks a person's key. Faults are noted on the cursor."""
    found: dict[str, PagingPolicy] = {}
    for key, entry in cursor.entries() if cursor else ():
        policy = _policy(key, entry, hours, person, schedules)
        if policy:
            found[key] = policy
    return found


def _policy(
    key: str,
    entry: Cursor,
    hours: Mapping[str, Hours],
    person: Callable[[str], str],
    schedules: Mapping[str, Schedule],
) -> PagingPolicy | None:
    fields = entry.fields(["steps"], ["hours", "covers", "language", "rounds"])
    steps: list[Step] = []
    for one in fields["steps"].items() if "steps" in fields else ():
        read = _step(one, person, schedules)
        _note(one, read, "hours" in fields)
        steps += _attempts(one, read) if read else []
    if "steps" in fields and not fields["steps"].items():
        fields["steps"].fault("a policy needs at least one step")
    try:
        terms.name(key)
    except ValueError as error:
        entry.fault(str(error))
    return _assembled(key, fields, hours, tuple(steps)) if steps else None


def _assembled(
    key: str, fields: Mapping[str, Cursor], hours: Mapping[str, Hours], steps: tuple[Step, ...]
) -> PagingPolicy:
    language = fields["language"].text() if "language" in fields else ENGLISH
    rounds = fields["rounds"].read(terms.count) if "rounds" in fields else None
    return PagingPolicy(
        key,
        steps,
        rounds or 3,
        named_hours(fields.get("hours"), hours),
        None if language == "any" else language,
        named_hours(fields.get("covers"), hours, always=True),
    )


def named_hours(cursor: Cursor | None, hours: Mapping[str, Hours], *, always: bool = False) -> Hours | None:
    """The hours that a field names; with ``always`` also that word, as None."""
    text = cursor.text() if cursor else None
    if cursor is None or text is None or (always and text == "always"):
        return None
    if text not in hours:
        cursor.fault(f"there are no hours '{text}' in this file; there are: {', '.join(hours) or 'none'}")
    return hours.get(text)


def _note(cursor: Cursor, step: Step | None, has_hours: bool) -> None:
    """Faults of a step that reads well but cannot stand."""
    if step is None:
        return
    if step.when is not When.ALWAYS and not has_hours:
        cursor.fault(f"'when: {step.when}' needs the policy's 'hours'")
    if RINGS.intersection(step.how) and step.ring_s > step.wait_s:
        cursor.fault(f"it rings for {step.ring_s} s but waits only {step.wait_s} s")
    for _, message in contract_faults(PagingPolicy("", (step,))):
        cursor.fault(message)


def _step(cursor: Cursor, person: Callable[[str], str], schedules: Mapping[str, Schedule]) -> Step | None:
    fields = cursor.fields(["who", "how", "wait"], ["ring", "attempts", "when"])
    whom = _selectors(fields.get("who"), person, schedules)
    how = [one.read(_transport) for one in fields["how"].items()] if "how" in fields else []
    wait_s = fields["wait"].read(terms.seconds) if "wait" in fields else None
    ring_s = fields["ring"].read(_ring) if "ring" in fields else 40
    when = fields["when"].read(_when) if "when" in fields else When.ALWAYS
    if "how" in fields and not how:
        fields["how"].fault(f"a step needs a transport: {', '.join(TRANSPORTS)}")
    if not whom or not how or None in how or wait_s is None or ring_s is None or when is None:
        return None
    return Step(tuple(whom), tuple(dict.fromkeys(one for one in how if one)), wait_s, ring_s, when)


def _attempts(cursor: Cursor, step: Step) -> list[Step]:
    fields = dict(cursor.entries())
    times = (fields["attempts"].read(terms.count) if "attempts" in fields else 1) or 1
    return [Step(step.who, step.how, step.wait_s, step.ring_s, step.when, n + 1, times) for n in range(times)]


def _selectors(
    cursor: Cursor | None, person: Callable[[str], str], schedules: Mapping[str, Schedule]
) -> list[Selector]:
    found: list[Selector] = []
    for one in cursor.items() if cursor else ():
        fields = one.fields([], [*_KINDS, "theatre"])
        kinds = [kind for kind in _KINDS if kind in fields]
        if len(kinds) != 1:
            one.fault(f"exactly one of {', '.join(_KINDS)} is needed")
            continue
        found += _selector(kinds[0], fields, person, schedules)
    if cursor and not cursor.items():
        cursor.fault("a step needs somebody: schedule, person or role")
    return found


def _selector(
    kind: str, fields: Mapping[str, Cursor], person: Callable[[str], str], schedules: Mapping[str, Schedule]
) -> Iterable[Selector]:
    if "theatre" in fields and kind != "role":
        fields["theatre"].fault("only a role has a theatre")
    name = fields[kind].read(person if kind == "person" else terms.name)
    if name is None:
        return
    if kind == "schedule":
        if name not in schedules:
            fields[kind].fault(f"there is no schedule '{name}' in this file")
        yield Selector("schedule", name)
    elif kind == "person":
        yield Selector("person", name)
    else:
        theatre = fields["theatre"].read(terms.name) if "theatre" in fields else None
        yield Selector("role", name, theatre)


def _transport(text: str) -> Transport:
    for transport in TRANSPORTS:
        if text == transport:
            return transport
    raise ValueError(f"'{text}' is no transport: {', '.join(TRANSPORTS)}")


def _ring(text: str) -> int:
    found = terms.seconds(text)
    if not _LEAST_RING_S <= found <= _MOST_RING_S:
        raise ValueError(f"a phone rings for {_LEAST_RING_S} to {_MOST_RING_S} seconds, not {found}")
    return found


def _when(text: str) -> When:
    try:
        return When(text)
    except ValueError:
        raise ValueError(f"'{text}' is none of: {', '.join(When)}") from None
