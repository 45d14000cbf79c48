"""Who is entitled to what, at an instant: monitoring, ticket, SLA, the technician's phone, the customer's.

Five decisions, each with every reason for it. A refusal names all that stands against it, not only the first.
Pure: contract, deployment and policy are given; nothing here reads a clock or a database.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import msgspec

from ticketing.contract import Contract, Cover, cover, licence_rules
from ticketing.errors import ContractError
from ticketing.facts import DeploymentFacts, Product
from ticketing.platform import VersionError, behind, parse_version
from ticketing.policy import Licence, Plan, Priority, Release, priority_name
from ticketing.reason import Reason
from ticketing.terms import Sla, Terms, resolve, sla

__all__ = ["Decision", "DeploymentFacts", "Entitlement", "Flag", "Product", "decide", "version_of"]
Flag = Literal[
    "entitlement-expired",
    "end-of-support",
    "end-of-life",
    "version-unknown",
    "behind-newest",
    "asia-pacific",
    "language-not-guaranteed",
    "unpaid",
    "excluded",
]


class Decision(msgspec.Struct, frozen=True):
    """A value and every reason for it."""

    value: str
    """``yes``, ``no`` or ``held``; for the SLA ``guaranteed``, ``best-effort`` or ``none``."""
    reasons: tuple[Reason, ...]

    @property
    def yes(self) -> bool:
        return self.value == "yes"


class Entitlement(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment is entitled to, for one ticket or alert at one instant."""

    monitored: Decision
    """Proactive monitoring: yes, no. Data are received and alerts shown in any case."""
    ticket: Decision
    """yes, no, held (until a person releases it with a reason; the clock starts then)."""
    sla: Decision
    """guaranteed, best-effort, none."""
    page_technician: Decision
    """yes, no."""
    phone_customer: Decision
    """yes, no."""
    plan: str | None
    """The plan in force, or the one that lapsed."""
    terms: Terms | None
    """To be kept with the ticket; None where there is no ticket."""
    flags: tuple[Flag, ...]
    """To be shown with the deployment and its tickets."""


class _Case(msgspec.Struct, frozen=True):
    """All that the five decisions look at."""

    facts: DeploymentFacts
    contract: Contract | None
    release: Release
    rules: Licence
    cover: Cover
    at: datetime
    on: date
    priority: Priority
    channel: str
    product: str | None

    @property
    def proactive(self) -> bool:
        return self.channel == "proactive"

    @property
    def plan(self) -> Plan:
        assert self.cover.plan is not None, "only asked where there is a plan"
        return self.release.plans[self.cover.plan]


Check = tuple[bool, Reason]
"""Whether a condition holds, and the reason either way."""


def decide(
    deployment: DeploymentFacts,
    contract: Contract | None,
    at: datetime,
    release: Release,
    *,
    priority: Priority = 1,
    channel: str = "proactive",
    languages: Sequence[str] = (),
    product: str | None = None,
) -> Entitlement:
    """All five decisions at ``at`` (aware). ``release``: see ``contract.release_in_force``.

    ``languages``: what the person who opens a ticket speaks (else the deployment's); ``product``: key of the
    product concerned (else the base product). Raises ContractError for documents that contradict themselves
    or the policy."""
    rules = licence_rules(release, deployment.licence)
    on = at.astimezone(_zone(deployment.zone)).date()
    covered = cover(contract, rules, at, on)
    if covered.plan is not None and covered.plan not in release.plans:
        raise ContractError(f"'{covered.plan}' is no plan of {release.title}")
    case = _Case(deployment, contract, release, rules, covered, at, on, priority, channel, product)
    terms, why_terms = _terms(case, languages)
    monitored = _all(_eligibility(case))
    ticket = _ticket(case, monitored)
    return Entitlement(
        monitored=monitored,
        ticket=ticket,
        sla=_sla(case, ticket, terms, why_terms),
        page_technician=_page(case, ticket, terms),
        phone_customer=_phone(case, ticket, terms),
        plan=covered.plan,
        terms=terms if ticket.value != "no" else None,
        flags=tuple(_flags(case, terms)),
    )


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise ContractError(f"'{name}' is not an IANA time zone, such as Europe/Rome") from error


def _terms(case: _Case, languages: Sequence[str]) -> tuple[Terms | None, tuple[Reason, ...]]:
    facts = case.facts
    if case.cover.plan is None:
        return None, ()
    return resolve(
        case.release,
        plan=case.cover.plan,
        licence=facts.licence,
        theatre=facts.theatre,
        at=case.at,
        country=facts.country,
        region=facts.region,
        zone=facts.zone,
        holiday_country=facts.holiday_country,
        closing_days=facts.closing_days,
        asia_pacific=facts.asia_pacific,
        channel=case.channel,
        languages=languages or facts.languages,
    )


