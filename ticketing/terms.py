"""The contract's terms as they bind one ticket: taken from the registry at opening, kept with the ticket.

They change only by a recorded event (``terms`` in the history): an upgrade, a correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from ticketing.errors import ContractError
from ticketing.holiday import known_country, known_region
from ticketing.policy import Release
from ticketing.reason import Reason

REST_OF_WORLD = "rest-of-world"
"""Written for a theatre: the hours of the nearest theatre, the languages that the policy names."""


class Sla(StrEnum):
    """What a ticket's target is worth."""

    GUARANTEED = "guaranteed"
    BEST_EFFORT = "best-effort"
    """There may be a target; missing it is recorded, never a breach."""
    NONE = "none"
    """No target."""


class Terms(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was agreed, resolved to what calendars and clocks need."""

    release: str
    """Name of the policy release."""
    plan: str
    licence: str
    theatre: str
    """The theatre whose team and hours serve the ticket (already resolved for the rest of the world)."""
    zone: str
    """IANA zone of that theatre: local dates and hours are read in it."""
    country: str
    """ISO 3166-1 alpha-2: whose public holidays count."""
    region: str | None = None
    """ISO 3166-2 subdivision without the country, for regional holidays."""
    closing_days: tuple[date, ...] = ()
    """Extra days on which the team is closed for this customer; ascending."""
    asia_pacific: bool = False
    """On-call is not available: the extended hours apply instead of 24x7."""
    channel: str = "proactive"
    language: str = "en"
    """The language in which the ticket is handled."""
    language_guaranteed: bool = True
    """False: an optional language; the SLA is not guaranteed."""
    rest_of_world: bool = False
    """The theatre was chosen by the customer's zone."""


class Language(msgspec.Struct, frozen=True):
    """In which language a ticket is handled."""

    code: str
    guaranteed: bool
    reason: Reason


def resolve(
    release: Release,
    *,
    plan: str,
    licence: str,
    theatre: str,
    at: datetime,
    country: str | None = None,
    region: str | None = None,
    zone: str | None = None,
    holiday_country: str | None = None,
    closing_days: Sequence[date] = (),
    asia_pacific: bool | None = None,
    channel: str = "proactive",
    languages: Sequence[str] = (),
) -> tuple[Terms, tuple[Reason, ...]]:
    """The terms of a ticket opened ``at``, and why they are what they are.

    ``country``, ``region`` and ``zone`` are the customer's; ``holiday_country`` overrides whose holidays
    count; ``asia_pacific`` None: told from the zone; ``languages`` in order of preference, empty: the
    theatre's first. Raises ContractError for a name that the release does not know."""
    for name, value, known in (
        ("plan", plan, release.plans),
        ("licence", licence, release.licences),
        ("channel", channel, release.channels),
    ):
        if value not in known:
            raise ContractError(f"'{value}' is no {name}; known are {', '.join(known)}")
    served, why_theatre = _theatre(release, theatre, zone, at)
    hours = release.theatres[served]
    holidays, holiday_region, why_holidays = _holidays(release, served, country, region, holiday_country)
    language = language_for(release, theatre, languages)
    pacific = in_asia_pacific(release, zone) if asia_pacific is None else asia_pacific
    terms = Terms(
        release=release.release,
        plan=plan,
        licence=licence,
        theatre=served,
        zone=hours.zone,
        country=holidays,
        region=holiday_region,
        closing_days=tuple(sorted(set(closing_days))),
        asia_pacific=pacific,
        channel=channel,
        language=language.code,
        language_guaranteed=language.guaranteed,
        rest_of_world=theatre == REST_OF_WORLD,
    )
    return terms, (*why_theatre, *why_holidays, language.reason)


def _theatre(
    release: Release, theatre: str, zone: str | None, at: datetime
) -> tuple[str, tuple[Reason, ...]]:
    if theatre == REST_OF_WORLD:
        if zone is None:
            raise ContractError("the rest of the world needs the customer's time zone to choose its theatre")
        nearest = nearest_theatre(release, zone, at)
        params = {"theatre": release.theatres[nearest].name, "zone": zone}
        return nearest, (Reason("theatre-nearest", params, "§5.3"),)
    if theatre not in release.theatres:
        raise ContractError(
            f"'{theatre}' is no theatre; known are {', '.join([*release.theatres, REST_OF_WORLD])}"
        )
    return theatre, (Reason("theatre", {"theatre": release.theatres[theatre].name}, "§5.3"),)


def nearest_theatre(release: Release, zone: str, at: datetime) -> str:
    """For the rest of the world: the theatre with the smallest difference of UTC offset at this instant."""
    own = _offset_s(zone, at)
    names = release.rest_of_world.hours_of
    return min(names, key=lambda name: abs(_offset_s(release.theatres[name].zone, at) - own))


def _offset_s(zone: str, at: datetime) -> float:
    try:
        offset = at.astimezone(ZoneInfo(zone)).utcoffset()
    except (KeyError, ValueError, OSError) as error:
        raise ContractError(f"'{zone}' is not an IANA time zone, such as Europe/Rome") from error
    assert offset is not None, "a zone always has an offset"
    return offset.total_seconds()


def _holidays(
    release: Release, theatre: str, country: str | None, region: str | None, override: str | None
) -> tuple[str, str | None, tuple[Reason, ...]]:
    own = release.theatres[theatre].country
    wanted = override or (country if release.holidays.from_ == "customer" else None) or own
    if not known_country(wanted):
        return own, None, (Reason("holidays-unknown", {"country": wanted, "instead": own}, "§4"),)
    kept = region if region and wanted == (country or own) else None
    if kept and not known_region(wanted, kept):
        return wanted, None, (Reason("region-unknown", {"country": wanted, "region": kept}, "§4"),)
    code = "holidays-region" if kept else "holidays"
    return wanted, kept, (Reason(code, {"country": wanted, "region": kept or ""}, "§4"),)


def in_asia_pacific(release: Release, zone: str | None) -> bool:
    """Whether a zone counts as Asia-Pacific by the policy's list."""
    patterns = release.on_call.asia_pacific_zones
    return zone is not None and any(fnmatchcase(zone, pattern) for pattern in patterns)


def language_for(release: Release, theatre: str, wanted: Sequence[str]) -> Language:
    """The first wanted language that the theatre speaks: main ones first come with the SLA, optional without.

    The customer's order of preference decides; nothing suitable: the theatre's first language, or English
    where it speaks it."""
    key = release.rest_of_world.languages_of if theatre == REST_OF_WORLD else theatre
    speaks = release.theatres[key]
    params: dict[str, Any] = {"theatre": speaks.name}
    for code in wanted:
        if code in speaks.languages:
            return Language(code, True, Reason("language-main", params | {"language": code}, "§5.3"))
        if code in speaks.optional_languages:
            return Language(code, False, Reason("language-optional", params | {"language": code}, "§5.3"))
    fallback = "en" if "en" in speaks.languages else speaks.languages[0]
    if not wanted:
        return Language(fallback, True, Reason("language-default", params | {"language": fallback}, "§5.3"))
    params |= {"language": fallback, "wanted": ", ".join(wanted)}
    return Language(fallback, True, Reason("language-missing", params, "§5.3"))


def with_plan(release: Release, terms: Terms, plan: str) -> Terms:
    """The terms after an upgrade or downgrade. Raises ContractError for an unknown plan."""
    if plan not in release.plans:
        raise ContractError(f"'{plan}' is no plan; known are {', '.join(release.plans)}")
    return msgspec.structs.replace(terms, plan=plan)


def sla(release: Release, terms: Terms) -> Sla:
    """What the target of a ticket under these terms is worth."""
    if not release.channels[terms.channel].sla:
        return Sla.NONE
    if release.plans[terms.plan].guaranteed and terms.language_guaranteed:
        return Sla.GUARANTEED
    return Sla.BEST_EFFORT


def to_document(terms: Terms) -> dict[str, Any]:
    """JSON types, as kept with a ticket."""
    document: dict[str, Any] = msgspec.to_builtins(terms)
    return document


def from_document(document: Any) -> Terms:
    """Terms kept with a ticket. Raises ContractError."""
    try:
        return msgspec.convert(document, Terms)
    except msgspec.ValidationError as error:
        raise ContractError(f"the ticket's terms cannot be read: {error}") from error
