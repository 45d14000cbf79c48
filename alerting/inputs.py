"""What evaluation takes and gives: value types between the ingest commit, the judge and the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import msgspec

from alerting.published import State
from alerting.state import EMPTY, Memory
from wire.batch import Event
from wire.layout import Layout


def to_ms(at: datetime) -> int:
    """Milliseconds since 1970, to the nearest."""
    return round(at.timestamp() * 1000)


def from_ms(ms: int) -> datetime:
    """Aware UTC time of milliseconds since 1970."""
    return datetime.fromtimestamp(ms / 1000, UTC)


class HostKey(NamedTuple):
    """Names one row of host_state; sorts in the order in which hosts are locked."""

    tenant_id: int
    host_id: int


class HostScope(msgspec.Struct, frozen=True):
    """Whose frames these are."""

    tenant_id: int
    tenant_key: str
    deployment_id: int
    deployment_key: str
    host_id: int
    """0: the deployment as a whole."""
    host_name: str


class FrameInput(msgspec.Struct, frozen=True):
    """One frame to judge."""

    layout_digest: bytes
    """32 bytes."""
    layout: Layout
    at: datetime
    """Sample time, corrected by the agent's offset, aware UTC."""
    values: Sequence[float | None]
    """In layout order; None = not measured."""


class EventInput(msgspec.Struct, frozen=True):
    """One event to judge."""

    at: datetime
    """Event time, corrected by the agent's offset, aware UTC."""
    event: Event


class HostState(msgspec.Struct, frozen=True):
    """A host's row, locked by the transaction that read it."""

    tenant_id: int
    host_id: int
    version: int = 0
    """The row's version when it was locked; it is written back under this version plus one."""
    frontier: datetime | None = None
    """Newest evaluated sample time."""
    pack_version: int = 0
    """Newest rules in the database: an evaluator of a lower version must be loaded anew first."""
    last_seen: datetime | None = None
    """Receipt time of the newest batch."""
    memory: Memory = EMPTY


class Change(msgspec.Struct, frozen=True):
    """A transition about to be written; its number is given by the database."""

    at_ms: int
    from_state: State | None
    to_state: State
    priority: int
    value: float | None
    reason: str
    unit: str = ""
    """In which the value is shown; see ``texts.Arguments``."""


class AlertChange(msgspec.Struct, frozen=True):
    """One transition of one alert, and how the alert stands after it."""

    deployment_id: int
    host_id: int | None
    rule_id: str
    instance: str
    problem_key: str
    since_ms: int
    fired_ms: int | None
    summary: str | None
    """In English. None: leave it as it is (the rule that would say it is gone, or what it names)."""
    labels: dict[str, str] | None
    """None: leave them as they are."""
    change: Change
    hidden: str = ""
    """Why it counts as a consequence of another alert; empty: it does not."""


class Outcome(msgspec.Struct, frozen=True):
    """What one call of ``evaluate`` concluded. Nothing is written before ``save_outcomes``."""

    scope: HostScope
    state: HostState
    """The host's state afterwards (``version`` unchanged: saving adds one)."""
    alerts: tuple[AlertChange, ...] = ()
    late: tuple[int, ...] = ()
    """Indexes of inputs that were not judged: newer ones of their layout had been (frames), or what they say
    was over before we heard of it (events). They are stored, and marked for replay."""
    failing: dict[str, str] = {}
    """Rule id -> the error it raised. Shown to people, never in the way of ingest."""