def _all(checks: Iterator[Check]) -> Decision:
    """Yes with all reasons if everything holds, else no with everything that does not."""
    found = list(checks)
    against = tuple(reason for holds, reason in found if not holds)
    return Decision("no", against) if against else Decision("yes", tuple(reason for _, reason in found))


# --- cover, support, eligibility ---------------------------------------------------------------------------


def _supported(case: _Case) -> Iterator[Check]:
    """Under contract, and the product still supported."""
    for reason in case.cover.reasons:
        yield case.cover.status == "covered", reason
    yield from _lives(case)


def _lives(case: _Case) -> Iterator[Check]:
    for index, product in enumerate(case.facts.products):
        concerned = index == 0 or product.key == case.product
        if not concerned:
            continue
        params = {"product": product.name}
        ends, sold = product.end_of_support, product.end_of_life
        if case.rules.end_of_support and ends is not None and ends <= case.on:
            yield False, Reason("end-of-support", params | {"ended_on": ends.isoformat()}, "§8.3")
        elif sold is not None and sold <= case.on:
            yield True, Reason("end-of-life", params | {"ended_on": sold.isoformat()}, "§8.3")
        if index > 0:
            base = case.facts.products[0].name
            yield True, Reason("co-terminates", params | {"base": base}, "§7.3")


def _eligibility(case: _Case) -> Iterator[Check]:
    yield from _supported(case)
    facts, rules = case.facts, case.release.proactive
    if case.cover.plan is not None:
        params = {"plan": case.plan.name, "licence": case.rules.name}
        fits = case.cover.plan in rules.plans.get(facts.licence, ())
        yield fits, Reason("plan-eligible" if fits else "plan-not-eligible", params, "§10")
    yield facts.opt_in, Reason("opted-in" if facts.opt_in else "not-opted-in", {}, "§10")
    yield _version(case)
    if rules.requires_connection:
        yield facts.connected, Reason("connected" if facts.connected else "not-connected", {}, "§10")
    if rules.requires_data_sending:
        sends = facts.data_sending
        yield sends, Reason("sends-data" if sends else "does-not-send-data", {}, "§10")


def _version(case: _Case) -> Check:
    rules = case.release.proactive.version
    text, source = version_of(case.facts, case.release, case.at)
    params = {"version": text or "", "minimum": rules.minimum}
    if text is None:
        return False, Reason("version-unknown", params, "§10")
    try:
        enough = parse_version(text, rules.seasons) >= parse_version(rules.minimum, rules.seasons)
    except VersionError:
        return False, Reason("version-unreadable", params, "§10")
    return enough, Reason(f"version-{source}" if enough else "version-too-old", params, "§10")


def version_of(
    facts: DeploymentFacts, release: Release, at: datetime
) -> tuple[str | None, Literal["reported", "registered"]]:
    """The version that counts: an agent's report while it is fresh, else the registry's."""
    fresh = timedelta(hours=release.proactive.version.report_fresh_h)
    seen = facts.version_reported_at
    if facts.version_reported is not None and seen is not None and at - seen <= fresh:
        return facts.version_reported, "reported"
    return facts.version, "registered"


# --- the decisions -----------------------------------------------------------------------------------------


def _ticket(case: _Case, monitored: Decision) -> Decision:
    entitled = monitored if case.proactive else _all(_supported(case))
    if not entitled.yes:
        shown = (Reason("shown-anyway"),) if case.proactive else ()
        return Decision("no", entitled.reasons + shown)
    holds = tuple(_holds(case.contract))
    if holds:
        return Decision("held", (*holds, Reason("held-until-released")))
    channel = Reason("channel-proactive" if case.proactive else "channel", {"channel": case.channel}, "§5")
    return Decision("yes", (*entitled.reasons, channel))


def _holds(contract: Contract | None) -> Iterator[Reason]:
    if contract is not None and contract.unpaid:
        yield Reason("unpaid", {}, "§14")
    if contract is not None and contract.excluded:
        yield Reason("excluded", {"note": contract.excluded}, "§15")


