"""Rules: what we watch, when it is a problem, how bad, and when it is over.

A rule watches one thing (its ``source``) and has one to four levels, P1 .. P4, of one alert: worsening and
improving move the alert, they never make a second one.

    Rule
    `- source
       |- Measured   values of frames against conditions
       |- Matched    events that happened, counted in a window
       |- Silent     nothing heard from a host, or from every host of a deployment
       `- Compound   states of alerts of other rules, of one host or across a deployment's
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

import msgspec

from alerting.condition import Condition
from alerting.texts import Translation
from wire.batch import Event
from wire.language import Language

Patterns = tuple[str, ...]
"""Texts of which one must match, case-insensitively; ``*`` stands for any run of characters, and a text after
``!`` must not match."""


def pattern_matches(pattern: str, text: str) -> bool:
    """Whether ``text`` matches as a whole. Linear in the text: no backtracking, whatever is written."""
    pieces = pattern.casefold().split("*")
    folded = text.casefold()
    if len(pieces) == 1:
        return folded == pieces[0]
    return _pieces_match(pieces, folded)


def _pieces_match(pieces: list[str], text: str) -> bool:
    first, *middle, last = pieces
    if not text.startswith(first):
        return False
    position = len(first)
    for piece in middle:
        found = text.find(piece, position)
        if found < 0:
            return False
        position = found + len(piece)
    return len(text) - position >= len(last) and text.endswith(last)


def any_matches(patterns: Patterns, text: str) -> bool:
    """True when no ``!`` pattern matches, and one of the others does (or there are no others)."""
    if any(p.startswith("!") and pattern_matches(p[1:], text) for p in patterns):
        return False
    wanted = [p for p in patterns if not p.startswith("!")]
    return not wanted or any(pattern_matches(p, text) for p in wanted)


class Selector(msgspec.Struct, frozen=True):
    """Which series of a layout."""

    metric: str
    """Exact name from the catalogue."""
    where: tuple[tuple[str, Patterns], ...] = ()
    """Attribute name -> patterns; a series without the attribute has the empty text."""

    def matches(self, metric: str, attributes: dict[str, str]) -> bool:
        """Whether a series is selected."""
        return metric == self.metric and all(any_matches(p, attributes.get(n, "")) for n, p in self.where)


class Level(msgspec.Struct, frozen=True):
    """One degree of a measured problem."""

    priority: int
    """1 (critical) .. 4 (low)."""
    when: Condition
    clear: Condition
    """Its own threshold, so that a value at the limit does not flap."""
    for_s: float = 0.0
    """Seconds that ``when`` must hold before it fires."""
    for_samples: int = 1
    """Samples in a row for which ``when`` must hold before it fires."""
    clear_for_s: float = 0.0
    """Seconds that ``clear`` must hold before it is over."""
    clear_samples: int = 1
    """Samples in a row for which ``clear`` must hold before it is over."""


class Forecast(msgspec.Struct, frozen=True):
    """A value in seconds: until another value of the rule reaches a limit."""

    of: str
    """Name of the term that is looked ahead for."""
    reaches: float
    """The limit, in the metric's base unit."""
    only_when: Condition
    """Only then is it computed; else it is not in sight."""


class Measured(msgspec.Struct, frozen=True, tag="measured", omit_defaults=True):
    """Values of one layout's frames. (Defaults are left out of its encoding, and so of fingerprints.)"""

    terms: tuple[tuple[str, Selector], ...]
    """Name used in conditions -> series. One problem per combination of ``instance`` attributes."""
    instance: tuple[str, ...]
    """Attributes whose values name the instance (volume, service ...); none = the host itself."""
    levels: tuple[Level, ...]
    """Most severe first."""
    forecasts: tuple[tuple[str, Forecast], ...] = ()
    """Name used in conditions -> what is foreseen."""


class CountLevel(msgspec.Struct, frozen=True):
    """One degree of an event problem."""

    priority: int
    count: int
    """Fires at this many matching events within the window."""


