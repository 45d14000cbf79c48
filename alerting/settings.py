"""Alerting's settings and their defaults."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

PRIORITY = msgspec.Meta(ge=1, le=4)
_SEVERITIES = {"critical": 1, "page": 1, "error": 2, "high": 2, "warning": 3}


class Receiver(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told of alerts that page nobody."""

    name: str
    kind: Literal["email", "webhook"]
    address: str
    """A mail address, or an https URL."""
    tenant: str = ""
    """Key of the only customer whose alerts are told; empty: all."""
    priorities: tuple[Annotated[int, PRIORITY], ...] = (2, 3, 4)
    """Which alerts; P1 is on-call's."""
    secret: str = ""
    """Of a webhook: what it is signed with, as in ``whsec_<Base64>``."""


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
    front_door_alarm_s: float = 120.0
    """Not proven open for so long, our own operations are told."""
    pushed_priorities: dict[str, Annotated[int, PRIORITY]] = msgspec.field(default_factory=_SEVERITIES.copy)
    """Value of a pushed alert's ``severity`` -> priority. Any other value, or none, is P4: never paged."""
    resolve_timeout_s: float = 300.0
    """A pushed alert that does not say until when it holds is over unless it is pushed again within this."""
    pushed_limit: int = 2000
    """Most open pushed alerts of one deployment; what comes on top is refused with 429."""
    stream_life_s: float = 50.0
    """A stream of alerts ends after this long and is taken up again, so that a revoked key is noticed."""
    stream_beat_s: float = 15.0
    """Between two signs of life in a stream in which nothing happens."""
    stream_look_s: float = 1.0
    """Between two looks for changes."""
    streams: int = 100
    """Most streams of one process at a time, a quarter of them for one customer; more are answered 429."""
    notice_receivers: tuple[Receiver, ...] = ()
    """Who is told of alerts that page nobody."""
    notice_look_s: float = 15.0
    """Between two looks for what is to be told."""
    notice_gap_s: float = 60.0
    """Between two messages to one receiver: what happens meanwhile is told together."""
    notice_timeout_s: float = 10.0
    """For one attempt to send."""
    notice_private: bool = False
    """Whether webhooks may go to private addresses and without TLS."""
    smtp_host: str = "localhost"
    smtp_port: int = 25
    smtp_security: Literal["none", "starttls", "tls"] = "none"
    smtp_user: str = ""
    smtp_password: str = ""
    mail_from: str = "ucx-proactive@localhost"
    """Sender of notices by mail."""
    silence_reminder_s: float = 3600.0
    """So long before a silence ends, its author and the receivers of notices are told, once; 0 = never."""
    alert_days: Annotated[int, msgspec.Meta(ge=1)] = 400
    """Alerts that have ended are kept for so long, with their transitions; as rollups are."""
    notice_days: Annotated[int, msgspec.Meta(ge=1)] = 90
    """Notices that were sent or given up are kept for so long."""
    never_fired_days: int = 7
    """Alerts that were pending and never fired are forgotten after this many days."""
