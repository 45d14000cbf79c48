"""Settings of the auditor: its own file, its own account with another provider. Every default is here."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from oncall.settings import Seconds, VoiceProvider, is_e164

_URL = re.compile(r"https?://[^/?#\s]+(/[^?#\s]*[^/?#\s])?")
Count = Annotated[int, msgspec.Meta(ge=1)]


class Listen(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the auditor itself hears keys. Without it nobody can acknowledge, only hear."""

    public_url: str = ""
    """As the provider reaches it; part of every signature. No trailing slash."""
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8079


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the auditor judges and rings. Times in seconds."""

    provider: VoiceProvider | None = None
    """Another company than the pager's first, or at least another account. None: it only writes and withholds
    its heartbeat."""
    listen: Listen = Listen()
    directory: str = "ucx-auditor"
    """Journal, state and the numbers of the people on call."""
    name: str = "auditor"
    """Stands beside its entries in the database."""
    numbers: tuple[str, ...] = ()
    """E.164: rung after the people on call; also when no rota could ever be read."""
    roles: tuple[str, ...] = ("on-call", "support-regional-manager", "support-manager")
    """Whose phones follow those on call by the rota, in this order."""
    plans: tuple[str, ...] = ("platinum",)
    """Plans whose critical tickets ring somebody."""
    heartbeat_url: str = ""
    """Called (POST) after each successful audit; empty: nowhere, and nobody watches the auditor."""

    every_s: Seconds = 30.0
    """Pause between two audits."""
    poll_s: Seconds = 5.0
    """Pause between two questions about a running call."""
    rung_within_s: Seconds = 300.0
    """X: a critical alert whose on-call phone has not rung for so long is alarmed."""
    answered_within_s: Seconds = 1200.0
    """Y: ... that nobody has answered for so long."""
    blind_after_s: Seconds = 120.0
    """A database out of reach for so long is alarmed."""
    off_grace_s: Seconds = 1800.0
    """Paging switched off for so long is alarmed (at once when a critical alert waits)."""
    gap_check_age_s: Seconds = 25 * 3600.0
    """The look for gaps in the rota must not be older."""
    gap_urgent_s: Seconds = 24 * 3600.0
    """A gap that begins within so long rings at any hour; a later one in calm hours only."""
    synthetic_age_s: Seconds = 26 * 3600.0
    """The last invented page that was answered must not be older."""
    test_age_s: Seconds = 8 * 86400.0
    """The last confirmed test call of a person on call must not be older."""
    calm_from: Annotated[int, msgspec.Meta(ge=0, le=23)] = 7
    """Hours (UTC) in which what can wait may ring: from ..."""
    calm_to: Annotated[int, msgspec.Meta(ge=1, le=24)] = 17
    """... to."""

    ring_s: Annotated[int, msgspec.Meta(ge=5, le=600)] = 35
    call_limit_s: Seconds = 180.0
    """After this a call whose end nobody tells is taken for over."""
    provider_timeout_s: Seconds = 15.0
    first_pause_s: Seconds = 60.0
    """Pause after the first call; doubled after each further one ..."""
    longest_pause_s: Seconds = 3600.0
    """... up to this."""
    calls_per_hour: Count = 12
    """Past this only an urgent trouble that no person has heard of yet still rings ..."""
    past_cap_s: Seconds = 300.0
    """... so long after the last call, and the heartbeat is withheld."""
    acknowledged_s: Seconds = 3600.0
    """Key 4 silences what was read out for so long; what is still wrong then rings again."""
    calm_again_s: Seconds = 86400.0
    """... what can wait, for so long; so does its being heard."""
    unheard_s: Seconds = 900.0
    """An urgent alarm that no person has heard for so long withholds the heartbeat."""


def faults(s: Settings) -> list[str]:
    """Everything that cannot work, as ``field: what is wrong``."""
    wrong = [f"numbers: {number!r} is not E.164" for number in s.numbers if not is_e164(number)]
    if s.provider is not None and not re.fullmatch(r"AC[0-9a-fA-F]{32}", s.provider.account_sid):
        wrong.append("provider.account_sid: AC and 32 hex digits")
    if s.provider is not None and not (s.provider.auth_token and is_e164(s.provider.from_number)):
        wrong.append("provider: auth_token and from_number (E.164) are needed")
    for name, url in (("listen.public_url", s.listen.public_url), ("heartbeat_url", s.heartbeat_url)):
        if url and not (
            _URL.fullmatch(url) or (name == "heartbeat_url" and url.startswith(("http://", "https://")))
        ):
            wrong.append(f"{name}: an http(s) URL without a trailing slash is needed")
    if s.answered_within_s < s.rung_within_s:
        wrong.append("answered_within_s: at least rung_within_s")
    if s.calm_from >= s.calm_to:
        wrong.append("calm_from: before calm_to")
    return wrong
