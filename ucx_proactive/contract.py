"""What the support policy asks of the rooms that do not read it."""

from __future__ import annotations

from datetime import datetime

from ticketing.policy import Release, priority_of
from ticketing.releases import load_releases, release_for


def contract_limit_s(now: datetime) -> int:
    """Seconds in which the contract wants a person reached: the shortest target that on-call serves."""
    release: Release = release_for(load_releases(), now.date())
    served = ((plan, priority_of(p)) for plan in release.on_call.plans for p in release.on_call.priorities)
    minutes = [m for plan, priority in served if (m := release.target(plan, priority).minutes)]
    return min(minutes) * 60
