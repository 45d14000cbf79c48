"""The rota file: people, hours, schedules, absences and paging policies, declared in YAML.

zone: Europe/Rome                     # of whatever does not name its own
people:                               # optional; if given, everybody must stand in it
  anna: {name: Anna B., zone: Europe/Rome, phone: "+39058412345", email: a@example.com,
         languages: [en, it], roles: [technician, {role: rnd, theatre: europe}], quiet: 22:00-07:00}
hours:
  europe: {zone: Europe/Rome, open: mon-fri 09:00-18:00, holidays: IT}
schedules:
  primary:
    covers: always                    # always (default), none, or the name of hours
    layers:                           # from the lowest to the highest
      - {name: week, people: [anna, [bruno, chiara]], starts: 2026-01-05 09:00, every: week,
         only: [mon-fri 18:00-09:00, fri 18:00 - mon 09:00], since: 2026-01-01, until: 2027-01-01, cover: yes}
    overrides: [{person: anna, instead_of: bruno, from: 2026-12-24 18:00, to: 2026-12-25 09:00, reason: x}]
    swaps: [{between: [anna, bruno], first: [2026-02-02, 2026-02-08], second: [2026-02-09, 2026-02-15]}]
absences:
  - {person: bruno, from: 2026-08-03, to: 2026-08-14, reason: holiday}   # a bare date as 'to' is included
  - {person: chiara, calendar: chiara.ics}                               # a file beside this one
policies:
  platinum-p1:
    {hours: europe, covers: always, language: en, rounds: 3, steps: [
      {who: {schedule: primary}, how: [voice, sms], ring: 40s, wait: 5m, attempts: 2, when: always}]}

BadRota   the file is refused; ``faults`` holds every fault with its line and field
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import partial

import msgspec

from oncall import rota_terms as terms
from oncall.document import Cursor, Fault, open_document
from oncall.errors import OncallError
from oncall.policy import TRANSPORTS, Callee, Hours, PagingPolicy, RoleHeld, Transport
from oncall.rota_policies import named_hours, policies
from oncall.rotation import Rotation
from oncall.schedule import Absence, Layer, Override, Schedule
from oncall.settings import is_e164
from oncall.wall import ALWAYS, EARLIEST, LATEST, Window


class BadRota(OncallError):
    """The rota is refused; the message lists every fault, one per line."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(sorted(set(faults)))
        super().__init__("\n".join(str(fault) for fault in self.faults))


class CalendarRef(msgspec.Struct, frozen=True):
    """An absence calendar (RFC 5545) that stands in a file of its own."""

    person_key: str
    path: str
    """Relative to the rota file."""
    line: int


class Rota(msgspec.Struct, frozen=True):
    """Everything a rota file says."""

    zone: str
    people: Mapping[str, Callee]
    """Everybody named; where the file has no ``people``, with nothing but the key."""
    declared: bool
    """Whether the file has ``people``."""
    names: Mapping[str, str]
    """Person key -> name to show, where the file gives one."""
    schedules: Mapping[str, Schedule]
    covers: Mapping[str, Hours | None]
    """Schedule -> hours in which it must have somebody (None: always); not in it: never checked."""
    policies: Mapping[str, PagingPolicy]
    calendars: tuple[CalendarRef, ...]


def parse(text: str) -> Rota:
    """The rota that ``text`` declares. Raises BadRota with all faults."""
    root, faults = open_document(text)
    rota = _rota(root) if root is not None else None
    if faults or rota is None:
        raise BadRota(faults)
    return rota


def with_absences(rota: Rota, absences: Iterable[Absence]) -> Rota:
    """The rota with more absences, in all its schedules."""
    more = tuple(absences)
    schedules = {
        name: msgspec.structs.replace(schedule, absences=schedule.absences + more)
        for name, schedule in rota.schedules.items()
    }
    return msgspec.structs.replace(rota, schedules=schedules)


def _rota(root: Cursor) -> Rota:
    fields = root.fields(["zone", "schedules"], ["people", "hours", "absences", "policies"])
    zone = (fields["zone"].read(terms.zone) if "zone" in fields else None) or "UTC"
    callees, names = _people(fields.get("people"), zone)
    hours = _hours(fields.get("hours"), zone)
    scope = _Scope(zone, callees if "people" in fields else None, hours)
    absences, calendars = _absences(fields.get("absences"), scope)
    schedules, covers = _schedules(fields.get("schedules"), scope, absences)
    ladders = policies(fields.get("policies"), hours, scope.person, schedules)
    everybody = {key: callees.get(key, Callee(key, zone)) for key in sorted({*callees, *scope.seen})}
    return Rota(zone, everybody, "people" in fields, names, schedules, covers, ladders, calendars)


class _Scope:
    """What names may be used, and the people seen so far."""

    def __init__(self, zone: str, people: Mapping[str, Callee] | None, hours: Mapping[str, Hours]) -> None:
        self.zone = zone
        self.people = people
        self.hours = hours
        self.seen: set[str] = set()

    def person(self, text: str) -> str:
        key = terms.name(text)
        if self.people is not None and key not in self.people:
            raise ValueError(f"'{key}' is not among the people of this file")
        self.seen.add(key)
        return key

    def zone_of(self, key: str | None) -> str:
        return self.people[key].zone if key and self.people and key in self.people else self.zone


