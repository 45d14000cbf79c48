"""Settings of the ticket desk. Times in seconds unless the name says otherwise."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Defaults for everything that the support programme leaves to us."""

    poll_s: float = 1.0
    """Longest pause before the desk looks for work (it is woken earlier by a notification)."""
    listen_s: float = 30.0
    """How long the connection that listens for notifications is kept before it is renewed."""
    lookback_s: float = 300.0
    """How far before the newest alert seen an ordinary search reaches; longer than any ingest commit."""
    sweep_s: float = 300.0
    """How often the search reaches back over everything that was ever recorded."""
    reconsider_s: float = 3600.0
    """How often a firing alert without a ticket is decided again (cover may begin, a version be reported)."""
    failures_to_park: int = 5
    """After so many failures in a row an item is parked, shown and alarmed."""
    retry_s: float = 2.0
    """Pause after the first failure of an item; doubled with each further one."""
    batch: int = 100
    """Items taken from one search."""
    many: int = 1000
    """Alerts found by one search; those of which nothing is to be acted on are settled in one transaction."""
    storm_problems: int = 20
    """So many problems of one site within the window are a storm: one ticket stands for them; 0 = never."""
    storm_window_min: float = 10.0
    """The window."""
    storm_join_min: float = 60.0
    """A storm's ticket takes further problems of its site in for so long."""
    storm_outlast_min: float = 15.0
    """What still fires so long after a storm's ticket was resolved is decided again, on its own."""
    reopen_window_h: float = 72.0
    """A problem that comes back so soon after its ticket was resolved reopens that ticket."""
    auto_resolve_after_h: float = 24.0
    """A recovered ticket that no person has touched is resolved after so long; 0 = never."""
    auto_close_after_h: float = 72.0
    """A resolved ticket is closed after so long; 0 = only by a person."""
    answer_expires_min: float = 30.0
    """After a keypress a person must act within so long, else paging starts again; 0 = never."""
    paging_policy: str = "default"
    """Name of the paging policy for technicians."""
    customer_policy: str = "customer"
    """Name of the paging policy for the phone notice to the customer."""
    version_fresh_h: float = 24.0
    """An agent's report of the platform version wins over the registry's for so long."""
    number_prefix: str = "UCX"
    smtp_host: str = ""
    """Mail server for telling people; empty: no mails."""
    smtp_port: int = 587
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str = ""
    smtp_password: str = ""
    mail_from: str = "support@localhost"
    """Sender of all mails; its domain stands in every Message-ID."""
    webhook_private: bool = False
    """Allow webhooks to addresses that are not on the public internet, and without TLS (trials only)."""
    staff_webhook_url: str = ""
    """Where escalation steps and targets at risk or missed are posted, too; empty: nowhere."""
    staff_webhook_secret: str = ""
    """Its signing secret: ``whsec_`` and base64."""
    notify_timeout_s: float = 10.0
    """Longest wait for one step of a mail server or webhook."""
    outbox_poll_s: float = 1.0
    """How often an idle sender looks for letters."""
    outbox_give_up_h: float = 72.0
    """A letter that could not be sent for so long is given up."""
    outbox_days: Annotated[int, msgspec.Meta(ge=0)] = 400
    """Letters that were sent or given up are kept for so long, in days; 0 = for ever."""
    decision_days: Annotated[int, msgspec.Meta(ge=0)] = 400
    """Decisions against a ticket are kept for so long, in days, and as long as their alerts; 0 = for ever.
    How far the desk came with an alert goes with the alert, unless this is 0."""
    audit_trail_days: Annotated[int, msgspec.Meta(ge=0)] = 0
    """The trail of changes to the registry is kept for so long, in days; 0 = for ever."""
