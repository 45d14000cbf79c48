"""Whether a ticket is opened, with which terms, and why. Pure: from what is known to a decision.

The snapshot kept with a ticket (``terms``) holds everything the decision was made from, so that later
questions - does this ticket ring somebody now that it is P1? - get the answer of the day it was opened:

    terms      the contract's terms for clocks and calendars (ticketing/terms.py)
    facts      the deployment as it was known
    contract   the contract document as it was
    at         the instant of the decision
    booking    on-call assistance that was agreed for that instant (absent: none)
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any, Literal

import msgspec

from ticketing import entitlement, reason, terms
from ticketing.circumstances import Circumstances
from ticketing.contract import Contract, PlanChange, release_in_force
from ticketing.entitlement import DeploymentFacts, Entitlement, Product
from ticketing.errors import ContractError
from ticketing.policy import Release, priority_name
from ticketing.releases import load_releases, release_named

Document = dict[str, Any]
"""A reason as it is stored: code, text, section, params, parts."""
SAID = "said"
"""Code of reasons that are texts of their own: what an alert or a person said."""


CRITICAL = 1
"""The priority that on-call serves."""


class Opening(msgspec.Struct, frozen=True):
    """The decision about one alert, or about what a person reports."""

    ticket: bool
    held: bool
    """Opened, but waiting for a person to release it."""
    outcome: str
    """In a word: ``yes``, ``held``, or the code of the first reason against it."""
    priority: int
    language: str
    flags: tuple[str, ...]
    terms: dict[str, Any]
    """The snapshot; empty where there is no ticket."""
    reasons: tuple[Document, ...]
    """The decision record."""


def decide(
    known: Circumstances,
    priority: int,
    channel: str,
    now: datetime,
    languages: tuple[str, ...] = (),
    product: str | None = None,
) -> Opening:
    """Decide at ``now`` about a problem of this priority that came by this channel."""
    facts, contract = facts_of(known), contract_of(known)
    release = release_of(contract, facts, now)
    judge = partial(
        entitlement.decide,
        facts,
        contract,
        now,
        release,
        channel=channel,
        languages=languages,
        product=product,
    )
    found = judge(priority=priority)
    brought = []
    if channel == "proactive" and found.terms is not None:
        wanted, priority = priority, within_policy(release, found.terms.plan, priority)
        if priority != wanted:
            brought = [said(bound_reason(found.terms.plan, wanted, priority))]
            found = judge(priority=priority)
    snapshot = {} if found.terms is None else _snapshot(found.terms, facts, contract, now)
    booked = [said(known.booking)] if known.booking and snapshot else []
    if booked:
        snapshot["booking"] = known.booking
    against = found.ticket.reasons[0].code if found.ticket.reasons else "no"
    return Opening(
        ticket=found.ticket.value != "no",
        held=found.ticket.value == "held",
        outcome=against if found.ticket.value == "no" else found.ticket.value,
        priority=priority,
        language="en" if found.terms is None else found.terms.language,
        flags=found.flags,
        terms=snapshot,
        reasons=(*_record(release, found, priority), *brought, *booked),
    )


def within_policy(release: Release, plan: str, priority: int) -> int:
    """An alert's priority, brought within what the support policy has for tickets of monitoring on a plan."""
    bounds = release.proactive.priorities.get(plan)
    return priority if bounds is None else bounds.bring(priority)


def bound_reason(plan: str, wanted: int, priority: int) -> str:
    """Why the ticket has another priority than its rule."""
    verb = "caps it at" if priority > wanted else "raises it to"
    return f"the rule says P{wanted}; the support policy {verb} P{priority} for monitoring on {plan}"


def release_of(contract: Contract | None, facts: DeploymentFacts, now: datetime) -> Release:
    """The release of the support policy that binds this contract."""
    return release_in_force(load_releases(), contract, facts.licence, now.date())


def _snapshot(
    binding: terms.Terms, facts: DeploymentFacts, contract: Contract | None, now: datetime
) -> dict[str, Any]:
    return {
        "terms": terms.to_document(binding),
        "facts": msgspec.to_builtins(facts),
        "contract": msgspec.to_builtins(contract),
        "at": now.isoformat(),
    }


