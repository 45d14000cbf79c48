"""The Alertmanager API's documents, by the names its own specification gives them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

MAX_ALERTS = 2000
"""Alerts of one push; Prometheus sends 64 to 256."""
_ZERO = "0001-01-01T00:00:00"
"""How Go writes a time that was not set."""


def _known(value: Any) -> Any:
    return None if value == "" or (isinstance(value, str) and value.startswith(_ZERO)) else value


def _in_range(at: datetime) -> datetime:
    if not 2000 <= at.year < 2100:
        raise ValueError("must lie between the years 2000 and 2100")
    return at.astimezone(UTC)


def _storable(text: str) -> str:
    return text.replace("\0", " ")


Time = Annotated[AwareDatetime, AfterValidator(_in_range)]
MaybeTime = Annotated[Annotated[AwareDatetime, AfterValidator(_in_range)] | None, BeforeValidator(_known)]
Text = Annotated[str, StringConstraints(max_length=4000), AfterValidator(_storable)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_storable)]
Labels = Annotated[dict[Name, Text], Field(max_length=64)]


class PostableAlert(BaseModel):
    """An alert as it is pushed."""

    model_config = ConfigDict(extra="ignore", strict=False)

    labels: Labels
    annotations: Labels = {}
    startsAt: MaybeTime = None
    endsAt: MaybeTime = None
    generatorURL: Text = ""


class MatcherShape(BaseModel):
    """One condition of a silence."""

    name: Name
    value: Annotated[str, StringConstraints(max_length=1000), AfterValidator(_storable)]
    isRegex: bool
    isEqual: bool = True


class PostableSilence(BaseModel):
    """A silence as it is made or changed."""

    id: Annotated[str, StringConstraints(max_length=100)] | None = None
    matchers: Annotated[list[MatcherShape], Field(min_length=1, max_length=20)]
    startsAt: Time
    endsAt: Time
    createdBy: Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_storable)]
    comment: Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_storable)]


def stamp(at: datetime) -> str:
    """A time as the Alertmanager writes it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
