"""Settings of the collector, with their units and defaults."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

import msgspec
from msgspec import Meta

from wire.limits import LEDGER_HORIZON_DAYS

Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class CollectorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator may tune. ``msgspec.convert`` checks the bounds."""

    credential_cache_s: Annotated[float, Meta(ge=0, le=60)] = 30.0
    """How long a credential is believed without asking the database, in seconds."""
    key_overlap_days: Annotated[float, Meta(gt=0, le=90)] = 7.0
    """How long an agent's replaced key is accepted beside the new one, in days."""
    linger_s: Annotated[float, Meta(ge=0, le=1)] = 0.05
    """How long a batch waits for company before its commit, unless its host sends alone, in seconds."""
    group_batches: Count = 1024
    """Most batches in one transaction."""
    group_bytes: Count = 8 * 1024 * 1024
    """Most batch bytes in one transaction."""
    committers: Count = 2
    """Transactions in flight at once."""
    queue_batches: Count = 4096
    """Batches that may wait for a commit; past it the answer is 429."""
    queue_bytes: Count = 64 * 1024 * 1024
    """Bytes of batches that may wait for a commit; past it the answer is 429."""
    tenant_share: Annotated[float, Meta(gt=0, le=1)] = 0.5
    """Largest part of the queue that one tenant may fill."""
    request_deadline_s: Positive = 20.0
    """A batch that could not be committed within this time is answered 503, in seconds."""
    body_deadline_s: Positive = 15.0
    """A request whose body takes longer to arrive than this is cut off, in seconds."""
    lock_timeout_s: Positive = 5.0
    """Longest wait for another commit's locks, in seconds."""
    frame_retention_days: Annotated[int, Meta(ge=1)] = 30
    """Raw frames are kept this long, in days."""
    five_minute_retention_days: Annotated[int, Meta(ge=1)] = 400
    """Rollups over 5 minutes are kept this long, in days; never shorter than late frames are let in."""
    hourly_retention_days: Annotated[int, Meta(ge=1)] = 400
    """Rollups over an hour are kept this long, in days; likewise."""
    pack_after_days: Annotated[int, Meta(ge=1)] = 3
    """Days of frames, events and rollups are packed when this old, where TimescaleDB can, in days."""
    rollup_every_s: Positive = 30.0
    """Time between two rounds of the rollups, in seconds."""
    event_retention_days: Annotated[int, Meta(ge=1)] = 400
    """Events are kept this long, in days."""
    enrol_burst: Count = 60
    """Enrolments that one address may ask for at once."""
    enrol_per_s: Positive = 2.0
    """Enrolments per second that one address may ask for, in the long run."""
    layouts_per_host: Count = 2_000
    """Layouts that one host may use in its life: a bound on churn, not on size."""
    layouts_per_tenant: Count = 200_000
    """Layouts that one tenant may register."""
    series_per_host: Count = 5_000
    """Live series that one host may have; new ones past it are refused, by name."""
    series_per_tenant: Count = 1_000_000
    """Live series that all hosts of one tenant may have together."""
    series_age_days: Annotated[int, Meta(ge=1)] = 7
    """A series without a frame for this long does not count any more, in days."""
    upkeep_every_s: Positive = 600.0
    """Time between two rounds of upkeep (partitions, ledger expiry), in seconds."""

    @property
    def frames_let_in(self) -> timedelta:
        """Older frames are refused."""
        return timedelta(days=min(LEDGER_HORIZON_DAYS, self.frame_retention_days))

    @property
    def events_let_in(self) -> timedelta:
        """Older events are refused: there is no place for what is past its retention."""
        return timedelta(days=min(LEDGER_HORIZON_DAYS, self.event_retention_days))

    @property
    def fives_kept(self) -> timedelta:
        """A late frame changes its 5 minutes and its hour: both are there, and all that makes up the hour."""
        return max(timedelta(days=self.five_minute_retention_days), self.frames_let_in + timedelta(days=1))

    @property
    def hours_kept(self) -> timedelta:
        """Likewise."""
        return max(timedelta(days=self.hourly_retention_days), self.frames_let_in + timedelta(days=1))