def _sla(case: _Case, ticket: Decision, terms: Terms | None, why: tuple[Reason, ...]) -> Decision:
    if ticket.value == "no" or terms is None:
        return Decision(str(Sla.NONE), (Reason("no-ticket-no-sla"),))
    worth = sla(case.release, terms)
    params = {"plan": case.plan.name, "channel": terms.channel, "language": terms.language}
    reasons = [Reason(code, params, section) for code, section in _worth(case, terms)]
    if ticket.value == "held":
        reasons.append(Reason("clock-starts-at-release"))
    return Decision(str(worth), (*reasons, *why))


def _worth(case: _Case, terms: Terms) -> Iterator[tuple[str, str]]:
    """Codes and sections of why the SLA is worth what it is."""
    if not case.release.channels[terms.channel].sla:
        yield "channel-without-sla", "§5"
        return
    if not case.plan.guaranteed:
        yield "plan-best-effort", "§2"
    if not terms.language_guaranteed:
        yield "language-without-sla", "§5.3"
    if case.plan.guaranteed and terms.language_guaranteed:
        yield "sla-guaranteed", "§4"


def _needs_ticket(ticket: Decision) -> Check:
    code = {"yes": "has-ticket", "held": "ticket-is-held"}.get(ticket.value, "no-ticket-no-call")
    return ticket.yes, Reason(code)


def _page(case: _Case, ticket: Decision, terms: Terms | None) -> Decision:
    return _all(_page_checks(case, ticket, terms))


def _page_checks(case: _Case, ticket: Decision, terms: Terms | None) -> Iterator[Check]:
    yield _needs_ticket(ticket)
    rules = case.release.on_call
    if terms is None:
        return
    yield _one_of("on-call-plan", case.plan.name, terms.plan in rules.plans)
    yield _one_of("on-call-priority", *_priority(case, rules.priorities))
    yield _one_of("on-call-licence", case.rules.name, terms.licence in rules.licences)
    yield _one_of("on-call-channel", terms.channel, terms.channel in rules.channels)
    if terms.asia_pacific:
        yield rules.asia_pacific, Reason("asia-pacific", {"zone": case.facts.zone}, "§6.1")


def _one_of(code: str, value: str, fits: bool) -> Check:
    return fits, Reason(code if fits else f"not-{code}", {"value": value}, "§6.1")


def _priority(case: _Case, allowed: Sequence[str]) -> tuple[str, bool]:
    name = priority_name(case.priority)
    return name, name in allowed


def _phone(case: _Case, ticket: Decision, terms: Terms | None) -> Decision:
    return _all(_phone_checks(case, ticket, terms))


def _phone_checks(case: _Case, ticket: Decision, terms: Terms | None) -> Iterator[Check]:
    yield _needs_ticket(ticket)
    rules, facts = case.release.on_call.customer_call, case.facts
    if terms is None:
        return
    yield _one_of("call-plan", case.plan.name, terms.plan in rules.plans)
    yield _one_of("call-priority", *_priority(case, rules.priorities))
    yield _one_of("call-proactive", terms.channel, case.proactive)
    active = facts.customer_call
    yield active, Reason("call-activated" if active else "call-not-activated", {}, "§10")
    enough = facts.contacts_24h >= rules.contacts
    params = {"contacts": facts.contacts_24h, "needed": rules.contacts}
    yield enough, Reason("contact-24h" if enough else "no-contact-24h", params, "§10")
    if terms.asia_pacific:
        yield rules.asia_pacific, Reason("asia-pacific-call", {"zone": facts.zone}, "§6.1")


# --- what to show ------------------------------------------------------------------------------------------


def _flags(case: _Case, terms: Terms | None) -> Iterator[Flag]:
    codes = {reason.code for _, reason in _lives(case)}
    if case.cover.status == "lapsed":
        yield "entitlement-expired"
    if "end-of-support" in codes:
        yield "end-of-support"
    if "end-of-life" in codes:
        yield "end-of-life"
    if _version(case)[1].code in ("version-unknown", "version-unreadable"):
        yield "version-unknown"
    if _is_behind(case):
        yield "behind-newest"
    if terms is not None and terms.asia_pacific and terms.plan in case.release.on_call.plans:
        yield "asia-pacific"
    if terms is not None and not terms.language_guaranteed:
        yield "language-not-guaranteed"
    if case.contract is not None and case.contract.unpaid:
        yield "unpaid"
    if case.contract is not None and case.contract.excluded:
        yield "excluded"


def _is_behind(case: _Case) -> bool:
    newest = case.facts.products[0].newest_version if case.facts.products else None
    text, _ = version_of(case.facts, case.release, case.at)
    if newest is None or text is None:
        return False
    try:
        return behind(text, newest, case.release.proactive.version.seasons)
    except VersionError:
        return False
