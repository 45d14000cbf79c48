"""Alerting's settings and their defaults."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the sweep works. Durations in seconds."""

    sweep_interval_s: float = 15.0
    """Between two sweeps."""
    hold_share: float = 0.2
    """More than this share of all hosts falling silent in one window is taken for our own fault..."""
    hold_window_s: float = 600.0
    """...within this window..."""
    hold_min_hosts: int = 5
    """...if it is at least this many hosts, of more than one deployment."""
    front_door_url: str = ""
    """Public address of our ``/healthz``, asked from outside in; empty: the sweep's own beat is the proof."""
    front_door_timeout_s: float = 10.0
    """For one such probe."""
    front_door_grace_s: float = 60.0
    """Without proof for longer than this, the door counts as closed, and silence is measured anew."""
    never_fired_days: int = 7
    """Alerts that were pending and never fired are forgotten after this many days."""
