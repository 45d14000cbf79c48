"""A support contract and the time that it covers. Pure.

All dates are local dates of the deployment; ``end`` and ``until`` are the last day covered, so a plan of one
year from 1 July covers until 30 June. A document holds what is known: a renewal that is not recorded does not
count, and one that is recorded counts from the day that the guide gives it, backwards too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Literal

import msgspec

from ticketing.errors import ContractError
from ticketing.policy import Licence, Release
from ticketing.reason import Reason
from ticketing.releases import release_for

_DAY = timedelta(days=1)
_LAST = date(2199, 12, 31)


class Renewal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A recorded renewal."""

    ordered: date
    """Date of the renewal order."""
    until: date | None = None
    """Last day covered after it; None: ``years`` from where it starts."""
    years: int | None = None
    """Length where ``until`` is not given; None: the licence's minimum."""
    plan: str | None = None
    """The plan from then on; None: as before."""


class PlanChange(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An upgrade or downgrade during the contract."""

    at: datetime
    plan: str


class Contract(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one deployment bought."""

    plan: str | None = None
    """None: nothing was ordered; the plan included with the licence kind, if any."""
    start: date | None = None
    """First day covered; None: not specified by the order, it starts at ``registered``."""
    end: date | None = None
    """Last day covered by the first period; None: ``years`` from its start."""
    registered: date | None = None
    """Day of the product's registration; None: not registered."""
    years: int | None = None
    """Length of the first and of every automatic period; None: the licence's minimum."""
    autorenew: bool = False
    """Cover continues by itself from the old expiry (licence kinds that the policy names)."""
    renewals: tuple[Renewal, ...] = ()
    plan_changes: tuple[PlanChange, ...] = ()
    unpaid: bool = False
    """Tickets are held (§14)."""
    excluded: str | None = None
    """Why the customer is excluded by conduct (§15): tickets are held; None: it is not."""


class Period(msgspec.Struct, frozen=True):
    """A stretch of cover that was bought or renewed at once."""

    first: date
    last: date
    """Last day covered."""
    plan: str
    agreed: date
    """When it was agreed: decides the policy release (start, renewal order, automatic renewal)."""
    basis: Reason


Status = Literal["covered", "not-started", "not-registered", "lapsed", "none"]


class Cover(msgspec.Struct, frozen=True):
    """Whether a contract covers an instant, and why."""

    status: Status
    plan: str | None
    """The plan in force, or the one that lapsed; None: there never was one."""
    period: Period | None
    """The period that covers it, or the last one before."""
    reasons: tuple[Reason, ...]


def cover(contract: Contract | None, rules: Licence, at: datetime, on: date) -> Cover:
    """Whether ``at`` (local date ``on``) is covered. Raises ContractError for a contradictory document."""
    if contract is None:
        return Cover("none", None, None, (Reason("no-contract", {}, "§7"),))
    if contract.start is None and contract.registered is None:
        return Cover("not-registered", contract.plan, None, (Reason("not-registered", {}, "§8.1.3"),))
    found = list(periods(contract, rules, on))
    current = [p for p in found if p.first <= on <= p.last]
    if current:
        return _covered(contract, rules, at, current[-1])
    before = [p for p in found if p.last < on]
    if not before:
        params = {"first_on": found[0].first.isoformat()}
        return Cover("not-started", found[0].plan, None, (Reason("not-started", params, rules.section),))
    return _lapsed(contract, rules, before[-1], on)


def _covered(contract: Contract, rules: Licence, at: datetime, period: Period) -> Cover:
    plan, why = period.plan, [period.basis]
    for change in sorted(contract.plan_changes, key=lambda c: c.at):
        if change.at <= at and change.at.date() >= period.first:
            plan = change.plan
            why.append(Reason("plan-changed", {"plan": plan, "changed_at": change.at.isoformat()}))
    params = {"plan": plan, "licence": rules.name, "until_on": period.last.isoformat()}
    return Cover("covered", plan, period, (Reason("covered", params, rules.section), *why))


def _lapsed(contract: Contract, rules: Licence, period: Period, on: date) -> Cover:
    params = {"expired_on": period.last.isoformat(), "days": (on - period.last).days}
    why = [Reason("lapsed", params, rules.section)]
    if rules.renewal_from == "grace" and in_grace(rules, period.last, on):
        last = period.last + timedelta(days=rules.grace_days - (not rules.grace_includes_last_day))
        why.append(Reason("grace-open", {"until_on": last.isoformat()}, rules.section))
    if contract.autorenew and not rules.autorenew:
        why.append(Reason("no-autorenew", {"licence": rules.name}, rules.section))
    return Cover("lapsed", period.plan, period, tuple(why))


def in_grace(rules: Licence, expired: date, ordered: date) -> bool:
    """Whether an order still continues cover from the old expiry."""
    days = (ordered - expired).days
    return days <= rules.grace_days if rules.grace_includes_last_day else days < rules.grace_days


def periods(contract: Contract, rules: Licence, on: date) -> Iterator[Period]:
    """The periods of a contract in order; automatic renewals up to the one that covers ``on``."""
    period = _first(contract, rules)
    yield period
    for renewal in sorted(contract.renewals, key=lambda r: r.ordered):
        period = _renewed(contract, rules, period, renewal)
        yield period
    if contract.autorenew and rules.autorenew:
        while period.last < on:
            period = _automatic(contract, rules, period)
            yield period


def _first(contract: Contract, rules: Licence) -> Period:
    first = contract.start or contract.registered
    assert first is not None, "cover asks first"
    plan, years = contract.plan, contract.years or rules.minimum_years
    params = {"first_on": first.isoformat()}
    if plan is None and rules.included is not None:
        plan, years = rules.included.plan, rules.included.years
        basis = Reason("plan-included", params | {"plan": plan, "years": years}, "§8.1.1")
    elif contract.start is None:
        basis = Reason("starts-at-registration", params, "§8.1.3")
    else:
        basis = Reason("starts-at-start", params, rules.section)
    if plan is None:
        raise ContractError(f"the contract names no plan, and a {rules.name} licence includes none")
    last = contract.end or end_after(first, years)
    if last < first:
        raise ContractError(f"the contract ends ({last}) before it starts ({first})")
    return Period(first, last, plan, first, basis)


def _renewed(contract: Contract, rules: Licence, old: Period, renewal: Renewal) -> Period:
    params = {"ordered_on": renewal.ordered.isoformat(), "expired_on": old.last.isoformat()}
    days = (renewal.ordered - old.last).days
    if rules.renewal_from == "expiry":
        first, code = old.last + _DAY, "renewed-from-expiry"
    elif days <= 0:
        first, code = old.last + _DAY, "renewed-active"
    elif in_grace(rules, old.last, renewal.ordered):
        first, code = old.last + _DAY, "renewed-in-grace"
    else:
        first, code = renewal.ordered, "renewed-late"
    basis = Reason(code, params | {"days": days, "grace_days": rules.grace_days}, rules.section)
    last = renewal.until or end_after(first, renewal.years or rules.minimum_years)
    if last < first:
        raise ContractError(f"the renewal ordered {renewal.ordered} ends ({last}) before it starts ({first})")
    plan = renewal.plan or _plan_at_end(contract, old)
    return Period(first, last, plan, renewal.ordered, basis)


def _automatic(contract: Contract, rules: Licence, old: Period) -> Period:
    first = old.last + _DAY
    if first > _LAST:
        raise ContractError(f"the contract renews by itself beyond {_LAST}")
    basis = Reason("renewed-automatically", {"expired_on": old.last.isoformat()}, rules.section)
    last = end_after(first, contract.years or rules.minimum_years)
    return Period(first, last, _plan_at_end(contract, old), first, basis)


def _plan_at_end(contract: Contract, period: Period) -> str:
    plan = period.plan
    for change in sorted(contract.plan_changes, key=lambda c: c.at):
        if period.first <= change.at.date() <= period.last:
            plan = change.plan
    return plan


def end_after(first: date, years: int) -> date:
    """The last day of a period of whole years (from 29 February: until 28 February)."""
    try:
        return first.replace(year=first.year + years) - _DAY
    except ValueError:
        return date(first.year + years, 2, 28)


def release_in_force(
    releases: Sequence[Release], contract: Contract | None, licence: str, on: date
) -> Release:
    """The policy release that binds a contract on a day: that of its start or its last renewal by then."""
    first = None if contract is None else contract.start or contract.registered
    if contract is None or first is None:
        return release_for(releases, on)
    rules = licence_rules(release_for(releases, first), licence)
    agreed = [p.agreed for p in periods(contract, rules, on) if p.agreed <= on]
    return release_for(releases, max(agreed, default=first))


def licence_rules(release: Release, licence: str) -> Licence:
    """The policy's rules of a licence kind. Raises ContractError."""
    if licence not in release.licences:
        raise ContractError(f"'{licence}' is no licence kind; known are {', '.join(release.licences)}")
    return release.licences[licence]


def doubts(contract: Contract, rules: Licence) -> Iterator[str]:
    """What a person should look at before the document is recorded; none of it refuses cover."""
    if contract.autorenew and not rules.autorenew:
        yield f"autorenew: a {rules.name} licence does not renew by itself"
    first = contract.start or contract.registered
    if first is None:
        yield "start: neither a start nor a registration is known: the cover has not begun"
        return
    if rules.sold_until and first >= rules.sold_until:
        yield f"start: {rules.name} licences were not sold any more from {rules.sold_until}"
    minimum = end_after(first, rules.minimum_years)
    if contract.end is not None and contract.end < minimum:
        yield f"end: shorter than the minimum of {rules.minimum_years} years (until {minimum})"