def _record(release: Release, found: Entitlement, priority: int) -> list[Document]:
    """The decision record: what was decided, each with its reasons."""
    record = [heading("decided-policy", title=release.title)]
    record += _decision("decided-ticket", found.ticket)
    if found.ticket.value != "no":
        record.append(heading("decided-priority", priority=priority_name(priority)))
        record += _decision("decided-sla", found.sla)
        record += _decision("decided-technician", found.page_technician)
        record += _decision("decided-customer", found.phone_customer)
    return record


def _decision(code: str, decision: entitlement.Decision) -> list[Document]:
    return [heading(code, verdict=decision.value), *reason.to_documents(decision.reasons)]


def heading(code: str, **params: str) -> Document:
    """A line of the record that says what is decided; its reasons follow."""
    [document] = reason.to_documents([reason.Reason(code, dict(params))])
    return document


def said(text: str) -> Document:
    """A reason that is a text of its own."""
    return {"code": SAID, "text": text, "section": "", "params": {"text": text}}


# --- what is known, as the core reads it -----------------------------------------------------------------


def facts_of(known: Circumstances) -> DeploymentFacts:
    """The registry's deployment, its contacts and its agents' reports as entitlement reads them."""
    site = known.deployment
    spoken = next((c.languages for c in known.contacts if c.languages), ())
    return DeploymentFacts(
        licence=site.licence,
        theatre=site.theatre,
        zone=site.zone,
        country=site.country,
        region=site.region,
        holiday_country=site.holiday_country,
        closing_days=site.closing_days,
        asia_pacific=site.asia_pacific,
        products=tuple(_product(key, known) for key in site.products),
        version=site.version,
        version_reported=known.reported_version,
        version_reported_at=known.reported_at,
        opt_in=site.proactive.opt_in,
        data_sending=site.proactive.data_sending,
        connected=site.proactive.connected or known.enrolled,
        customer_call=site.proactive.customer_call,
        contacts_24h=sum(c.reachable_24h and c.phone is not None for c in known.contacts),
        languages=spoken or site.languages,
    )


def _product(key: str, known: Circumstances) -> Product:
    product = known.products[key]
    return Product(key, product.name, product.end_of_life, product.end_of_support, product.newest_version)


def contract_of(known: Circumstances) -> Contract | None:
    """The registry's contract document as the core reads it."""
    return None if known.contract is None else msgspec.convert(known.contract.model_dump(), Contract)


# --- later questions, answered from the snapshot ---------------------------------------------------------


def page_decision(
    snapshot: dict[str, Any], audience: Literal["technician", "customer"], priority: int, plan: str | None
) -> entitlement.Decision:
    """Whether a ticket of this priority rings somebody, by the terms it was opened under.

    ``plan``: the plan since an upgrade that was recorded with the ticket. A hold does not count any more:
    only released tickets ask."""
    facts, contract, at = read_snapshot(snapshot)
    if contract is not None:
        contract = msgspec.structs.replace(contract, unpaid=False, excluded=None)
    if contract is not None and plan is not None:
        changes = (*contract.plan_changes, PlanChange(at, plan))
        contract = msgspec.structs.replace(contract, plan_changes=changes)
    binding = terms.from_document(snapshot["terms"])
    release = release_named(load_releases(), binding.release)
    booked = snapshot.get("booking") if audience == "technician" else None
    # A booking lets people reach on-call with any priority as with the critical one; alerts ring as usual.
    asked = min(priority, CRITICAL) if booked and binding.channel != "proactive" else priority
    found = entitlement.decide(facts, contract, at, release, priority=asked, channel=binding.channel)
    return found.page_technician if audience == "technician" else found.phone_customer


def alert_priority(snapshot: dict[str, Any], plan: str | None, priority: int) -> int:
    """What a worse alert makes of an open ticket, by the policy that the ticket was opened under."""
    if not snapshot:
        return priority
    binding = terms.from_document(snapshot["terms"])
    return within_policy(release_named(load_releases(), binding.release), plan or binding.plan, priority)


def read_snapshot(snapshot: dict[str, Any]) -> tuple[DeploymentFacts, Contract | None, datetime]:
    """What the decision was made from. Raises ContractError when it cannot be read."""
    try:
        return (
            msgspec.convert(snapshot["facts"], DeploymentFacts),
            msgspec.convert(snapshot["contract"], Contract | None),
            datetime.fromisoformat(snapshot["at"]),
        )
    except (KeyError, msgspec.ValidationError) as error:
        raise ContractError(f"the ticket's snapshot cannot be read: {error}") from error