def _people(cursor: Cursor | None, zone: str) -> tuple[dict[str, Callee], dict[str, str]]:
    callees: dict[str, Callee] = {}
    names: dict[str, str] = {}
    for key, entry in cursor.entries() if cursor else ():
        _checked_name(entry, key)
        known = entry.fields([], ["name", "zone", "phone", "email", "languages", "roles", "quiet"])
        callees[key] = _callee(key, known, zone)
        shown = known["name"].text() if "name" in known else None
        names[key] = shown or key
    return callees, names


def _callee(key: str, fields: Mapping[str, Cursor], zone: str) -> Callee:
    def texts(field: str) -> list[str]:
        found = fields[field].items() if field in fields else []
        return [text for one in found if (text := one.text())]

    return Callee(
        key,
        (fields["zone"].read(terms.zone) if "zone" in fields else None) or zone,
        tuple(texts("languages")) or ("en",),
        tuple(_role(one) for one in (fields["roles"].items() if "roles" in fields else [])),
        _transports(fields),
        _windows(fields.get("quiet"), ()),
    )


def _transports(fields: Mapping[str, Cursor]) -> frozenset[Transport]:
    """What the addresses allow; a person without any listed address counts as reachable by webhook only."""
    phone = fields["phone"].read(_phone) if "phone" in fields else None
    email = fields["email"].text() if "email" in fields else None
    have = {"voice": phone, "sms": phone, "email": email, "webhook": True}
    return frozenset(transport for transport in TRANSPORTS if have[transport])


def _phone(text: str) -> str:
    if not is_e164(text):
        raise ValueError(f"'{text}' is no E.164 number, as in \"+390584943232\"")
    return text


def _role(cursor: Cursor) -> RoleHeld:
    if not cursor.is_mapping:
        return RoleHeld(cursor.read(terms.name) or "")
    fields = cursor.fields(["role"], ["theatre"])
    role = fields["role"].read(terms.name) if "role" in fields else None
    theatre = fields["theatre"].read(terms.name) if "theatre" in fields else None
    return RoleHeld(role or "", theatre)


def _hours(cursor: Cursor | None, zone: str) -> dict[str, Hours]:
    found: dict[str, Hours] = {}
    for key, entry in cursor.entries() if cursor else ():
        _checked_name(entry, key)
        fields = entry.fields(["open"], ["zone", "holidays"])
        own = fields["zone"].read(terms.zone) if "zone" in fields else None
        closed = fields["holidays"].read(terms.holidays_of) if "holidays" in fields else None
        found[key] = Hours(own or zone, _windows(fields.get("open"), ALWAYS), closed or frozenset())
    return found


def _windows(cursor: Cursor | None, default: tuple[Window, ...]) -> tuple[Window, ...]:
    if cursor is None:
        return default
    found = [one.read(terms.windows) or () for one in cursor.items()]
    if not found:
        cursor.fault("at least one window is needed")
    return tuple(sorted({window for of_one in found for window in of_one}))


def _schedules(
    cursor: Cursor | None, scope: _Scope, absences: tuple[Absence, ...]
) -> tuple[dict[str, Schedule], dict[str, Hours | None]]:
    schedules: dict[str, Schedule] = {}
    covers: dict[str, Hours | None] = {}
    for key, entry in cursor.entries() if cursor else ():
        _checked_name(entry, key)
        fields = entry.fields(["layers"], ["zone", "covers", "overrides", "swaps"])
        zone = (fields["zone"].read(terms.zone) if "zone" in fields else None) or scope.zone
        layers = tuple(_layers(fields.get("layers"), scope, zone))
        made = (
            *_overrides(fields.get("overrides"), scope, zone, key),
            *_swaps(fields.get("swaps"), scope, zone, key),
        )
        schedules[key] = Schedule(key, zone, layers, made, absences)
        checked = fields.get("covers")
        if checked is None or checked.text() != "none":
            covers[key] = named_hours(checked, scope.hours, always=True)
    return schedules, covers


def _layers(cursor: Cursor | None, scope: _Scope, zone: str) -> Iterable[Layer]:
    used: set[str] = set()
    for entry in cursor.items() if cursor else ():
        fields = entry.fields(
            ["name", "people", "starts", "every"], ["zone", "only", "since", "until", "cover"]
        )
        layer = _layer(entry, fields, scope, zone)
        if layer and layer.name in used:
            entry.fault(f"there is already a layer '{layer.name}' in this schedule")
        if layer:
            used.add(layer.name)
            yield layer
    if cursor and not cursor.items():
        cursor.fault("a schedule needs at least one layer")


