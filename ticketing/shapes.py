"""Bodies and parameters of the ticketing API: what is legal, said in types, and so in the API's document."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import Path, Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from ticketing.policy import priority_of
from ticketing.registry import Key, Language, PlanName, storable

MAX_ID = 2**63 - 1
Reason = Annotated[
    str,
    StringConstraints(min_length=1, max_length=4000, strip_whitespace=True),
    AfterValidator(storable),
]
Title = Annotated[
    str,
    StringConstraints(min_length=1, max_length=300, strip_whitespace=True),
    AfterValidator(storable),
]
Number = Annotated[str, Path(pattern=r"^[A-Z0-9]{1,12}-[0-9]{4}-[0-9]{6,12}$", description="UCX-2026-000123")]
KeyParameter = Annotated[Key | None, Query(description="Key")]
PriorityNumber = Annotated[
    int,
    BeforeValidator(lambda given: priority_of(given) if isinstance(given, str) else given),
    Field(ge=1, le=4, description="1 to 4; P1 to P4 are understood too"),
]
Id = Annotated[int, Path(ge=1, le=MAX_ID)]


def _in_range(at: datetime) -> datetime:
    """UTC, within the years that calendars cover."""
    try:
        at = at.astimezone(UTC)
    except OverflowError:
        raise ValueError("must lie between the years 2000 and 2100") from None
    if not 2000 <= at.year < 2100:
        raise ValueError("must lie between the years 2000 and 2100")
    return at


Time = Annotated[AwareDatetime, AfterValidator(_in_range)]


class Body(BaseModel):
    """A body that knows all its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class _Act(Body):
    seen: int | None = Field(default=None, ge=1, le=MAX_ID)
    """How many entries of the history the caller has seen; refused when there are more by now."""


class _Explained(_Act):
    reason: Reason


class _MayExplain(_Act):
    reason: Annotated[str, StringConstraints(max_length=4000), AfterValidator(storable)] = ""


class Take(_MayExplain):
    """Take in charge: the SLA's question is settled."""

    act: Literal["take"]


class Start(_MayExplain):
    """Work on it (takes it in charge where nobody has)."""

    act: Literal["start"]


class Wait(_Explained):
    """The clock waits for somebody else."""

    act: Literal["wait"]
    waiting_for: Literal["customer", "third_party"]


class Resume(_MayExplain):
    """The clock runs again."""

    act: Literal["resume"]


class Priority(_Explained):
    """Raise or lower the priority."""

    act: Literal["priority"]
    to: PriorityNumber


class Plan(_Explained):
    """The contract was upgraded (or corrected) while the ticket is open."""

    act: Literal["plan"]
    plan: PlanName


class Resolve(_Explained):
    """Believed mended."""

    act: Literal["resolve"]


class Reopen(_Explained):
    """Not mended after all."""

    act: Literal["reopen"]


class Close(_Explained):
    """Done with."""

    act: Literal["close"]


class Note(_Explained):
    """Something to remember."""

    act: Literal["note"]


class Release(_Explained):
    """A held ticket may proceed: its clock starts now."""

    act: Literal["release"]


Act = Take | Start | Wait | Resume | Priority | Plan | Resolve | Reopen | Close | Note | Release
AnyAct = Annotated[Act, Field(discriminator="act")]


class NewTicketBody(Body):
    """A ticket that a person opens."""

    tenant: Key
    deployment: Key
    channel: Literal["portal", "phone", "chat", "email"]
    priority: PriorityNumber
    title: Title
    description: Annotated[str, StringConstraints(max_length=8000), AfterValidator(storable)] = ""
    language: Language | None = None
    """In which the reporter wants to be answered; None: as the contact's and the theatre's rules say."""
    product: Key | None = None
    """Key of the product concerned; None: the base product."""
    problem: Key | None = None
    """The caller's own key of this report: the same key again answers with the same ticket."""


class RetryBody(Body):
    """A parked item that is to be tried again."""

    kind: Literal["alert", "ticket", "acknowledgement", "report"]
    tenant_id: int = Field(ge=1, le=2**31 - 1)
    id: int = Field(ge=1, le=MAX_ID)


class BookingBody(Body):
    """On-call assistance agreed beforehand."""

    tenant: Key
    deployment: Key
    from_at: Time
    until_at: Time
    reason: Reason
