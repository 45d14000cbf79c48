"""Whether on-call serves a deployment that rings us now (§6.1), and where it may call instead."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from psycopg import AsyncConnection

from ticketing import entitlement
from ticketing.circumstances import circumstances
from ticketing.entitlement import DeploymentFacts
from ticketing.opening import CRITICAL, contract_of, facts_of, release_of
from ticketing.policy import Release
from ticketing.reason import to_documents
from ticketing.terms import nearest_theatre


class Service(msgspec.Struct, frozen=True):
    """What a caller with the right PIN gets."""

    served: bool
    """On-call may be woken for a critical problem that it reports."""
    reason: str
    """Why, or every reason why not; readable, English."""
    phone: str
    """The support team of its theatre in working hours, as the policy writes it."""


async def on_call_service(
    conn: AsyncConnection[tuple[Any, ...]], tenant_id: int, deployment_id: int, now: datetime
) -> Service:
    """Decided by the same rules as the ticket that would be opened. Raises LookupError, ContractError."""
    known = await circumstances(conn, tenant_id, deployment_id)
    facts, contract = facts_of(known), contract_of(known)
    release = release_of(contract, facts, now)
    found = entitlement.decide(facts, contract, now, release, priority=CRITICAL, channel="phone")
    page = found.page_technician
    texts = [str(document["text"]) for document in to_documents(page.reasons)]
    theatre = found.terms.theatre if found.terms else _theatre(facts, release, now)
    return Service(page.yes, "; ".join(texts), release.theatres[theatre].phone)


def _theatre(facts: DeploymentFacts, release: Release, now: datetime) -> str:
    known = facts.theatre in release.theatres
    return facts.theatre if known else nearest_theatre(release, facts.zone, now)