def _layer(entry: Cursor, fields: Mapping[str, Cursor], scope: _Scope, zone: str) -> Layer | None:
    own = (fields["zone"].read(terms.zone) if "zone" in fields else None) or zone
    name = fields["name"].read(terms.name) if "name" in fields else None
    turns = _turns(fields.get("people"), scope)
    starts = fields["starts"].read(terms.wall) if "starts" in fields else None
    every = fields["every"].read(terms.every_hours) if "every" in fields else None
    only = _windows(fields.get("only"), ALWAYS)
    since = _bound(fields.get("since"), own, EARLIEST)
    until = _bound(fields.get("until"), own, LATEST)
    cover = fields["cover"].read(terms.yes_no) if "cover" in fields else False
    if since >= until:
        entry.fault("'since' must be before 'until'")
    if name == "override":
        entry.fault("'override' is not free as a layer's name: overrides are shown under it")
    if name is None or not turns or starts is None or every is None:
        return None
    return Layer(name, Rotation(turns, starts, every, own), only, since, until, bool(cover))


def _bound(cursor: Cursor | None, zone: str, default: datetime) -> datetime:
    return (cursor.read(partial(terms.moment, zone=zone)) if cursor else None) or default


def _turns(cursor: Cursor | None, scope: _Scope) -> tuple[tuple[str, ...], ...]:
    if cursor is None:
        return ()
    turns = [tuple(key for one in turn.items() if (key := one.read(scope.person))) for turn in cursor.items()]
    if not cursor.items() or any(not turn.items() for turn in cursor.items()):
        cursor.fault("people are needed: a list of keys, or of lists of keys who take a turn together")
    return tuple(turn for turn in turns if turn)


def _overrides(cursor: Cursor | None, scope: _Scope, zone: str, schedule: str) -> Iterable[Override]:
    for number, entry in enumerate(cursor.items() if cursor else ()):
        fields = entry.fields(["person", "from", "to"], ["instead_of", "reason"])
        person = fields["person"].read(scope.person) if "person" in fields else None
        instead = fields["instead_of"].read(scope.person) if "instead_of" in fields else None
        span = _span(entry, fields.get("from"), fields.get("to"), zone)
        if person and person == instead:
            entry.fault("'person' and 'instead_of' are the same")
        if person and span:
            reason = fields["reason"].text() if "reason" in fields else None
            yield Override(f"{schedule}-override-{number + 1}", person, *span, instead, reason or "")


def _swaps(cursor: Cursor | None, scope: _Scope, zone: str, schedule: str) -> Iterable[Override]:
    """Each swap as two replacements: of the first of the two in ``first``, of the other in ``second``."""
    for number, entry in enumerate(cursor.items() if cursor else ()):
        fields = entry.fields(["between", "first", "second"], ["reason"])
        pair = [one.read(scope.person) for one in fields["between"].items()] if "between" in fields else []
        first, second = (
            _pair(fields[half], zone) if half in fields else None for half in ("first", "second")
        )
        reason = (fields["reason"].text() if "reason" in fields else None) or "swap"
        if len(set(pair)) != 2 or len(pair) != 2:
            entry.fault("'between' needs two different people")
            continue
        one, other = pair
        if one and other and first and second:
            stem = f"{schedule}-swap-{number + 1}"
            yield Override(f"{stem}-1", other, *first, one, reason)
            yield Override(f"{stem}-2", one, *second, other, reason)


def _pair(cursor: Cursor, zone: str) -> tuple[datetime, datetime] | None:
    both = cursor.items()
    if len(both) != 2:
        cursor.fault("two times are needed: [from, to]")
        return None
    return _span(cursor, both[0], both[1], zone)


def _span(
    entry: Cursor, first: Cursor | None, last: Cursor | None, zone: str
) -> tuple[datetime, datetime] | None:
    start = first.read(partial(terms.moment, zone=zone)) if first else None
    end = last.read(partial(terms.moment, zone=zone, last=True)) if last else None
    if start is None or end is None:
        return None
    if start >= end:
        entry.fault("it ends before it begins")
        return None
    return start, end


def _absences(cursor: Cursor | None, scope: _Scope) -> tuple[tuple[Absence, ...], tuple[CalendarRef, ...]]:
    away: list[Absence] = []
    calendars: list[CalendarRef] = []
    for entry in cursor.items() if cursor else ():
        fields = entry.fields(["person"], ["from", "to", "calendar", "reason"])
        person = fields["person"].read(scope.person) if "person" in fields else None
        if ("calendar" in fields) == ("from" in fields) or ("from" in fields) != ("to" in fields):
            entry.fault("either 'from' and 'to' or 'calendar' is needed")
            continue
        if "calendar" in fields:
            path = fields["calendar"].text()
            calendars += [CalendarRef(person, path, entry.line)] if person and path else []
            continue
        span = _span(entry, fields.get("from"), fields.get("to"), scope.zone_of(person))
        reason = fields["reason"].text() if "reason" in fields else None
        away += [Absence(person, *span, reason or "")] if person and span else []
    return tuple(away), tuple(calendars)


def _checked_name(cursor: Cursor, key: str) -> None:
    try:
        terms.name(key)
    except ValueError as error:
        cursor.fault(str(error))
