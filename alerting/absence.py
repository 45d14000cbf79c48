"""Silence: nothing received from a host, or from every host of a deployment. Pure.

Silence is measured on our own clock, from receipts, and only over time in which our front door is proven
open: what nobody could deliver is no silence of the customer's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from alerting.inputs import Change
from alerting.published import State
from alerting.rule import Silent, SilentLevel, Source
from alerting.state import SilentTrack, Told
from alerting.units import show_duration

REPORT_APART_MS = 5_000
"""Receipts closer together than this count as one report: a backlog is no sign of steadiness."""

_changed = msgspec.structs.replace


class SilenceStep(NamedTuple):
    """As ``samples.Step``."""

    track: SilentTrack | None
    told: Told
    change: Change | None


def level_of(source: Silent, elapsed_ms: int) -> SilentLevel | None:
    """The most severe level that so long a silence reaches."""
    return next((level for level in source.levels if elapsed_ms > level.after_s * 1000), None)


def unheard(
    rule_id: str, mark: bytes, source: Silent, track: SilentTrack | None, quiet_since: int, now: int
) -> SilenceStep | None:
    """Nothing since ``quiet_since``: the last receipt, or our door's opening if later. None: no change."""
    level = level_of(source, now - quiet_since)
    told = track.told if track else Told(since=quiet_since)
    if level is None or (told.state == State.FIRING and told.priority <= level.priority):
        return None
    before = State(told.state) if told.state else None
    worse = f"; worse: P{told.priority} -> P{level.priority}" if before is State.FIRING else ""
    reason = f"Nothing received for more than {show_duration(level.after_s)}{worse}."
    told = _changed(told, state=State.FIRING.value, priority=level.priority, fired_at=told.fired_at or now)
    change = Change(now, before, State.FIRING, level.priority, (now - quiet_since) / 1000, reason, "s")
    return SilenceStep(SilentTrack(rule_id, mark, told, 0, 0), told, change)


def heard(track: SilentTrack, source: Source | None, now: int) -> SilenceStep:
    """A receipt while a silence is on record: the last of enough of them ends it."""
    told = track.told
    if not isinstance(source, Silent):
        change = Change(
            now, State(told.state), State.STALE, told.priority, None, "The rule is no longer in force."
        )
        return SilenceStep(None, _changed(told, state=State.STALE.value), change)
    reports = track.reports + (now - track.last >= REPORT_APART_MS)
    if reports >= source.clear_reports:
        reason = f"Reporting again: {reports} report(s) received."
        change = Change(now, State(told.state), State.RESOLVED, told.priority, None, reason)
        return SilenceStep(None, _changed(told, state=State.RESOLVED.value), change)
    last = now if reports > track.reports else track.last
    track = _changed(track, reports=reports, last=last)
    if told.state == State.RECOVERING:
        return SilenceStep(track, told, None)
    told = _changed(told, state=State.RECOVERING.value)
    reason = f"Received a report: recovering, needs {source.clear_reports}."
    change = Change(now, State.FIRING, State.RECOVERING, told.priority, None, reason)
    return SilenceStep(_changed(track, told=told), told, change)


class Fleet(msgspec.Struct, frozen=True):
    """What the sweep knows of all hosts that should report."""

    total: int
    """Hosts that have ever reported and are not retired, less those silent since before the window."""
    fell_silent: int
    """Of these, hosts whose silence began within the window."""
    deployments: int
    """Deployments that those belong to."""


def ours(fleet: Fleet, share: float, least: int) -> str:
    """Why a mass silence is taken for our own fault; empty: it is not."""
    if fleet.fell_silent < least or fleet.deployments < 2 or fleet.fell_silent <= share * fleet.total:
        return ""
    percent = 100 * fleet.fell_silent / fleet.total
    return (
        f"{fleet.fell_silent} of {fleet.total} hosts ({percent:.0f} %) of {fleet.deployments} deployments "
        "fell silent in one window: taken for our own fault until the share falls or a person releases it"
    )


def whole(source: Silent, quiet_since: Sequence[int], now: int) -> SilentLevel | None:
    """The level of a deployment's silence, from its hosts'; one host alone is no cluster."""
    if len(quiet_since) < 2:
        return None
    return level_of(source, now - max(quiet_since))