class Matched(msgspec.Struct, frozen=True, tag="matched"):
    """Events, by who said what."""

    source: Patterns
    ids: Patterns
    severity: Patterns
    text: Patterns
    instance: tuple[str, ...]
    """Event attributes that name the instance."""
    window_s: float
    """Seconds in which events are counted together."""
    quiet_s: float
    """Over when no further event came for this many seconds."""
    levels: tuple[CountLevel, ...]
    """Most severe first."""

    def matches(self, event: Event) -> bool:
        """Whether an event is one of these."""
        return (
            any_matches(self.ids, event.event_id)
            and any_matches(self.source, event.source)
            and any_matches(self.severity, event.severity)
            and any_matches(self.text, event.message)
        )


class SilentLevel(msgspec.Struct, frozen=True):
    """One degree of silence."""

    priority: int
    after_s: float
    """Seconds since the last receipt."""


class Silent(msgspec.Struct, frozen=True, tag="silent"):
    """Nothing received."""

    whole_deployment: bool
    """True: every host of a deployment of two or more is silent; False: one host."""
    levels: tuple[SilentLevel, ...]
    """Most severe first."""
    clear_reports: int
    """Reports received in a row that end it."""


class Scope(StrEnum):
    """Whose alerts a state is about."""

    HOST = "same host"
    """The host that the compound rule speaks of."""
    SOME = "hosts"
    """At least so many hosts of the deployment."""
    EVERY = "every host"
    """Every host of the deployment for which the rule has something to judge."""
    DEPLOYMENT = "deployment"
    """The deployment as a whole: for rules whose alerts are its own."""


class Wanted(msgspec.Struct, frozen=True):
    """One state of other alerts that a compound rule looks for."""

    rule_id: str
    """The rule whose alerts are looked at."""
    scope: Scope
    least: int = 1
    """For SOME: how many hosts."""
    instance: Patterns = ()
    """Only alerts on these instances; empty: any."""
    priority: int = 4
    """Only alerts at least as severe as this: 1 (critical) .. 4 (any)."""
    pending: bool = False
    """True: also what is not firing yet; what recovers counts as firing until it is over."""


class Compound(msgspec.Struct, frozen=True, tag="compound"):
    """States of alerts of other rules, combined. Judged by the sweep, on the collector's clock."""

    whole_deployment: bool
    """True: the alert is the deployment's; False: each host's own."""
    fresh_s: float
    """A state whose evidence is older than this many seconds is unknown."""
    states: tuple[tuple[str, Wanted], ...]
    """Name used in conditions -> state."""
    levels: tuple[Level, ...]
    """Most severe first."""


Source = Measured | Matched | Silent | Compound


class Rule(msgspec.Struct, frozen=True):
    """One rule of a pack."""

    id: str
    """Stable identifier; names the problem unless ``problem`` does."""
    name: str
    """What people call it."""
    component: str
    """Part of the platform that it speaks of: host, database, web, platform, recording, licence ..."""
    rationale: str
    """Why this limit: one line."""
    runbook: str
    """What to look at first, what to do."""
    summary: str
    """One line for tickets and calls; {host}, {instance}, {value}, {deployment} are filled in."""
    source: Source
    problem: str
    """The problem this rule speaks of; rules that share it share one ticket."""
    labels: tuple[tuple[str, str], ...] = ()
    hidden_by: tuple[str, ...] = ()
    """Rules whose firing on the same host (or its deployment) makes this one a consequence."""
    enabled: bool = True
    translations: tuple[tuple[Language, Translation], ...] = ()
    """Language -> summary and runbook; English is above."""

    def summary_in(self, language: Language) -> str:
        """The template of the summary; English where there is no translation."""
        return dict(self.translations).get(language, Translation()).summary or self.summary

    def runbook_in(self, language: Language) -> str:
        """The template of the runbook; English where there is no translation."""
        return dict(self.translations).get(language, Translation()).runbook or self.runbook

    @property
    def of_deployment(self) -> bool:
        """Whether its alerts are a deployment's as a whole, not a host's."""
        return isinstance(self.source, Silent | Compound) and self.source.whole_deployment

    def fingerprint(self) -> bytes:
        """8 bytes that change when, and only when, a change could alter what the rule concludes."""
        return hashlib.sha256(msgspec.msgpack.encode([self.id, self.source, self.enabled])).digest()[:8]
