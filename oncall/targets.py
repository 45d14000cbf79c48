"""Who is to be reached at a step: the seam between the pager and the paging policies.

``Ladder`` asks the paging policy that the page request names, with the rota in force. Where there is none -
no rota saved, one that cannot be read or followed, a name it does not know - the persons of the settings are
rung one after the other: a fault in a document must not silence a page.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol

from psycopg import AsyncConnection

from oncall import policy, roster
from oncall.contacts import contact_step
from oncall.paging import Paging, Step, Target
from oncall.policy import PagingPolicy
from oncall.rota_file import BadRota, Rota
from oncall.settings import Settings, is_e164
from ticketing import published
from ticketing.published import Person

log = logging.getLogger(__name__)
Conn = AsyncConnection[tuple[Any, ...]]
_FRESH = timedelta(seconds=2)
"""A rota is read again after this, so that an override bites within seconds."""


class Targets(Protocol):
    """Answers who is next."""

    async def __call__(self, conn: Conn, paging: Paging, now: datetime) -> Step | None:
        """The step at the paging's position, resolved to persons at ``now``; None past the last one."""
        ...


class OrderedList:
    """One step per person: ``settings.persons`` in order, or everybody active who has a phone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    async def __call__(self, conn: Conn, paging: Paging, now: datetime) -> Step | None:
        if paging.audience == "customer":
            return await contact_step(conn, paging, self._settings)
        return nth(await published.people(conn), paging.position.step, self._settings)


def nth(
    people: Sequence[Person],
    step: int,
    settings: Settings,
    why: str = "on the list",
    keys: Sequence[str] | None = None,
) -> Step | None:
    """The n-th person with a usable number, of ``keys`` (the settings' persons; empty: everybody)."""
    wanted = settings.persons if keys is None else keys
    reachable = [
        person
        for person in _in_order(people, wanted, settings.synthetic_person)
        if is_e164(person.phone or "")
    ]
    if not 0 <= step < len(reachable):
        return None
    person = reachable[step]
    target = Target(person.person_id, person.name, person.phone or "", "voice", settings.ring_s)
    reason = f"{person.name} is number {step + 1} of {len(reachable)} {why}"
    return Step((target,), settings.calls_per_step, None, reason)


def _in_order(people: Sequence[Person], keys: Sequence[str], automatic: str) -> list[Person]:
    """Without the automatic callee: it would answer for everybody."""
    active = {p.key: p for p in people if p.active and p.key != automatic}
    if keys:
        return [active[key] for key in keys if key in active]
    return sorted(active.values(), key=lambda person: person.person_id)


class Ladder:
    """The named paging policy, with whom the rota in force says is on call now."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rota: Rota | None = None
        self._read_at: datetime | None = None

    async def __call__(self, conn: Conn, paging: Paging, now: datetime) -> Step | None:
        if paging.audience == "customer":
            return await contact_step(conn, paging, self._settings)
        await self._refresh(conn, now)
        people = await published.people(conn)
        ladder = roster.policy_named(self._rota, paging.policy) if self._rota else None
        if self._rota is None or ladder is None:
            why = f"on the list (no paging policy '{paging.policy}' is saved)"
            return nth(people, paging.position.step, self._settings, why)
        try:
            return step_of(self._rota, ladder, paging, people, self._settings, now)
        except Exception as fault:
            # Whatever it is (a time zone that this machine does not know), it would come again at every look.
            log.critical("the rota's step cannot be told, the settings' list is rung instead: %r", fault)
            return nth(
                people, paging.position.step, self._settings, f"on the list (a fault in the rota: {fault})"
            )

    async def _refresh(self, conn: Conn, now: datetime) -> None:
        if self._read_at is not None and self._read_at <= now < self._read_at + _FRESH:
            return
        try:
            stored = await roster.load(conn, now)
        except BadRota as fault:
            log.critical("the rota in force cannot be read, the settings' list is rung instead: %s", fault)
            stored = None
        self._rota, self._read_at = (stored.rota if stored else None), now


def step_of(
    rota: Rota,
    ladder: PagingPolicy,
    paging: Paging,
    people: Sequence[Person],
    settings: Settings,
    now: datetime,
) -> Step | None:
    """The ladder's step; from the second round on a last resort follows: those whom the settings name,
    else all who hold the role on-call, else everybody with a phone. A policy that names nobody who answers
    - people who left, a rota with a hole - must not let a critical ticket ring the same silence for ever."""
    step, _, round_ = paging.position
    if step < len(ladder.steps):
        by_key = {person.key: person for person in people if person.active}
        return resolve(rota, ladder, step, round_, by_key, now)
    if round_ == 1:
        return None
    why = "of the last resort: nobody of the policy answered"
    return nth(people, step - len(ladder.steps), settings, why, settings.persons or _on_call(people))


def _on_call(people: Sequence[Person]) -> list[str]:
    holders = [p for p in people if any(held.role == "on-call" for held in p.roles)]
    return [p.key for p in holders if p.active and is_e164(p.phone or "")]


def resolve(
    rota: Rota,
    ladder: PagingPolicy,
    step: int,
    round: int,
    people: Mapping[str, Person],
    now: datetime,
) -> Step:
    """One step of the ladder, as persons with their addresses and the reasons for it."""
    decision = policy.decide(ladder, step, round, roster.who_is_on(rota, now), now)
    named = [_target(people[t.person_key], t) for t in decision.targets if t.person_key in people]
    rung = ladder.steps[step]
    skipped = "".join(f"; not {s.who}: {s.reason}" for s in decision.skipped)
    why = f"step {step + 1} of '{ladder.name}': {_whom(rung)}{skipped}"
    return Step(tuple(target for target in named if target), 1, float(rung.wait_s), why)


def _target(person: Person, wanted: policy.Target) -> Target | None:
    address = {"email": person.email, "webhook": person.key}.get(wanted.transport, person.phone)
    if not address or (wanted.transport in ("voice", "sms") and not is_e164(address)):
        return None
    return Target(person.person_id, person.name, address, wanted.transport, wanted.ring_s)


def _whom(rung: policy.Step) -> str:
    return " and ".join(f"{selector.kind} {selector.name}" for selector in rung.who)
