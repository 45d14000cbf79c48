"""Who is to be reached at a step: the seam between the pager and the paging policies.

``OrderedList`` is the plainest answer: the persons named in the settings, one per step. ``RotaTargets`` asks
the paging policy that the page request names and the rota at that moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from psycopg import AsyncConnection

from oncall import policy, rota_file, schedule
from oncall.paging import Paging, Step, Target
from oncall.rota_file import Rota
from oncall.settings import Settings, is_e164
from ticketing import published
from ticketing.published import Person

Conn = AsyncConnection[tuple[Any, ...]]


class Targets(Protocol):
    """Answers who is next."""

    async def __call__(self, conn: Conn, paging: Paging, now: datetime) -> Step | None:
        """The step at the paging's position, resolved to persons at ``now``; None past the last one."""
        ...


def configured(settings: Settings) -> Targets:
    """What the settings ask for."""
    if not settings.rota_file:
        return OrderedList(settings)
    return RotaTargets(rota_file.parse(Path(settings.rota_file).read_text(encoding="utf-8")), settings)


class OrderedList:
    """One step per person: ``settings.persons`` in order, or everybody active who has a phone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, conn: Conn, paging: Paging, now: datetime) -> Step | None:
        return nth(await published.people(conn), paging.position.step, self._settings)


def nth(people: Sequence[Person], step: int, settings: Settings) -> Step | None:
    """The n-th person with a usable number."""
    reachable = [person for person in _in_order(people, settings.persons) if is_e164(person.phone or "")]
    if step >= len(reachable):
        return None
    person = reachable[step]
    target = Target(person.person_id, person.name, person.phone or "", "voice", settings.ring_s)
    why = f"{person.name} is number {step + 1} of {len(reachable)} on the list"
    return Step((target,), settings.calls_per_step, None, why)


def _in_order(people: Sequence[Person], keys: Sequence[str]) -> list[Person]:
    active = {person.key: person for person in people if person.active}
    if keys:
        return [active[key] for key in keys if key in active]
    return sorted(active.values(), key=lambda person: person.person_id)


class RotaTargets:
    """The named paging policy's ladder, with whom the rota says is on call now."""

    def __init__(self, rota: Rota, settings: Settings) -> None:
        self._rota = rota
        self._settings = settings
        self._fallback = OrderedList(settings)

    async def __call__(self, conn: Conn, paging: Paging, now: datetime) -> Step | None:
        ladder = self._rota.policies.get(paging.policy)
        if ladder is None:
            # A name that the rota does not know must not silence a page: everybody in turn.
            return await self._fallback(conn, paging, now)
        if paging.position.step >= len(ladder.steps):
            return None
        people = {p.key: p for p in await published.people(conn) if p.active}
        return resolve(self._rota, ladder, paging.position.step, paging.position.round, people, now)


def resolve(
    rota: Rota,
    ladder: policy.PagingPolicy,
    step: int,
    round: int,
    people: Mapping[str, Person],
    now: datetime,
) -> Step:
    """One step of the ladder, as persons with their addresses and the reasons for it."""
    on_now = {name: tuple(o.person_key for o in schedule.who(s, now)) for name, s in rota.schedules.items()}
    callees = {key: callee for key, callee in rota.people.items() if key in people}
    decision = policy.decide(ladder, step, round, policy.WhoIsOn(on_now, callees), now)
    named = [_target(people[t.person_key], t) for t in decision.targets]
    targets = tuple(target for target in named if target is not None)
    rung = ladder.steps[step]
    skipped = "".join(f"; not {s.who}: {s.reason}" for s in decision.skipped)
    why = f"step {step + 1} of '{ladder.name}': {_whom(rung)}{skipped}"
    return Step(targets, 1, float(rung.wait_s), why)


def _target(person: Person, wanted: policy.Target) -> Target | None:
    address = (person.email if wanted.transport == "email" else person.phone) or ""
    if wanted.transport in ("voice", "sms") and not is_e164(address):
        return None
    return Target(person.person_id, person.name, address, wanted.transport, wanted.ring_s)


def _whom(rung: policy.Step) -> str:
    return " and ".join(f"{selector.kind} {selector.name}" for selector in rung.who)
