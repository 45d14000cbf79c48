"""Settings of the on-call room. Every default is here."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from oncall.errors import SettingsFault

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")

MIN_SECRET = 32
"""Characters."""
Seconds = Annotated[float, msgspec.Meta(gt=0)]


def is_e164(number: str) -> bool:
    """Whether ``number`` is ``+``, a country code and a subscriber number: 7 to 15 digits in all."""
    return _E164.fullmatch(number) is not None


class VoiceProvider(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One Twilio-compatible account."""

    name: str
    """Ours: stands in callback URLs and timelines ([a-z0-9-])."""
    base_url: str
    """Without a trailing slash, e.g. ``https://api.twilio.com``."""
    account_sid: str
    """``AC`` and 32 hex digits."""
    auth_token: str
    """Secret: signs callbacks, authenticates our requests."""
    from_number: str
    """E.164: a number of this account; the callee sees it."""


class Smtp(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The mail server that takes our messages."""

    host: str = ""
    """Empty: no email."""
    port: int = 587
    user: str = ""
    password: str = ""
    start_tls: bool | None = None
    """None: when the server offers it."""
    sender: str = "on-call@localhost"


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How pages are placed. Times in seconds."""

    public_url: str = "http://127.0.0.1:8080"
    """Where providers reach our callback routes; part of every signature. No trailing slash."""
    providers: tuple[VoiceProvider, ...] = ()
    """In the order in which they are tried."""
    smtp: Smtp = Smtp()
    page_history_days: Annotated[int, msgspec.Meta(ge=0)] = 400
    """How somebody was reached is kept so long after the ticket was closed, in days; 0 = for ever."""
    watch_history_days: Annotated[int, msgspec.Meta(ge=0)] = 400
    """The auditor's entries, invented faults and test calls are kept for so long, in days; 0 = for ever."""
    link_secret: str = ""
    """Signs the links in emails and webhooks; empty: neither is sent."""
    webhook_url: str = ""
    """Where push pages go; empty: nowhere."""
    webhook_secret: str = ""
    """Standard Webhooks secret (``whsec_`` and base64)."""
    pin_secret: str = ""
    """Keys the digests of customers' PINs, at least 32 characters; empty: the on-call line is closed. Never
    changed without issuing every PIN anew."""
    pin_tries: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    """PINs that a caller may enter in one call."""
    wrong_pins_per_caller: Annotated[int, msgspec.Meta(ge=1)] = 6
    """Wrong PINs from one number within an hour; then it is turned away."""
    wrong_pins_per_hour: Annotated[int, msgspec.Meta(ge=1)] = 60
    """Wrong PINs from anybody within an hour; then only numbers of customers' contacts are asked for one."""
    persons: tuple[str, ...] = ()
    """Keys of the persons to ring, in order, where no paging policy is known (empty: every active person
    with a phone, by id), and the last resort from a policy's second round on (empty: whoever holds the role
    on-call, else every active person with a phone)."""
    enabled: bool = True
    """False: nothing is rung (a restored database starts so) - and that is said loudly."""
    synthetic_tenant: str = ""
    """Key of the invented customer of invented pages; empty: none."""
    synthetic_person: str = ""
    """Key of the person whose number an automatic callee answers."""
    weekly_test_calls: bool = False
    """Ring everybody on call once a week in their working hours, to see that their phones do."""
    ring_s: Annotated[int, msgspec.Meta(ge=5, le=600)] = 30
    """How long a phone rings before the provider gives up (its ``Timeout``)."""
    calls_per_step: Annotated[int, msgspec.Meta(ge=1)] = 2
    """How often one step's person is called before the next."""
    again_after_s: Seconds = 5.0
    """Pause before the same person is called again."""
    loop_pause_s: Seconds = 20.0
    """Pause before everybody is tried again."""
    nobody_pause_s: Seconds = 30.0
    """Pause before we look again for somebody, when nobody at all is to be rung."""
    ring_grace_s: Seconds = 10.0
    """How much longer than ``ring_s`` we wait for the provider's word before we ask it."""
    never_rang_s: Seconds = 20.0
    """A call that does not ring within this is asked after, then taken as failed."""
    talk_s: Seconds = 90.0
    """How long a person who picked up may listen before the next is rung."""
    talk_look_s: Seconds = 15.0
    """How often the provider is asked meanwhile: the word that a call is over may be lost."""
    voicemail_grace_s: Seconds = 5.0
    """A machine's verdict may be wrong: this long the call may still bring a key."""
    message_wait_s: Seconds = 120.0
    """How long a message (SMS, email, webhook) has for an answer when its step does not say."""
    failed_pause_s: Seconds = 5.0
    """Pause after every provider has failed for one attempt."""
    customer_rounds: Annotated[int, msgspec.Meta(ge=1)] = 2
    """How often all contacts of a customer are tried with a notice before it is given up."""
    person_calls: Annotated[int, msgspec.Meta(ge=1)] = 3
    """So many calls to one person within ``person_window_s`` ring one by one; then tickets are bundled."""
    person_window_s: Seconds = 900.0
    bundle_wait_s: Seconds = 20.0
    """Pause between two calls to a person once tickets are bundled: time to collect them."""
    bundle_max: Annotated[int, msgspec.Meta(ge=1, le=50)] = 15
    """Most tickets read out in one call."""
    busy_wait_s: Seconds = 90.0
    """So long a page waits for a person who is on another call of ours; then the next person is rung."""
    busy_look_s: Seconds = 30.0
    """How often it looks meanwhile (the end of that call wakes it anyway)."""
    line_gap_s: Seconds = 3.0
    """A phone is left alone so long after a call."""
    calls_per_hour: Annotated[int, msgspec.Meta(ge=1)] = 300
    """Spend cap. Past it calls are never stopped: they are spaced, bundle more, and an alarm is raised."""
    spend_gap_s: Seconds = 30.0
    """Pause between any two calls past the spend cap."""
    lease_s: Seconds = 60.0
    """How long a claim holds; longer than all provider requests of one look together."""
    provider_timeout_s: Seconds = 10.0
    """Longest wait for one provider request."""
    menu_repeats: Annotated[int, msgspec.Meta(ge=1, le=10)] = 3
    """How often the menu is read to a person who presses nothing."""
    poll_s: Seconds = 0.5
    """How often an idle pager looks for work."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=64)] = 4
    """Pagings worked on at the same time by one process."""

    def provider(self, name: str) -> VoiceProvider | None:
        """The provider of that name, if it is (still) configured."""
        return next((p for p in self.providers if p.name == name), None)


def check(settings: Settings) -> None:
    """Raise SettingsFault naming every fault at once."""
    faults = list(_faults(settings))
    if faults:
        raise SettingsFault("oncall settings: " + "; ".join(faults))


def _faults(s: Settings) -> list[str]:
    faults = []
    if not re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*[^/?#\s])?", s.public_url):
        faults.append("public_url: an http(s) URL without a trailing slash is needed")
    names = [p.name for p in s.providers]
    if len(set(names)) != len(names):
        faults.append("providers: names must differ")
    for i, p in enumerate(s.providers):
        faults += [f"providers[{i}].{fault}" for fault in _provider_faults(p)]
    if s.pin_secret and len(s.pin_secret) < MIN_SECRET:
        faults.append(f"pin_secret: at least {MIN_SECRET} characters (openssl rand -hex 32)")
    if s.lease_s < 3 * s.provider_timeout_s:
        faults.append("lease_s: at least three times provider_timeout_s, or a slow answer loses its claim")
    return faults


def _provider_faults(p: VoiceProvider) -> list[str]:
    rules = (
        (re.fullmatch(r"[a-z0-9][a-z0-9-]{0,31}", p.name), "name: [a-z0-9-], at most 32"),
        (re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*[^/?#\s])?", p.base_url), "base_url: an http(s) URL"),
        (re.fullmatch(r"AC[0-9a-fA-F]{32}", p.account_sid), "account_sid: AC and 32 hex digits"),
        (p.auth_token, "auth_token: must not be empty, it signs callbacks"),
        (is_e164(p.from_number), "from_number: E.164, as in +390584943232"),
    )
    return [message for ok, message in rules if not ok]
